"""What a page of documentation holds that can be tried: its blocks of code, its links, its headings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = (ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md")))
"""Everything we promise to keep true. ``systemd/README.md`` needs a host; its tests judge the units themselves."""

_FENCE = re.compile(
    r"^(?:<!-- before: (?P<before>.+?) -->\n)?```(?P<info>[^\n`]*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} +(.+?) *$", re.MULTILINE)
_YAML_NAME = re.compile(
    r"# (?P<file>[a-z]+\.ya?ml)(?P<paired>, with the providers\.yaml above)?(?: \(warns: (?P<codes>LP\d+(?:, LP\d+)*)\))?"
)


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block. ``kind``: its first word (`sh`, `yaml`), ``role``: the rest. ``before``: a shell command that
    puts the reader's situation in place, from a comment above the block."""

    page: Path
    line: int
    kind: str
    role: str
    text: str
    before: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


@dataclass(frozen=True, slots=True)
class Snippet:
    """A YAML block that says which file it is. ``providers``: the text of the block above, if it belongs to that.
    ``warnings``: codes that the page says it warns of."""

    block: Block
    file: str
    providers: str | None
    warnings: frozenset[str]


@dataclass(frozen=True, slots=True)
class Step:
    """One command of a session, and the output shown below it."""

    command: str
    output: str
    status: int


def blocks(page: Path, *kinds: str) -> Iterator[Block]:
    """The blocks of these kinds, or all."""
    text = page.read_text(encoding="utf-8")
    for found in _FENCE.finditer(text):
        kind, _, role = found["info"].strip().partition(" ")
        if not kinds or kind in kinds:
            line = text.count("\n", 0, found.start()) + 1
            yield Block(page, line, kind, role, found["text"], found["before"] or "")


def all_blocks(*kinds: str) -> list[Block]:
    return [block for page in PAGES for block in blocks(page, *kinds)]


def snippets() -> list[Snippet]:
    """Every YAML block. Raises ValueError for one that does not say which file it is."""
    found: list[Snippet] = []
    for block in all_blocks("yaml"):
        name = _YAML_NAME.fullmatch(block.text.partition("\n")[0])
        if name is None:
            raise ValueError(
                f"{block}: the first line must be `# providers.yaml`, `# routing.yaml` or the like"
            )
        above = found[-1] if name["paired"] else None
        codes = frozenset(name["codes"].split(", ")) if name["codes"] else frozenset()
        found.append(Snippet(block, name["file"], above.block.text if above else None, codes))
    return found


def steps(session: str) -> list[Step]:
    """A session is commands after `$ `, continued after a backslash, each with what it printed. A comment
    `# exit status N` behind a command says how it ends if not with 0."""
    found: list[Step] = []
    for chunk in re.split(r"^\$ ", session, flags=re.MULTILINE)[1:]:
        lines = chunk.splitlines()
        length = next(n for n, line in enumerate(lines, 1) if not line.endswith("\\"))
        command, output = "\n".join(lines[:length]), "\n".join(lines[length:])
        status = re.search(r" +# exit status (\d+)$", command)
        found.append(Step(command, output, int(status[1]) if status else 0))
    return found


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def links(page: Path) -> list[str]:
    return _LINK.findall(re.sub(r"`[^`\n]*`", "", prose(page)))


def anchors(page: Path) -> frozenset[str]:
    """The names under which GitHub lets headings be linked."""
    headings = _HEADING.findall(prose(page))
    return frozenset(re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings)


def shape(expected: str) -> re.Pattern[str]:
    """What the output must look like: numbers may be others, blanks more or fewer, `…` is anything on its line, and a
    line that is only `…` any number of lines."""
    parts = [
        r"(?:.*\n)*?" if line.strip() == "…" else _line_shape(line) + r"[ ]*\n"
        for line in expected.splitlines()
    ]
    return re.compile("".join(parts))


def _line_shape(line: str) -> str:
    words = re.split(r"(\d+(?:\.\d+)?|…|[ ]+)", line.rstrip())
    return "".join(map(_word_shape, words))


def _word_shape(word: str) -> str:
    if word == "…":
        return ".*?"
    if word.isspace():
        return r"[ ]+"
    return r"\d+(?:\.\d+)?" if word[:1].isdigit() else re.escape(word)
