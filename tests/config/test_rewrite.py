"""A configuration file replaced whole: mode, links and other people's changes are respected."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from llmproxyd.config.files import SourceFile, read_files
from llmproxyd.config.rewrite import CannotRewrite, edit_lock, replace_file
from tests.config.building import write


@pytest.fixture
def source(tmp_path: Path) -> SourceFile:
    return read_files(write(tmp_path)).routing[0]


def test_the_new_text_has_the_old_mode_and_nothing_else_is_left(tmp_path: Path, source: SourceFile) -> None:
    before = sorted(os.listdir(tmp_path))
    source.path.chmod(0o640)
    source = read_files(tmp_path).routing[0]
    replace_file(source, b"version: 1\n# new\n")
    assert source.path.read_bytes() == b"version: 1\n# new\n"
    assert source.path.stat().st_mode & 0o777 == 0o640
    assert sorted(os.listdir(tmp_path)) == before


def test_a_link_stays_and_its_target_is_replaced(tmp_path: Path, source: SourceFile) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    source.path.rename(elsewhere / "real.yaml")
    source.path.symlink_to(elsewhere / "real.yaml")
    replace_file(read_files(tmp_path).routing[0], b"version: 1\n# new\n")
    assert source.path.is_symlink()
    assert (elsewhere / "real.yaml").read_bytes() == b"version: 1\n# new\n"


def test_what_somebody_else_wrote_meanwhile_is_left_alone(tmp_path: Path, source: SourceFile) -> None:
    source.path.write_bytes(b"version: 1\n# theirs\n")
    with pytest.raises(CannotRewrite, match="changed by somebody else"):
        replace_file(source, b"version: 1\n# ours\n")
    assert source.path.read_bytes() == b"version: 1\n# theirs\n"
    assert not list(tmp_path.glob(".*"))


def test_two_commands_do_not_edit_at_the_same_time(tmp_path: Path) -> None:
    with (
        edit_lock(tmp_path),
        pytest.raises(CannotRewrite, match="another command"),
        edit_lock(tmp_path, timeout_s=0.0),
    ):
        pytest.fail("both are in")
    with edit_lock(tmp_path, timeout_s=0.0):
        pass


def test_the_second_command_waits_for_the_first(tmp_path: Path) -> None:
    order: list[str] = []
    asked = threading.Event()

    def second() -> None:
        asked.set()
        with edit_lock(tmp_path):
            order.append("second")

    with edit_lock(tmp_path):
        thread = threading.Thread(target=second)
        thread.start()
        assert asked.wait(10)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]
