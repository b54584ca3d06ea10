"""What the tests of commands share: a console whose streams can be read afterwards."""

from __future__ import annotations

import io
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from llmproxyd.cli import command_parser, load_command, split_name
from llmproxyd.commands.console import CannotGoOn, Console


@dataclass(frozen=True)
class Done:
    """What a command left behind; ``status`` also where it could not go on."""

    status: int
    out: str
    err: str


Run = Callable[..., Done]


def run_command(
    argv: Sequence[str],
    *,
    environ: Mapping[str, str],
    stdin: str = "",
    as_json: bool = False,
    wall_s: float = 1_700_000_000.0,
) -> Done:
    """Run one command in this process, with its real parser, as the program would."""
    name, rest = split_name(argv)
    command = load_command(name)
    arguments: Namespace = command_parser(name, command).parse_intermixed_args(rest)
    out, err = io.StringIO(), io.StringIO()
    flags = {
        "config_dir": arguments.config_dir,
        "listen": arguments.listen,
        "state_dir": arguments.state_dir,
    }
    console = Console(environ, flags, io.StringIO(stdin), out, err, as_json or arguments.json, lambda: wall_s)
    try:
        status = command.run(arguments, console)
    except CannotGoOn as reason:
        err.write(f"llmproxyd: {reason}\n")
        status = reason.status
    return Done(int(status), out.getvalue(), err.getvalue())


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """A user with a home and a runtime directory of their own."""
    return {"HOME": str(tmp_path / "home"), "XDG_RUNTIME_DIR": str(tmp_path / "run")}


@pytest.fixture
def socket_path(tmp_path: Path) -> Path:
    """Where that user's daemon listens by default."""
    return tmp_path / "run/llmproxyd/llmproxyd.sock"


PROVIDERS = """\
version: 1
providers:
  openai: {models: [{id: big, price: {input: 2, output: 8}, context_window: 128_000}]}
  anthropic: {models: [{id: wise, price: {input: 5, output: 25}}]}
  lab:
    preset: openai-compatible
    endpoint: http://127.0.0.1:9/v1
    models: [{id: small, price: free, capabilities: [tools]}]
"""
ROUTING = """\
version: 1
models:
  auto: any
  smart: {any: [openai/big, anthropic/wise, lab/small]}
pipeline:
  privacy:
    - {name: secret words stay home, when: {prompt: "(?i)secret"}, label: restricted}
  cost:
    - {name: cheapest first, rank_by: price, within: 10%}
"""


@pytest.fixture
def config_dir(tmp_path: Path) -> Path:
    """Two small files without a fault."""
    directory = tmp_path / "config"
    directory.mkdir()
    (directory / "providers.yaml").write_text(PROVIDERS, encoding="utf-8")
    (directory / "routing.yaml").write_text(ROUTING, encoding="utf-8")
    return directory


@pytest.fixture
def run(environ: dict[str, str]) -> Run:
    def call(*argv: str, **options: object) -> Done:
        extra = options.pop("environ", {})
        assert isinstance(extra, dict)
        return run_command(argv, environ={**environ, **extra}, **options)  # type: ignore[arg-type]

    return call
