"""The documentation is true: every example is run, every table compared with the code it speaks of."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from inspect import signature
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from llmproxyd.cache.response_cache import CacheReport, Counts
from llmproxyd.cli import COMMANDS, command_parser, load_command, split_name
from llmproxyd.config.codes import CODES
from llmproxyd.config.load import load
from llmproxyd.config.presets import PRESETS, Preset
from llmproxyd.config.schema import schema_bytes
from llmproxyd.exits import Exit
from llmproxyd.in_force import Generation, InForce, ReloadVerdict
from llmproxyd.routing.compile import compile_routes
from llmproxyd.server.exposition import format_metrics
from llmproxyd.server.metrics import Counters, Gathered, Scrape
from llmproxyd.server.paths import build_paths
from llmproxyd.settings import SETTINGS
from llmproxyd.surfaces import SURFACES
from llmproxyd.values.failure import CONSEQUENCES, FALLBACK_KINDS, FailureKind
from tests.docs.conftest import Checkout
from tests.docs.markdown import (
    PAGES,
    ROOT,
    Block,
    Snippet,
    all_blocks,
    anchors,
    links,
    prose,
    shape,
    snippets,
    steps,
)

README = ROOT / "README.md"
DOCS = ROOT / "docs"
SMALLEST_ROUTING = "version: 1\nmodels: {auto: any}\n"
_REFERENCE = re.compile(r"\$\{(cred|file|env):([^}:]+)[^}]*\}")
_LOCAL_LINK = re.compile(r"(?P<path>[^#]*)(?:#(?P<anchor>.+))?")
_ROW = re.compile(r"^\| *([^|]*?) *\|(.*)\|$", re.MULTILINE)
_CODE = re.compile(r"`([^`]+)`")


def rows(page: Path, heading: str) -> dict[str, str]:
    """The rows of the tables below a heading, up to the next of its rank: first cell -> the rest."""
    text = prose(page)
    rank = heading.partition(" ")[0]
    section = re.split(rf"^{re.escape(heading)}$", text, flags=re.MULTILINE)[1]
    section = re.split(rf"^#{{1,{len(rank)}}} ", section, flags=re.MULTILINE)[0]
    found = {first: rest for first, rest in _ROW.findall(section) if first.strip("-")}
    assert found, f"{page.name} has no table below {heading!r}"
    return found


def words(cells: Any) -> set[str]:
    """What is set as code in these cells."""
    return {word for cell in cells for word in _CODE.findall(cell)}


# --- examples ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("snippet", snippets(), ids=lambda snippet: str(snippet.block))
def test_every_yaml_example_is_accepted(snippet: Snippet, tmp_path: Path) -> None:
    if snippet.file not in ("providers.yaml", "routing.yaml"):
        assert isinstance(yaml.safe_load(snippet.block.text), dict)
        return
    if snippet.file == "providers.yaml":
        files = {"providers.yaml": snippet.block.text, "routing.yaml": SMALLEST_ROUTING}
    else:
        providers = snippet.providers or (ROOT / "providers.yaml").read_text(encoding="utf-8")
        files = {"providers.yaml": providers, "routing.yaml": snippet.block.text}
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    loaded = load(tmp_path, environ=_surroundings("".join(files.values()), tmp_path))
    told = [f"{problem.code} {problem.message}" for problem in loaded.problems]
    assert {problem.code for problem in loaded.problems} == snippet.warnings, told
    assert loaded.snapshot is not None


def _surroundings(text: str, directory: Path) -> dict[str, str]:
    """The files that references name, made; and every key that a preset reads."""
    for kind, name in _REFERENCE.findall(text):
        if kind != "env" and not name.startswith("/"):
            path = directory / ("credentials" if kind == "cred" else "") / name
            path.parent.mkdir(exist_ok=True)
            path.write_text("example-credential\n", encoding="utf-8")
    keys = {variable: "example" for preset in PRESETS.values() for variable in preset.key_env}
    return {**keys, "AZURE_OPENAI_ENDPOINT": "https://contoso.openai.azure.com"}


@pytest.mark.parametrize("block", [b for b in all_blocks("sh") if b.role != "host"], ids=str)
def test_every_shell_example_runs(block: Block, checkout: Checkout) -> None:
    done = checkout.run(block.text, fail_on_http=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("block", all_blocks("console"), ids=str)
def test_every_session_goes_as_shown(block: Block, checkout: Checkout) -> None:
    session = steps(block.text)
    assert session, f"{block}: no line begins with `$ `"
    try:
        if block.before:
            assert checkout.run(block.before, fail_on_http=True).returncode == 0
        for step in session:
            done = checkout.run(step.command, fail_on_http=False)
            assert done.returncode == step.status, done.stdout
            expected = checkout.here(step.output)
            assert shape(expected).fullmatch(done.stdout.rstrip("\n") + "\n"), (
                f"{step.command}\nprinted:\n{done.stdout}\n{block} shows:\n{expected}"
            )
    finally:
        if block.before:
            checkout.restore()


@pytest.mark.parametrize("block", all_blocks("python"), ids=str)
def test_every_python_example_runs(block: Block, checkout: Checkout) -> None:
    done = subprocess.run(
        [sys.executable, "-c", checkout.here(block.text)],
        env=checkout.environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Hello there" in done.stdout


@pytest.mark.parametrize("block", all_blocks("json"), ids=str)
def test_every_json_example_is_json(block: Block) -> None:
    json.loads(block.text)


@pytest.mark.parametrize("block", [b for b in all_blocks("sh") if b.role == "host"], ids=str)
def test_commands_for_a_host_name_what_there_is(block: Block) -> None:
    """They cannot be run here; but their syntax, our own commands in them and the names of our files are checked."""
    done = subprocess.run(
        ["bash", "-n", "-c", block.text], capture_output=True, text=True, timeout=10, check=False
    )
    assert done.returncode == 0, done.stderr
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for line in block.text.splitlines():
        program, *arguments = shlex.split(line, comments=True) or [""]
        if program == "make":
            assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in arguments), line
        elif Path(program).name == "llmproxyd":
            _parse(arguments)
        for argument in arguments:
            if argument.endswith((".service", ".socket")):
                assert (ROOT / "systemd" / argument).exists(), line


def _parse(arguments: list[str]) -> None:
    """Fails as the program would."""
    name, rest = split_name(arguments)
    command_parser(name, load_command(name)).parse_intermixed_args(rest)


def test_every_block_is_of_a_kind_that_is_tried() -> None:
    kinds = {"yaml", "sh", "console", "python", "json"}
    assert [
        str(block)
        for block in all_blocks()
        if block.kind not in kinds and block.page != DOCS / "architecture.md"
    ] == []


# --- links ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in links(page):
        if link.startswith("https://"):
            continue
        found = _LOCAL_LINK.fullmatch(link)
        assert found is not None
        target = (page.parent / found["path"]).resolve() if found["path"] else page
        assert target.exists(), link
        assert target.is_relative_to(ROOT), link
        if found["anchor"]:
            assert found["anchor"] in anchors(target), link


def test_every_page_can_be_reached_from_the_first() -> None:
    reached, waiting = set[Path](), [README]
    while waiting:
        page = waiting.pop()
        if page in reached or page.suffix != ".md":
            continue
        reached.add(page)
        targets = (
            (page.parent / link.partition("#")[0]).resolve() for link in links(page) if "://" not in link
        )
        waiting += [target for target in targets if target.is_file()]
    assert [str(page) for page in PAGES if page not in reached] == []


# --- tables -----------------------------------------------------------------------------------------------------


def test_the_reference_is_made_from_the_schemas() -> None:
    done = subprocess.run(
        [sys.executable, str(DOCS / "make_reference.py"), "--check"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["providers", "routing"])
def test_every_property_of_the_schemas_is_in_the_reference(name: Any) -> None:
    """Counted here in another way than the generator's: by walking all of the document."""
    page = (DOCS / "reference" / f"{name}.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `(?:[^`]*[.\]])?([A-Za-z_0-9]+)` \|", page, re.MULTILINE)
    wanted: list[str] = []

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            properties = value.get("properties")
            if isinstance(properties, dict):
                # A property without a description only repeats, inside a condition, one that is described elsewhere.
                wanted.extend(key for key, detail in properties.items() if "description" in detail)
            for item in value.values():
                walk(item)
        elif isinstance(value, list):
            for item in value:
                walk(item)

    walk(json.loads(schema_bytes(name)))
    assert len(wanted) > 20
    assert {key: wanted.count(key) for key in wanted} == {
        key: count for key in set(wanted) if (count := listed.count(key))
    }


