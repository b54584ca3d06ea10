"""``llmproxyd privacy scan``: what the detectors find in a text. Reads no configuration and asks nobody."""

from __future__ import annotations

import io
import json
from argparse import Namespace
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from llmproxyd.commands.console import CannotGoOn, Command, Console, format_table
from llmproxyd.exits import Exit
from llmproxyd.values.privacy import Finding

MAX_BYTES = 256 * 1024 * 1024
_EXAMPLES = """\
Examples:
  llmproxyd privacy scan letter.txt              what is in it, and where
  git diff | llmproxyd privacy scan --json -     the same for programs
  llmproxyd privacy scan --lines prompts.jsonl   a JSON string on each line in, findings out"""


def _add_arguments(parser: Any) -> None:
    parser.add_argument("what", choices=("scan",), metavar="scan", help="find personal and secret data")
    parser.add_argument("file", metavar="FILE", help="the text, UTF-8; - reads standard input")
    parser.add_argument(
        "--lines",
        action="store_true",
        help="a JSON string on each line in, its findings on each line out",
    )
    parser.add_argument(
        "--soft", action="store_true", help="look for persons, addresses, births and health as well"
    )


def _run(arguments: Namespace, console: Console) -> int:
    from llmproxyd.detect.engine import build_detectors, default_detectors

    find = (build_detectors({"hard", "soft", "secret"}) if arguments.soft else default_detectors()).find
    if arguments.lines:
        for text in _read_lines(arguments.file, console):
            console.say(json.dumps({"findings": [_told(each) for each in find(text)]}))
        return Exit.OK
    text = _read(arguments.file, console)
    findings = find(text)
    if console.json:
        console.say_json({"version": 1, "findings": [_told(each) for each in findings]})
    else:
        console.say(_format(findings, text) if findings else "nothing found")
    return Exit.OK


def _told(finding: Finding) -> dict[str, str | int]:
    return {
        "kind": finding.kind,
        "start": finding.start,
        "end": finding.end,
        "detector": finding.detector,
    }


def _format(findings: Iterable[Finding], text: str) -> str:
    """A table without what was found: it is for screens that others may see."""
    rows = [
        (
            finding.kind,
            _line_and_column(text, finding.start),
            str(finding.start),
            str(finding.end),
            finding.detector,
        )
        for finding in findings
    ]
    return format_table(("kind", "line:column", "start", "end", "detector"), rows, right=(1, 2, 3))


def _line_and_column(text: str, at: int) -> str:
    return f"{text.count(chr(10), 0, at) + 1}:{at - text.rfind(chr(10), 0, at)}"


# --- reading ----------------------------------------------------------------------------------------------------


def _read(name: str, console: Console) -> str:
    if name == "-":
        raw = _bytes_of(console.stdin).read(MAX_BYTES + 1)
    else:
        try:
            with Path(name).open("rb") as file:
                raw = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise CannotGoOn(Exit.MISSING, f"{name}: {error.strerror}") from None
    if len(raw) > MAX_BYTES:
        raise CannotGoOn(Exit.USAGE, f"{name}: more than {MAX_BYTES >> 20} MiB; cut it, or use --lines")
    return raw.decode("utf-8", "replace")


def _read_lines(name: str, console: Console) -> Iterator[str]:
    if name == "-":
        yield from _parse_lines(_bytes_of(console.stdin), name)
        return
    try:
        with Path(name).open("rb") as file:
            yield from _parse_lines(file, name)
    except OSError as error:
        raise CannotGoOn(Exit.MISSING, f"{name}: {error.strerror}") from None


def _parse_lines(lines: BinaryIO, name: str) -> Iterator[str]:
    number = 0
    while line := lines.readline(MAX_BYTES):
        number += 1
        try:
            text = json.loads(line)
        except (ValueError, RecursionError):
            text = None
        if not isinstance(text, str):
            raise CannotGoOn(Exit.ERRORS, f'{name}:{number}: expected a JSON string, as in "some text"')
        yield text


def _bytes_of(stream: TextIO) -> BinaryIO:
    # Standard input is decoded strictly by default, and a text may be broken. Not every stream has bytes below it.
    buffer = getattr(stream, "buffer", None)
    return buffer if buffer is not None else io.BytesIO(stream.read().encode("utf-8", "surrogatepass"))


COMMAND = Command("find personal and secret data in a text", _EXAMPLES, _add_arguments, _run)
