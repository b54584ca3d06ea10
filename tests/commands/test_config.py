"""`llmproxyd config`: where the files are, and their schemas."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.commands.conftest import Run


@pytest.mark.parametrize("name", ["providers", "routing"])
def test_a_schema_is_printed_as_shipped(name: str, run: Run) -> None:
    done = run("config", "schema", name)
    assert done.status == 0
    assert json.loads(done.out)["$id"] == f"{name}.v1.json"
    shipped = Path(__file__).parents[2] / f"schemas/{name}.v1.json"
    assert done.out.strip() == shipped.read_text(encoding="utf-8").strip()


def test_a_schema_needs_a_name(run: Run) -> None:
    done = run("config", "schema")
    assert (done.status, done.out) == (64, "")
    assert "llmproxyd config schema {providers,routing}" in done.err


def test_showing_takes_no_name(run: Run) -> None:
    done = run("config", "show", "routing")
    assert done.status == 64
    assert "did you mean `config schema routing`?" in done.err


def test_the_directory_and_every_file_read_are_shown(run: Run, config_dir: Path) -> None:
    (config_dir / "routing.d").mkdir()
    (config_dir / "routing.d/10-more.yaml").write_text("models: {quick: [openai/big]}\n", encoding="utf-8")
    (config_dir / "routing.d/.hidden.yaml").write_text("models: {}\n", encoding="utf-8")
    done = run("config", "show", "--config-dir", str(config_dir))
    assert (done.status, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[0] == str(config_dir)
    for name in ("providers.yaml", "routing.yaml", "routing.d/10-more.yaml"):
        assert f"  {config_dir / name}" in lines
    assert len(lines) == 4


def test_a_missing_file_is_named_and_is_66(run: Run, config_dir: Path) -> None:
    (config_dir / "routing.yaml").unlink()
    done = run("config", "show", "--config-dir", str(config_dir))
    assert (done.status, done.out, done.err) == (66, f"{config_dir}\n", "  routing.yaml is missing\n")


def test_json_tells_the_same(run: Run, config_dir: Path) -> None:
    document = json.loads(run("config", "show", "--config-dir", str(config_dir), "--json").out)
    assert document["version"] == 1
    assert document["config_dir"] == str(config_dir)
    assert str(config_dir / "providers.yaml") in document["files"]
    assert document["missing"] == []


def test_without_a_word_the_users_directory_is_used(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    own = tmp_path / "xdg/llmproxyd"
    own.mkdir(parents=True)
    (own / "providers.yaml").write_text("version: 1\n", encoding="utf-8")
    done = run("config", "show", environ={"XDG_CONFIG_HOME": str(tmp_path / "xdg")})
    assert done.out.splitlines()[0] == str(own)