def test_the_readme_lists_the_commands_and_the_exit_statuses() -> None:
    table = rows(README, "## Commands")
    assert words(first for first in table if not first.isdigit()) == set(COMMANDS)
    assert {first for first in table if first.isdigit()} == {str(status.value) for status in Exit}


def test_operations_lists_every_setting() -> None:
    table = rows(DOCS / "operations.md", "## Settings of the process")
    for setting in SETTINGS:
        row = table.pop(f"`{f'{setting.flag} {setting.metavar}'.strip()}`")
        assert f"`{setting.variable}`" in row
    assert set(table) == {"flag"}


def test_operations_lists_every_metric() -> None:
    table = rows(DOCS / "operations.md", "## Metrics")
    text = format_metrics(_scrape()).decode()
    told = {
        name for name in re.findall(r"^# TYPE (\S+)", text, re.MULTILINE) if name.startswith("llmproxyd_")
    }
    assert words(table) == told


def _scrape() -> Scrape:
    loaded = load(ROOT, environ={})
    assert loaded.snapshot is not None
    in_force = InForce()
    in_force.swap(Generation(1, loaded.snapshot, compile_routes(loaded.snapshot), 0.0, loaded.snapshot.hash))
    in_force.record(ReloadVerdict("applied", 1, "t", "start", 0.1, (), 0.0))
    gathered = Gathered(cache=CacheReport(Counts(), 0, 0, 0, 0, None), ledger_ok=True)
    return Scrape(Counters(), in_force, (), "inotify", 0, 0, gathered)


