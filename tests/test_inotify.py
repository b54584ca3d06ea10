"""The kernel's events, from a real directory, and what the ears make of them."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from llmproxyd.inotify import CLOSE_WRITE, CREATE, MODIFY, Ears, Inotify


class Heard:
    """Ears on one directory, and how often they called."""

    def __init__(self, directory: Path, names: frozenset[str] | None) -> None:
        self.calls = 0
        self.ears = Ears(Inotify(), self._called)
        assert self.ears.watch({str(directory): names})
        self.names = {str(directory): names}

    def _called(self) -> None:
        self.calls += 1

    def since(self) -> int:
        """Calls since the last time."""
        before = self.calls
        self.ears.listen()
        return self.calls - before


@pytest.fixture
def heard(tmp_path: Path) -> Heard:
    return Heard(tmp_path, frozenset({"a.yaml"}))


def test_events_come_with_their_names(tmp_path: Path) -> None:
    source = Inotify()
    wd = source.add(str(tmp_path))
    (tmp_path / "näme with blanks").write_text("x")
    assert [(event.wd, event.mask, event.name) for event in source.read()] == [
        (wd, CREATE, "näme with blanks"),
        (wd, MODIFY, "näme with blanks"),
        (wd, CLOSE_WRITE, "näme with blanks"),
    ]
    assert source.read() == []
    source.close()
    source.close()


def test_what_cannot_be_watched_is_an_error_with_its_reason(tmp_path: Path) -> None:
    source = Inotify()
    with pytest.raises(FileNotFoundError):
        source.add(str(tmp_path / "absent"))
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        source.add(str(tmp_path / "file"))
    source.close()
    with pytest.raises(OSError) as raised:
        source.add(str(tmp_path))
    assert raised.value.errno == errno.EBADF


def test_reading_wakes_nobody(heard: Heard, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("x")
    assert heard.since() == 1
    (tmp_path / "a.yaml").read_text()
    os.listdir(tmp_path)
    assert heard.since() == 0


def test_a_file_is_open_from_the_first_write_to_the_close(heard: Heard, tmp_path: Path) -> None:
    with (tmp_path / "a.yaml").open("w") as out:
        out.write("x")
        out.flush()
        heard.since()
        assert heard.ears.open_files() == (str(tmp_path / "a.yaml"),)
        assert not heard.ears.vouched
        assert heard.ears.tears == 1
    heard.since()
    assert heard.ears.open_files() == ()
    assert heard.ears.vouched


def test_names_that_do_not_matter_are_not_heard(heard: Heard, tmp_path: Path) -> None:
    with (tmp_path / "b.yaml").open("w") as out:
        out.write("x")
        out.flush()
        assert heard.since() == 0
        assert heard.ears.open_files() == ()
    assert heard.ears.tears == 0
    assert not heard.ears.vouched


def test_a_name_that_begins_to_matter_while_it_is_written_counts_as_open(
    heard: Heard, tmp_path: Path
) -> None:
    with (tmp_path / "b.yaml").open("w") as out:
        out.write("x")
        out.flush()
        heard.since()
        assert not heard.ears.watch({str(tmp_path): frozenset({"b.yaml"})})
        assert heard.ears.open_files() == (str(tmp_path / "b.yaml"),)


def test_a_file_that_was_renamed_over_is_not_open_although_its_writer_goes_on(
    heard: Heard, tmp_path: Path
) -> None:
    with (tmp_path / "a.yaml").open("w") as out:
        out.write("x")
        out.flush()
        (tmp_path / "new").write_text("whole")
        (tmp_path / "new").rename(tmp_path / "a.yaml")
        heard.since()
        assert heard.ears.open_files() == ()
        assert heard.ears.vouched


def test_one_directory_under_two_paths_is_one_watch(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    calls: list[None] = []
    ears = Ears(Inotify(), lambda: calls.append(None))
    both = {str(tmp_path / "real"): frozenset({"a"}), str(tmp_path / "link"): frozenset({"b"})}
    assert ears.watch(both)
    for name in ("a", "b", "c"):
        (tmp_path / "real" / name).touch()
        ears.listen()
    assert len(calls) == 2
    assert not ears.watch(both)


def test_directories_that_are_no_longer_wanted_are_let_go(heard: Heard, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    heard.since()
    assert heard.ears.watch({str(tmp_path / "other"): None})
    (tmp_path / "a.yaml").touch()
    assert heard.since() == 0
    (tmp_path / "other" / "anything").touch()
    assert heard.since() == 1


def test_a_watched_directory_that_goes_is_heard(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    heard = Heard(gone, frozenset())
    gone.rmdir()
    assert heard.since() == 1
    assert not heard.ears.watch(heard.names)


def test_more_events_than_the_kernel_keeps_are_one_reason_to_doubt(heard: Heard, tmp_path: Path) -> None:
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    if limit > 100_000:
        pytest.skip("this kernel keeps more events than can be made quickly")
    with (tmp_path / "a.yaml").open("w") as out:
        out.write("x")
        out.flush()
        heard.since()
        assert heard.ears.open_files()
        tears = heard.ears.tears
        for number in range(limit // 2 + 10):
            os.close(os.open(tmp_path / f"{number}", os.O_CREAT | os.O_WRONLY))  # two events each
        assert heard.since() == 1
        while heard.since():
            pass
        assert heard.ears.tears > tears
        assert not heard.ears.vouched
        assert heard.ears.open_files() == ()
