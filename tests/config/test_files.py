from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from llmproxyd.config.files import Files, find_config_dir, read_files
from llmproxyd.config.problem import Problem
from llmproxyd.config.reading import read_regular
from tests.config.building import write


def only(files: Files) -> Problem:
    (problem,) = files.problems
    return problem


def test_both_files_are_read_with_what_the_system_says_of_them(tmp_path: Path) -> None:
    files = read_files(write(tmp_path))
    (providers,), (routing,) = files.providers, files.routing
    assert (providers.name, routing.name) == ("providers.yaml", "routing.yaml")
    assert providers.data == (tmp_path / "providers.yaml").read_bytes()
    status = (tmp_path / "providers.yaml").stat()
    assert (providers.stamp.inode, providers.stamp.mtime_ns) == (status.st_ino, status.st_mtime_ns)
    assert (providers.mode, providers.readable_by_others) == (0o600, False)
    assert (files.problems, files.missing) == ((), ())


def test_fragments_come_in_the_order_of_their_bytes_and_leftovers_are_ignored(tmp_path: Path) -> None:
    write(tmp_path)
    directory = tmp_path / "providers.d"
    directory.mkdir()
    for name in ("10-b.yaml", "Z.yaml", "a.yml", "é.yaml", "09.yaml"):
        (directory / name).write_text("version: 1")
    for name in (
        ".x.yaml",
        "a.yaml~",
        "a.yaml.bak",
        ".a.yaml.swp",
        "a.yaml.dpkg-old",
        "a.dpkg-new.yaml",
        "README",
        "a.yml.orig",
    ):
        (directory / name).write_text("not: read")
    found = [file.name for file in read_files(tmp_path).providers]
    assert found == [
        "providers.yaml",
        *(f"providers.d/{name}" for name in ("09.yaml", "10-b.yaml", "Z.yaml", "a.yml", "é.yaml")),
    ]


def test_a_name_that_is_no_text_can_still_be_shown(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "routing.d").mkdir()
    (tmp_path / "routing.d" / os.fsdecode(b"\xff.yaml")).write_text("version: 1")
    files = read_files(tmp_path)
    assert files.routing[1].name == "routing.d/\\udcff.yaml"
    assert len(files.sha256) == 64


@pytest.mark.parametrize("name", ["providers.yaml", "routing.yaml"])
def test_a_missing_main_file_is_a_problem_and_marked_as_missing(name: str, tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / name).unlink()
    files = read_files(tmp_path)
    assert files.missing == (name,)
    assert (only(files).code, only(files).message) == ("LP002", f"`{name}` is missing")
    assert tmp_path / name in files.paths


def test_a_directory_that_does_not_exist_lacks_both_files(tmp_path: Path) -> None:
    files = read_files(tmp_path / "nowhere")
    assert files.missing == ("providers.yaml", "routing.yaml")
    assert [problem.code for problem in files.problems] == ["LP002", "LP002"]


def make_directory(path: Path) -> None:
    path.mkdir()


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_loop(path: Path) -> None:
    path.symlink_to(path.name)


def make_dangling(path: Path) -> None:
    path.symlink_to("gone.yaml")


@pytest.mark.parametrize("make", [make_directory, make_pipe, make_loop, make_dangling])
def test_what_is_no_file_is_a_problem_and_never_hangs(make: Callable[[Path], None], tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "routing.yaml").unlink()
    make(tmp_path / "routing.yaml")
    problem = only(read_files(tmp_path))
    assert problem.code == "LP002"
    assert problem.message.startswith("`routing.yaml` cannot be read: ")


def test_a_fragment_that_leads_nowhere_is_told(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "routing.d").mkdir()
    (tmp_path / "routing.d" / "a.yaml").symlink_to("gone")
    files = read_files(tmp_path)
    assert "routing.d/a.yaml" in only(files).message
    assert files.missing == ()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_told_with_what_to_do(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "routing.yaml").chmod(0)
    assert "let the user" in only(read_files(tmp_path)).helps[0]