def test_troubleshooting_lists_every_code_of_a_diagnostic() -> None:
    table = rows(DOCS / "troubleshooting.md", "## Diagnostics of the files")
    assert {first: rest.strip() for first, rest in table.items() if first != "code"} == {
        code.code: code.title for code in CODES.values()
    }


def test_routing_tells_what_each_failure_permits() -> None:
    table = rows(DOCS / "routing.md", "## After a failure")
    kinds = {FailureKind(first.strip("`")): rest for first, rest in table.items() if first.startswith("`")}
    assert set(kinds) == FALLBACK_KINDS | {FailureKind.BAD_REQUEST}
    for kind, rest in kinds.items():
        _, status, fallback, retry = (cell.strip() for cell in rest.split("|"))
        consequence = CONSEQUENCES[kind]
        assert int(status) == consequence.status, kind
        assert (fallback != "no") is consequence.fallback, kind
        assert (retry != "no") is consequence.retry, kind


@pytest.mark.parametrize(
    "preset", {preset.name: preset for preset in PRESETS.values()}.values(), ids=lambda p: p.name
)
def test_every_preset_has_a_page_that_agrees_with_it(preset: Preset) -> None:
    page = (DOCS / "providers" / f"{preset.name}.md").read_text(encoding="utf-8")
    facts = [preset.dialect.value, *preset.key_env, *preset.endpoint_env, *preset.aliases]
    if preset.endpoint.startswith("http"):
        facts.append(preset.endpoint)
    missing = [fact for fact in facts if f"`{fact}`" not in page]
    assert missing == []
    if preset.listing is None and preset.name != "mock":
        assert "never" in page
    assert f"[`{preset.name}`]({preset.name}.md)" in (DOCS / "providers" / "README.md").read_text(
        encoding="utf-8"
    )


def test_the_pages_of_providers_are_those_of_the_presets() -> None:
    pages = {page.stem for page in (DOCS / "providers").glob("*.md")} - {"README"}
    assert pages == {preset.name for preset in PRESETS.values()}


def _documented_paths() -> set[tuple[str, str]]:
    """(method, path) of every row of the tables of paths."""
    table = re.findall(r"^\| ([A-Z]+) \| ([^|]+) \|", (DOCS / "reference/api.md").read_text(), re.MULTILINE)
    return {(method, path) for method, cell in table for path in _CODE.findall(cell)}


class _Anything(SimpleNamespace):
    """Stands in for what answers: only the table of paths matters here."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_: self


def test_every_path_that_is_served_is_documented_and_the_other_way_round() -> None:
    build: Any = build_paths
    paths = build(*(_Anything() for _ in signature(build_paths).parameters))
    documented = {(method, path.partition("?")[0]) for method, path in _documented_paths()}
    served = {(method, path) for method, path in paths.exact if method != "HEAD"}
    assert served - documented == set(), "add these to docs/reference/api.md"
    for method, pattern, _ in paths.patterns:
        assert method == "HEAD" or any(m == method and pattern.fullmatch(path) for m, path in documented), (
            f"add an example of {method} {pattern.pattern} to docs/reference/api.md"
        )
    nowhere = [(method, path) for method, path in documented if paths.find(method, path) is None]
    assert nowhere == [], "these are documented, but not served"


def test_every_surface_is_documented_under_its_name() -> None:
    text = (DOCS / "reference/api.md").read_text(encoding="utf-8")
    for path, surface in SURFACES.items():
        assert re.search(
            rf"^\| POST \|[^|]*`{re.escape(path)}`[^|]*\| `{surface.name}` \|", text, re.MULTILINE
        ), path


# --- the texts themselves ---------------------------------------------------------------------------------------


def test_the_licence_is_the_one_that_is_declared() -> None:
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert 'license = "Apache-2.0"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_the_check_of_every_commit_is_a_script_that_can_run() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    done = subprocess.run(
        ["bash", "-n", str(script)], capture_output=True, text=True, timeout=10, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "set -euo pipefail" in script.read_text(encoding="utf-8")
