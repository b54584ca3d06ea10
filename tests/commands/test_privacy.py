"""`llmproxyd privacy scan`: findings of a text, without a daemon and without a configuration."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from llmproxyd import cli

TEXT = "ok\nmail ada@mail.example.org, card 4111 1111 1111 1111\n"


def run(*arguments: str, stdin: str = "", monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
    return cli.main(["privacy", "scan", *arguments])


def test_findings_are_told_in_json_with_kind_place_and_detector(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "letter.txt"
    file.write_text(TEXT)
    assert run("--json", str(file), monkeypatch=monkeypatch) == 0
    found = json.loads(capsys.readouterr().out)["findings"]
    assert [(f["kind"], TEXT[f["start"] : f["end"]]) for f in found] == [
        ("email", "ada@mail.example.org"),
        ("payment_card", "4111 1111 1111 1111"),
    ]
    assert all(f["detector"] for f in found)


def test_a_screen_shows_where_but_not_what(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("-", stdin=TEXT, monkeypatch=monkeypatch) == 0
    shown = capsys.readouterr().out
    assert "email" in shown
    assert "2:6" in shown
    assert "4111" not in shown
    assert run("-", stdin="hello", monkeypatch=monkeypatch) == 0
    assert capsys.readouterr().out == "nothing found\n"


def test_each_line_is_a_text_of_its_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = "\n".join(json.dumps(text) for text in ("card 4111 1111 1111 1111", "", "é 078-05-1120"))
    assert run("--lines", "-", stdin=lines, monkeypatch=monkeypatch) == 0
    found = [json.loads(line)["findings"] for line in capsys.readouterr().out.splitlines()]
    assert [[(f["kind"], f["start"], f["end"]) for f in line] for line in found] == [
        [("payment_card", 5, 24)],
        [],
        [("national_id.us_ssn", 2, 13)],
    ]


@pytest.mark.parametrize("line", ["3", "{}", "not json", '"open'])
def test_a_line_that_is_no_json_string_is_told_with_its_number(
    line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--lines", "-", stdin=f'"x"\n{line}\n', monkeypatch=monkeypatch) == 1
    assert "-:2: expected a JSON string" in capsys.readouterr().err


def test_a_file_that_is_not_there_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("/nowhere/at/all", monkeypatch=monkeypatch) == 66
    assert run("--lines", "/nowhere/at/all", monkeypatch=monkeypatch) == 66
    assert "/nowhere/at/all: No such file" in capsys.readouterr().err


def test_soft_kinds_are_for_those_who_ask(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "Geburtsdatum: 12.03.1984"
    run("--json", "-", stdin=text, monkeypatch=monkeypatch)
    assert json.loads(capsys.readouterr().out)["findings"] == []
    run("--json", "--soft", "-", stdin=text, monkeypatch=monkeypatch)
    assert json.loads(capsys.readouterr().out)["findings"][0]["kind"] == "date_of_birth"


def test_it_needs_no_server_to_be_imported() -> None:
    script = (
        "import sys; from llmproxyd import cli; cli.main(['privacy', 'scan', '-']);"
        "print(sorted(m for m in sys.modules if m.split('.')[0] in ('aiohttp', 'jsonschema', 'yaml')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], input=TEXT, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.splitlines()[-1] == "[]"
