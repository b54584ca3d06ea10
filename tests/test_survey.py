"""Which entries decide what a path means, and what is there: on a real directory."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from llmproxyd.survey import FRAGMENTS_MAX, HASHED_BYTES, places, survey, trace


def _entries(path: Path, below: Path) -> list[str]:
    """The traced entries, as paths relative to a directory."""
    return [os.path.relpath(os.path.join(*entry), below) for entry in trace(str(path))]


def test_a_plain_file_depends_on_itself_and_on_its_directory(tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/a.yaml").touch()
    assert _entries(tmp_path / "conf/a.yaml", tmp_path) == ["conf", "conf/a.yaml"]


def test_every_link_on_the_way_counts(tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/..one").mkdir()
    (tmp_path / "conf/..one/a.yaml").touch()
    (tmp_path / "conf/..data").symlink_to("..one")
    (tmp_path / "conf/a.yaml").symlink_to("..data/a.yaml")
    (tmp_path / "current").symlink_to(tmp_path / "conf")
    assert _entries(tmp_path / "current/./a.yaml", tmp_path) == [
        "current",
        "conf/a.yaml",
        "conf/..data",
        "conf/..one",
        "conf/..one/a.yaml",
    ]


def test_links_that_lead_up_are_followed_as_the_kernel_does(tmp_path: Path) -> None:
    (tmp_path / "conf/deep").mkdir(parents=True)
    (tmp_path / "far").mkdir()
    (tmp_path / "far/real.yaml").touch()
    (tmp_path / "conf/deep/a.yaml").symlink_to("../../far/real.yaml")
    assert _entries(tmp_path / "conf/deep/a.yaml", tmp_path) == ["conf/deep/a.yaml", "far", "far/real.yaml"]


def test_a_missing_directory_is_awaited_where_it_would_appear(tmp_path: Path) -> None:
    assert _entries(tmp_path / "conf/deep/a.yaml", tmp_path)[-1] == "conf"
    (tmp_path / "a.yaml").symlink_to("nowhere/else")
    assert _entries(tmp_path / "a.yaml", tmp_path)[-1] == "nowhere"


def test_links_in_a_circle_come_to_an_end(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert set(_entries(tmp_path / "a", tmp_path)) >= {"a", "b"}
    assert survey([str(tmp_path / "a")]).stamps[str(tmp_path / "a")].error == errno.ELOOP


def test_a_directory_of_fragments_is_watched_whole_and_seen_as_its_files(tmp_path: Path) -> None:
    fragments = tmp_path / "providers.d"
    fragments.mkdir()
    for name in ("20-b.yaml", "10-a.yml", ".hidden.yaml", "30-c.yaml~", "40-d.yaml.bak", "note.txt"):
        (fragments / name).touch()
    assert places([str(fragments)])[str(fragments)] is None
    assert [Path(path).name for path in survey([str(fragments)]).stamps] == ["10-a.yml", "20-b.yaml"]


def test_there_is_an_end_to_the_fragments_that_are_read(tmp_path: Path) -> None:
    fragments = tmp_path / "routing.d"
    fragments.mkdir()
    for number in range(FRAGMENTS_MAX + 5):
        (fragments / f"{number}.yaml").touch()
    assert len(survey([str(fragments)]).stamps) == FRAGMENTS_MAX


def test_of_any_other_directory_only_its_identity_counts(tmp_path: Path) -> None:
    for release in ("one", "two"):
        (tmp_path / release).mkdir()
    link = tmp_path / "..data"
    link.symlink_to("one")
    before = survey([str(link)])
    (tmp_path / "one" / "foreign.yaml").touch()
    assert survey([str(link)]) == before
    link.unlink()
    link.symlink_to("two")
    assert survey([str(link)]).changed_since(before) == (str(link),)


def test_same_size_and_times_do_not_hide_other_content(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("one")
    os.utime(file, ns=(1, 1))
    before = survey([str(file)])
    assert survey([str(file)]) == before
    file.write_text("two")
    os.utime(file, ns=(1, 1))
    assert survey([str(file)]).changed_since(before) == (str(file),)


def test_files_that_come_and_go_are_changes(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    absent = survey([str(file)])
    assert absent.stamps[str(file)].missing
    file.touch()
    present = survey([str(file)])
    assert present.stamps[str(file)].empty
    assert present.changed_since(absent) == absent.changed_since(present) == (str(file),)


def test_a_pipe_is_no_file_and_never_blocks(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.yaml")
    assert survey([str(tmp_path / "a.yaml")]).stamps[str(tmp_path / "a.yaml")].error == errno.EINVAL


def test_a_change_of_rights_is_a_change(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.touch(0o600)
    before = survey([str(file)])
    file.chmod(0o644)
    assert survey([str(file)]).changed_since(before)


def test_no_more_than_the_first_part_of_a_huge_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    with file.open("wb") as out:
        out.truncate(HASHED_BYTES)
    whole = survey([str(file)]).stamps[str(file)]
    os.truncate(file, HASHED_BYTES * 1_000)
    huge = survey([str(file)]).stamps[str(file)]
    assert huge.digest == whole.digest
    assert huge.size != whole.size
