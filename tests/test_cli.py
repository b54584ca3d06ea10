"""The program itself: how a command is found, what is said on which stream, how it exits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from llmproxyd import __version__, cli
from llmproxyd.cli import COMMANDS, HELP, PARTS, SCHEMAS, command_parser, load_command, main
from llmproxyd.settings import SETTINGS

REPOSITORY = Path(__file__).parents[1]


def program(
    *argv: str, environ: Mapping[str, str] | None = None, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return subprocess.run(
        [sys.executable, "-m", "llmproxyd", *argv],
        capture_output=True,
        text=True,
        timeout=60,
        input=stdin,
        env={**kept, **(environ or {})},
        cwd=REPOSITORY,
    )


def test_the_version_is_one_line() -> None:
    done = program("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"llmproxyd {__version__}\n", "")


@pytest.mark.parametrize("argv", [("--version", "--json"), ("--json", "--version")])
def test_the_version_in_json_tells_python_and_schemas(argv: Sequence[str]) -> None:
    document = json.loads(program(*argv).stdout)
    assert document["version"] == __version__
    assert document["python"] == ".".join(map(str, sys.version_info[:3]))
    assert document["schemas"] == {"providers": 1, "routing": 1}


def test_the_version_is_told_without_importing_anything_heavy() -> None:
    script = (
        "import sys\n"
        "from llmproxyd.cli import main\n"
        "main(['--version'])\n"
        "heavy = {'aiohttp', 'asyncio', 'jsonschema', 'prometheus_client', 'structlog', 'yaml'}\n"
        "print(sorted(heavy & {name.split('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.splitlines() == [f"llmproxyd {__version__}", "[]"]


def test_the_schema_versions_told_are_those_of_the_schemas() -> None:
    for name, version in SCHEMAS.items():
        assert (REPOSITORY / f"schemas/{name}.v{version}.json").exists()


def test_help_fits_one_screen_and_begins_with_examples(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-h"]) == 0
    said = capsys.readouterr().out
    assert said == HELP
    assert len(said.splitlines()) <= 24
    assert max(map(len, said.splitlines())) <= 80
    assert said.startswith("Try:\n  llmproxyd ")


def test_help_names_every_command() -> None:
    for name in COMMANDS:
        assert f"\n  {name} " in HELP


@pytest.mark.parametrize(
    "name", [*COMMANDS, *(f"{first} {second}" for first, parts in PARTS.items() for second in parts)]
)
def test_each_command_has_help_with_examples_on_one_screen(name: str) -> None:
    text = command_parser(name, load_command(name)).format_help()
    assert "Examples:\n  llmproxyd" in text
    assert len(text.splitlines()) <= 40
    assert max(map(len, text.splitlines())) <= 100


def test_the_help_of_run_lists_every_setting() -> None:
    text = command_parser("run", load_command("run")).format_help()
    for setting in SETTINGS:
        assert setting.flag in text


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["chek"], "invalid choice: 'chek'"),
        (["check", "--frmat", "json"], "unrecognized arguments: --frmat"),
        (["check", "--format", "xml"], "invalid choice: 'xml'"),
        (["--listen"], "expected one argument"),
        (["config"], "the following arguments are required: ACTION"),
        (["config", "schema", "prices"], "invalid choice: 'prices'"),
        (["--conf=x", "check"], "unrecognized arguments: --conf=x"),
    ],
)
def test_usage_errors_are_64_and_name_what_is_wrong(
    argv: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(argv)
    said = capsys.readouterr()
    assert stop.value.code == 64
    assert said.out == ""
    assert message in said.err


def test_a_bad_setting_is_64_and_says_where_it_came_from(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMPROXYD_LISTEN", "nowhere")
    assert main(["reload"]) == 64
    assert capsys.readouterr().err.startswith("llmproxyd: LLMPROXYD_LISTEN: expected HOST:PORT")


def test_an_unknown_variable_with_our_prefix_is_a_warning(tmp_path: Path) -> None:
    done = program("config", "show", "--config-dir", str(tmp_path), environ={"LLMPROXYD_LISTENN": "x"})
    assert "warning: LLMPROXYD_LISTENN is set, but no setting has that name" in done.stderr
    assert done.returncode == 66


@pytest.mark.parametrize(
    "argv", [["--config-dir", "{}", "config", "show"], ["config", "show", "--config-dir", "{}"]]
)
def test_settings_may_stand_before_or_after_the_command(
    argv: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([part.format(tmp_path) for part in argv]) == 66
    assert capsys.readouterr().out == f"{tmp_path}\n"


@pytest.mark.parametrize(
    ("argv", "command"),
    [
        ([], "run"),
        (["run"], "run"),
        (["--listen", "127.0.0.1:1"], "run"),
        (["--check-config"], "check"),
        (["run", "--check-config"], "check"),
        (["--config-dir", "/x", "--check-config", "--json"], "check"),
        (["reload"], "reload"),
    ],
)
def test_the_command_is_found_among_the_flags(argv: list[str], command: str) -> None:
    assert cli._command_name(cli._first_parser().parse_args(argv)) == command


def test_repeated_settings_on_both_sides_of_the_command_add_up() -> None:
    first = cli._first_parser().parse_args(["--listen", "a:1", "run", "--listen", "b:2"])
    second = command_parser("run", load_command("run")).parse_args(first.rest)
    assert cli._flags(first, second)["listen"] == ["a:1", "b:2"]


def test_running_on_an_open_address_is_refused_with_78() -> None:
    done = program("run", "--listen", "0.0.0.0:8400")
    assert (done.returncode, done.stdout) == (78, "")
    assert "refusing to listen on 0.0.0.0:8400" in done.stderr


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    script = f"{sys.executable} -m llmproxyd config schema routing | head -c 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60, cwd=REPOSITORY)
    assert (done.stdout, done.stderr) == ("{0\n", "")


def test_an_interrupt_ends_quietly(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_main", interrupt)
    assert main(["reload"]) == 130
    assert capsys.readouterr() == ("", "")