def test_links_are_followed_and_every_station_is_watched(tmp_path: Path) -> None:
    mounted = tmp_path / "conf"
    first, second = mounted / "..2026_1", mounted / "..2026_2"
    for directory in (first, second):
        directory.mkdir(parents=True)
        write(directory)
    (mounted / "..data").symlink_to("..2026_1")
    for name in ("providers.yaml", "routing.yaml"):
        (mounted / name).symlink_to(f"..data/{name}")
    files = read_files(mounted)
    assert {
        mounted / "providers.yaml",
        mounted / "..data",
        first / "providers.yaml",
        first / "routing.yaml",
        mounted / "providers.d",
    } <= set(files.paths)
    (mounted / "..new").symlink_to("..2026_2")
    (mounted / "..new").rename(mounted / "..data")
    assert second / "providers.yaml" in read_files(mounted).paths


def test_a_directory_reached_through_a_link_is_watched_at_both_ends(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir()
    write(real)
    (tmp_path / "current").symlink_to(real)
    paths = read_files(tmp_path / "current").paths
    assert {tmp_path / "current", tmp_path / "current" / "routing.yaml", real / "routing.yaml"} <= set(paths)


def test_a_file_that_changes_while_it_is_read_is_read_again(tmp_path: Path) -> None:
    write(tmp_path)
    target = tmp_path / "routing.yaml"
    left = [2]

    def read_and_disturb(path: Path, limit_bytes: int) -> tuple[bytes, os.stat_result]:
        result = read_regular(path, limit_bytes)
        if path == target and left[0]:
            left[0] -= 1
            with target.open("a") as stream:
                stream.write("# more\n")
        return result

    files = read_files(tmp_path, read=read_and_disturb)
    assert files.problems == ()
    assert files.routing[0].data.count(b"# more") == 2


def test_a_file_that_never_stands_still_is_a_problem(tmp_path: Path) -> None:
    write(tmp_path)

    def read_and_replace(path: Path, limit_bytes: int) -> tuple[bytes, os.stat_result]:
        result = read_regular(path, limit_bytes)
        (tmp_path / "new").write_bytes(result[0])
        (tmp_path / "new").rename(path)
        return result

    problems = read_files(tmp_path, read=read_and_replace).problems
    assert ["changed while it was read" in problem.message for problem in problems] == [True, True]


def test_reading_is_bounded(tmp_path: Path) -> None:
    write(tmp_path)
    with (tmp_path / "routing.yaml").open("ab") as stream:
        stream.truncate(50 << 20)
    files = read_files(tmp_path)
    assert len(files.routing[0].data) == (8 << 20) + 1


def test_a_fingerprint_changes_with_every_byte_and_with_nothing_else(tmp_path: Path) -> None:
    before = read_files(write(tmp_path)).sha256
    os.utime(tmp_path / "routing.yaml", (1, 1))
    assert read_files(tmp_path).sha256 == before
    with (tmp_path / "routing.yaml").open("a") as stream:
        stream.write("\n")
    assert read_files(tmp_path).sha256 != before


def test_text_for_snippets_holds_no_key_even_of_a_file_that_is_no_yaml(tmp_path: Path) -> None:
    for text in (
        "providers: {openai: {api_key: sk-literal-123}}",
        "providers: {openai: {api_key: sk-literal-123",
    ):
        sources = read_files(write(tmp_path, text)).sources
        assert "literal" not in sources["providers.yaml"]
        assert "openai" in sources["providers.yaml"]


# --- which directory --------------------------------------------------------------------------------------------


def test_the_directory_given_wins(tmp_path: Path) -> None:
    write(tmp_path)
    assert find_config_dir("/srv/x", {}, tmp_path) == Path("/srv/x")
    assert find_config_dir("conf", {}, tmp_path) == tmp_path / "conf"


def test_else_the_current_one_if_it_holds_the_file(tmp_path: Path) -> None:
    assert find_config_dir(None, {"HOME": "/nowhere"}, write(tmp_path)) == tmp_path


@pytest.mark.parametrize("variable", ["XDG_CONFIG_HOME", "HOME"])
def test_else_the_users_own(variable: str, tmp_path: Path) -> None:
    base = tmp_path if variable == "XDG_CONFIG_HOME" else tmp_path / ".config"
    (base / "llmproxyd").mkdir(parents=True)
    write(base / "llmproxyd")
    assert find_config_dir(None, {variable: str(tmp_path)}, tmp_path) == base / "llmproxyd"


def test_else_the_systems(tmp_path: Path) -> None:
    assert find_config_dir(None, {"HOME": str(tmp_path)}, tmp_path) == Path("/etc/llmproxyd")
    assert find_config_dir(None, {}, tmp_path) == Path("/etc/llmproxyd")
