"""``llmproxyd keys``: a key is shown once, its hash is in the file, and the door knows it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from llmproxyd.commands.keys import KEY_NAME, TENANT_NAME
from llmproxyd.config.load import load
from llmproxyd.config.schema import shipped_schema
from llmproxyd.server.auth import Caller, Doorkeeper
from llmproxyd.values.failure import Failure
from llmproxyd.values.snapshot import Limits, Snapshot
from tests.commands.conftest import Done, Run

DAY_S = 86_400.0
NOON_S = 1_795_262_400.0  # 2026-11-21T12:00Z


def loaded(config_dir: Path) -> Snapshot:
    snapshot = load(config_dir, environ={}).snapshot
    assert snapshot is not None
    return snapshot


def answer(config_dir: Path, key: str, now_s: float = NOON_S) -> Caller | Failure:
    """What the door says to this key."""
    door = Doorkeeper(wall=lambda: now_s)
    return door.identify({"x-api-key": key}, loaded(config_dir), local=False)


@pytest.fixture
def keys(run: Run, config_dir: Path) -> Run:
    def call(*argv: str, **options: object) -> Done:
        wall_s = options.pop("wall_s", NOON_S)
        return run("keys", *argv, "--config-dir", str(config_dir), wall_s=wall_s, **options)

    return call


def test_a_key_is_shown_once_and_opens_the_door(keys: Run, config_dir: Path) -> None:
    done = keys("create", "--tenant", "acme", "--name", "ci", "--concurrency", "4")
    key = done.out.strip()
    assert done.status == 0
    assert re.fullmatch(r"llmp_[A-Za-z0-9_-]{43}", key)
    text = (config_dir / "routing.yaml").read_text()
    assert key not in text
    assert key not in done.err
    assert f"sha256:{sha256(key.encode()).hexdigest()}" in text
    caller = answer(config_dir, key)
    assert isinstance(caller, Caller)
    assert caller.tenant is not None
    assert (caller.tenant.name, caller.key_limits) == ("acme", Limits(concurrency=4))


def test_the_first_key_says_that_the_door_closes_and_the_second_does_not(keys: Run) -> None:
    closes = "From now on every client has to show one"
    assert closes in keys("create", "--tenant", "acme").err
    assert closes not in keys("create", "--tenant", "acme").err
    assert closes not in keys("create", "--tenant", "globex").err


def test_comments_order_and_mode_of_the_file_stay(keys: Run, config_dir: Path) -> None:
    file = config_dir / "routing.yaml"
    before = "# mine\n" + file.read_text() + "# the end\n"
    file.write_text(before)
    file.chmod(0o640)
    keys("create", "--tenant", "acme")
    assert file.read_text().startswith(before)
    assert file.stat().st_mode & 0o777 == 0o640


def test_a_tenant_of_a_fragment_gets_its_key_there(keys: Run, config_dir: Path) -> None:
    fragment = config_dir / "routing.d" / "10-acme.yaml"
    fragment.parent.mkdir()
    fragment.write_text(f"tenants: {{acme: {{keys: ['sha256:{'1' * 64}']}}}} # hers\n")
    main = (config_dir / "routing.yaml").read_bytes()
    keys("create", "--tenant", "acme")
    assert (config_dir / "routing.yaml").read_bytes() == main
    assert len(loaded(config_dir).tenants["acme"].keys) == 2
    assert fragment.read_text().endswith("# hers\n")
    keys("create", "--tenant", "globex")
    assert "globex" in fragment.read_text()


def test_list_tells_ids_and_never_a_key(keys: Run) -> None:
    assert "There are no keys" in keys("list").err
    key = keys("create", "--tenant", "acme", "--name", "ci", "--until", "2026-11-21").out.strip()
    other = json.loads(keys("create", "--tenant", "globex", as_json=True).out)
    done = keys("list")
    assert key not in done.out
    assert done.out.splitlines()[0].split() == [
        "id",
        "tenant",
        "name",
        "until",
        "state",
        "limits",
        "bound",
        "to",
    ]
    assert done.out.splitlines()[1].split() == [
        sha256(key.encode()).hexdigest()[:8],
        "acme",
        "ci",
        "2026-11-21",
        "expired",
        "-",
        "-",
    ]
    [row] = json.loads(keys("list", "--tenant", "globex", as_json=True).out)["keys"]
    assert (row["id"], row["state"], row["until"]) == (other["id"], "ready", None)


def test_a_key_is_bound_as_is_said_and_stays_so_when_it_is_rotated(keys: Run, config_dir: Path) -> None:
    said = ("--project", "web site", "--user", "jane", "--label", "confidential", "--may", "lower_label")
    first = keys("create", "--tenant", "acme", "--name", "ci", *said)
    assert first.status == 0, first.err
    assert "project web site, user jane, label confidential, may lower_label" in keys("list").out
    for made in (first.out.strip(), keys("rotate", "ci", "--user", "john").out.strip()):
        answered = answer(config_dir, made)
        if isinstance(answered, Caller):
            key = answered.key
    assert key is not None
    assert (key.project, key.user, key.label, key.may_lower) == ("web site", "john", "confidential", True)


def test_a_label_that_is_not_there_makes_no_key(keys: Run, config_dir: Path) -> None:
    before = (config_dir / "routing.yaml").read_text()
    done = keys("create", "--tenant", "acme", "--label", "secret-ish")
    assert done.status != 0
    assert "LP203" in done.err
    assert (config_dir / "routing.yaml").read_text() == before


@pytest.mark.parametrize("how", ["id", "name", "hash", "key"])
def test_a_key_is_revoked_by_whatever_is_known_of_it(keys: Run, config_dir: Path, how: str) -> None:
    made = json.loads(keys("create", "--tenant", "acme", "--name", "ci", as_json=True).out)
    stays = keys("create", "--tenant", "acme").out.strip()
    made["name"] = "ci"
    assert keys("revoke", made[how]).status == 0
    assert isinstance(answer(config_dir, made["key"]), Failure)
    assert isinstance(answer(config_dir, stays), Caller)


def test_the_last_key_is_revoked_without_opening_the_door(keys: Run, config_dir: Path) -> None:
    key = keys("create", "--tenant", "acme").out.strip()
    done = keys("revoke", key)
    assert done.status == 0
    assert "last key" in done.err
    assert key not in done.out + done.err
    refused = answer(config_dir, key)
    assert isinstance(refused, Failure)
    assert refused.code == "expired_api_key"
    assert isinstance(answer(config_dir, "anything"), Failure)


def test_rotate_replaces_at_once_or_lets_the_old_one_live_to_the_end_of_a_day(
    keys: Run, config_dir: Path
) -> None:
    first = keys("create", "--tenant", "acme", "--name", "ci", "--requests-per-minute", "60").out.strip()
    second = keys("rotate", "ci", "--overlap", "7d").out.strip()
    for days, wanted in ((7.4, Caller), (7.6, Failure)):
        assert isinstance(answer(config_dir, first, NOON_S + days * DAY_S), wanted), days
    replaced = json.loads(keys("rotate", sha256(second.encode()).hexdigest()[:8], as_json=True).out)
    assert isinstance(answer(config_dir, second), Failure)
    caller = answer(config_dir, replaced["key"])
    assert isinstance(caller, Caller)
    assert caller.key is not None
    assert (caller.key.name, caller.key_limits) == ("ci", Limits(requests_per_minute=60))
    assert replaced["replaces"] == sha256(second.encode()).hexdigest()[:8]


def test_an_overlap_never_makes_a_key_live_longer_than_it_would_have(keys: Run, config_dir: Path) -> None:
    keys("create", "--tenant", "acme", "--name", "ci", "--until", "2026-11-23")
    keys("rotate", "ci", "--overlap", "30d")
    assert loaded(config_dir).tenants["acme"].keys[0].until == "2026-11-23"


@pytest.mark.parametrize(
    ("argv", "status", "said"),
    [
        (("create",), 64, "say whose key it is"),
        (("create", "x", "--tenant", "acme"), 64, "no KEY here"),
        (("create", "--tenant", "no good"), 64, "cannot be a tenant"),
        (("create", "--tenant", "acme", "--name", "x" * 65), 64, "cannot be a name"),
        (("revoke",), 64, "say which key"),
        (("revoke", "nobody"), 66, "there is no `nobody`"),
        (("rotate", "twice"), 64, "could be several keys"),
        (("rotate", "twice", "--tenant", "globex"), 66, "there is no `twice`"),
    ],
)
def test_what_cannot_be_done_is_said(
    keys: Run, config_dir: Path, argv: tuple[str, ...], status: int, said: str
) -> None:
    for _ in range(2):
        keys("create", "--tenant", "acme", "--name", "twice")
    before = (config_dir / "routing.yaml").read_bytes()
    done = keys(*argv)
    assert (done.status, done.out) == (status, "")
    assert said in done.err
    assert (config_dir / "routing.yaml").read_bytes() == before


def test_an_invalid_file_is_left_alone(keys: Run, config_dir: Path) -> None:
    file = config_dir / "routing.yaml"
    file.write_text(file.read_text() + "nonsense: 1\n")
    before = file.read_bytes()
    done = keys("create", "--tenant", "acme")
    assert done.status == 1
    assert "nonsense" in done.err
    assert "mend them first" in done.err
    assert (done.out, file.read_bytes()) == ("", before)


def test_a_file_that_no_program_should_edit_is_left_alone(keys: Run, config_dir: Path) -> None:
    """The second key's name is an alias of the first one's: without the first it would mean nothing."""
    file = config_dir / "routing.yaml"
    first, second = "1" * 64, "2" * 64
    file.write_text(
        f"version: 1\ntenants:\n  acme:\n    keys:\n      - {{hash: 'sha256:{first}', name: &n ci}}\n"
        f"      - {{hash: 'sha256:{second}', name: *n}}\n"
    )
    before = file.read_bytes()
    done = keys("revoke", first[:8])
    assert done.status == 1
    assert "cannot be edited by a program" in done.err
    assert "delete the key by hand" in done.err
    assert file.read_bytes() == before


def test_without_a_directory_the_way_is_told(run: Run, tmp_path: Path) -> None:
    done = run("keys", "create", "--tenant", "acme", "--config-dir", str(tmp_path / "none"))
    assert done.status == 66
    assert "--config-dir" in done.err


def test_commands_at_the_same_time_lose_no_key(config_dir: Path, environ: dict[str, str]) -> None:
    command = [
        sys.executable,
        "-m",
        "llmproxyd",
        "keys",
        "create",
        "--tenant",
        "acme",
        "--config-dir",
        str(config_dir),
    ]
    running = [
        subprocess.Popen(
            command,
            env={**environ, "PATH": os.environ["PATH"]},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for _ in range(4)
    ]
    shown = [process.communicate(timeout=60)[0].strip() for process in running]
    assert all(isinstance(answer(config_dir, key), Caller) for key in shown)
    assert len(loaded(config_dir).tenants["acme"].keys) == 4


def test_names_are_those_the_schema_allows() -> None:
    schema = shipped_schema("routing").body
    names = schema["properties"]["tenants"]["propertyNames"]["pattern"]
    assert names == f"^{TENANT_NAME.pattern}$"
    assert schema["$defs"]["tenant_key"]["properties"]["name"]["pattern"] == f"^{KEY_NAME.pattern}$"
