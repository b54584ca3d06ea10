"""`llmproxyd check`: right or wrong, and nothing else happens."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest

from tests.commands.conftest import Run

BROKEN = "version: 1\nproviders:\n  openai: {timout: 3s}\n"
WARNED = "providers:\n  openai: {models: [{id: big, price: free, context_window: 1_000}]}\n"
ONE_NAME = "version: 1\nmodels: {auto: any}\n"


def write(directory: Path, providers: str, routing: str = ONE_NAME) -> Path:
    directory.mkdir(exist_ok=True)
    (directory / "providers.yaml").write_text(providers, encoding="utf-8")
    (directory / "routing.yaml").write_text(routing, encoding="utf-8")
    return directory


def test_right_files_are_one_line(run: Run, config_dir: Path) -> None:
    done = run("check", "--config-dir", str(config_dir))
    assert (done.status, done.err) == (0, "")
    assert done.out.startswith("ok: 3 providers, 3 deployments, 2 names, 2 rules (hash ")
    assert done.out.count("\n") == 1


def test_a_fault_is_shown_on_stderr_with_its_place(run: Run, tmp_path: Path) -> None:
    done = run("check", str(write(tmp_path / "c", BROKEN)))
    assert (done.status, done.out) == (1, "")
    assert done.err.startswith("error[LP101]: unknown key `timout`")
    assert "providers.yaml:3:12" in done.err
    assert "did you mean `timeouts`?" in done.err
    assert done.err.endswith("1 error\n")


def test_warnings_are_shown_and_may_be_denied(run: Run, tmp_path: Path) -> None:
    directory = str(write(tmp_path / "c", WARNED))
    tolerant, strict = run("check", directory), run("check", directory, "--deny-warnings")
    assert (tolerant.status, strict.status) == (0, 3)
    assert tolerant.out == strict.out
    assert tolerant.out.startswith("ok: 1 provider, 1 deployment, 1 name, 0 rules (hash ")
    assert "warning[LP701]" in tolerant.err


def test_denied_warnings_do_not_hide_errors(run: Run, tmp_path: Path) -> None:
    assert run("check", str(write(tmp_path / "c", BROKEN)), "--deny-warnings").status == 1


@pytest.mark.parametrize("argv", [("--format", "json"), ("--json",)])
def test_json_is_versioned_and_says_whether_it_is_right(
    argv: tuple[str, ...], run: Run, tmp_path: Path
) -> None:
    done = run("check", str(write(tmp_path / "c", BROKEN)), *argv)
    document = json.loads(done.out)
    assert (done.status, done.err) == (1, "")
    assert (document["version"], document["ok"]) == (1, False)
    assert document["summary"] == {"errors": 1, "warnings": 0}
    assert document["problems"][0]["code"] == "LP101"
    assert document["problems"][0]["span"]["line"] == 3


def test_json_of_right_files_tells_what_they_come_to(run: Run, config_dir: Path) -> None:
    document = json.loads(run("check", str(config_dir), "--json").out)
    assert document["ok"] is True
    assert document["counts"] == {"providers": 3, "deployments": 3, "names": 2, "rules": 2}
    assert document["hash"]


def test_an_explicit_text_format_wins_over_json(run: Run, config_dir: Path) -> None:
    assert run("check", str(config_dir), "--json", "--format", "text").out.startswith("ok: ")


def test_a_file_stands_for_its_directory(run: Run, config_dir: Path) -> None:
    (config_dir / "routing.d").mkdir()
    fragment = config_dir / "routing.d/more.yaml"
    fragment.write_text("models: {quick: [openai/big]}\n", encoding="utf-8")
    for path in (config_dir / "providers.yaml", fragment, config_dir / "routing.d"):
        done = run("check", str(path))
        assert (done.status, done.out[:52]) == (0, "ok: 3 providers, 3 deployments, 3 names, 2 rules (ha")


def test_several_directories_are_checked_and_the_worst_counts(
    run: Run, config_dir: Path, tmp_path: Path
) -> None:
    bad = write(tmp_path / "bad", BROKEN)
    done = run("check", str(config_dir), str(bad))
    assert done.status == 1
    assert done.out.count("ok: ") == 1
    assert "LP101" in done.err
    both = json.loads(run("check", str(config_dir), str(bad), "--json").out)
    assert [each["ok"] for each in both] == [True, False]


@pytest.mark.parametrize("missing", ["providers.yaml", "routing.yaml"])
def test_a_directory_without_the_files_is_66(missing: str, run: Run, config_dir: Path) -> None:
    (config_dir / missing).unlink()
    done = run("check", "--config-dir", str(config_dir))
    assert (done.status, done.out) == (66, "")
    assert done.err == f"llmproxyd: {config_dir} has no {missing}: name the directory with --config-dir DIR\n"


def test_a_path_that_is_not_there_is_66_and_a_foreign_file_64(run: Run, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    assert run("check", str(tmp_path / "nowhere")).status == 66
    done = run("check", str(tmp_path / "notes.txt"))
    assert done.status == 64
    assert "is not read by llmproxyd" in done.err


def test_a_check_opens_no_socket_and_writes_nothing(
    run: Run, config_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a check must not open a socket")

    def tree() -> list[tuple[str, int, int]]:
        return [
            (str(path), path.stat().st_mtime_ns, path.stat().st_size)
            for path in sorted(config_dir.parent.rglob("*"))
        ]

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    before, environ_before = tree(), dict(os.environ)
    assert run("check", "--config-dir", str(config_dir)).status == 0
    assert (tree(), dict(os.environ)) == (before, environ_before)


def test_no_secret_is_told(run: Run, tmp_path: Path) -> None:
    providers = (
        "version: 1\nproviders:\n"
        "  openai: {api_key: sk-canary-0001, timout: 1s, models: [big]}\n"
        "  xai: {api_key: '${env:CANARY}', models: [x], headers: {x-key: sk-canary-0002}}\n"
    )
    directory = str(write(tmp_path / "c", providers))
    for argv in ((), ("--json",)):
        done = run("check", directory, *argv, environ={"CANARY": "sk-canary-0003"})
        assert done.status == 1
        assert "canary" not in (done.out + done.err).replace("CANARY", "")


def test_colour_is_forced_and_forbidden_by_the_environment(run: Run, tmp_path: Path) -> None:
    directory = str(write(tmp_path / "c", BROKEN))
    assert "\x1b[" in run("check", directory, environ={"CLICOLOR_FORCE": "1"}).err
    assert "\x1b[" not in run("check", directory, environ={"CLICOLOR_FORCE": "1", "NO_COLOR": "1"}).err
