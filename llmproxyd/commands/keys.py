"""``llmproxyd keys``: makes, lists and takes back the keys that clients show. Edits routing.yaml; asks no daemon.

A key is shown once, when it is made; the file holds its hash. The daemon sees the changed file by itself.
"""

from __future__ import annotations

import re
import secrets
from argparse import ArgumentTypeError, Namespace
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from typing import Any, Final

from msgspec.structs import replace

from llmproxyd.commands.console import CannotGoOn, Command, Console, format_table
from llmproxyd.commands.files import load_files
from llmproxyd.commands.key_files import (
    HASH,
    PREFIX,
    Edit,
    all_keys,
    edit_routing,
    find_key,
    snapshot_of,
    source_for,
    source_of,
)
from llmproxyd.config.files import SourceFile
from llmproxyd.config.key_edit import add_key, end_key, format_entry, remove_key
from llmproxyd.config.terminal import visible
from llmproxyd.config.units import parse_duration_s
from llmproxyd.exits import Exit
from llmproxyd.values.snapshot import Snapshot, VirtualKey

_RANDOM_BYTES: Final = 32
_LIMITS: Final = ("requests_per_minute", "tokens_per_minute", "concurrency")
TENANT_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
KEY_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9 ._@+-]{0,62}[A-Za-z0-9._@+-])?")
_DAY: Final = timedelta(days=1)
_NEVER: Final = "9999-12-31"


# --- arguments --------------------------------------------------------------------------------------------------


def _day(text: str) -> str:
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise ArgumentTypeError(f"expected a day such as 2026-12-31, found {text!r}") from None


def _overlap(text: str) -> float:
    try:
        return parse_duration_s(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from None


def _add_arguments(parser: Any) -> None:
    add = parser.add_argument
    add("action", choices=tuple(_ACTIONS), metavar="ACTION", help="create, list, revoke or rotate")
    add(
        "key",
        nargs="?",
        metavar="KEY",
        help="which one: its id, its name, its hash, or the key as clients show it",
    )
    add("--tenant", metavar="T", help="whose key; a tenant that is not there is made by create")
    add("--name", metavar="N", help="what to call the new key")
    add(
        "--until", type=_day, metavar="DAY", help="first day (UTC) on which the new key is not taken any more"
    )
    for limit in _LIMITS:
        words = limit.replace("_", " ")
        add(f"--{limit.replace('_', '-')}", type=_positive, metavar="N", help=f"{words} of the new key alone")
    add("--project", metavar="NAME", help="what the new key sends belongs to this project and no other")
    add("--user", metavar="NAME", help="what the new key sends comes from this user and no other")
    add("--label", metavar="LABEL", help="what the new key sends is labelled so at least")
    add(
        "--may",
        choices=("lower_label",),
        metavar="lower_label",
        help="the new key may lower a request's label",
    )
    add(
        "--overlap",
        type=_overlap,
        default=0.0,
        metavar="TIME",
        help="rotate: the old key is taken for so long",
    )


def _positive(text: str) -> int:
    number = text.replace("_", "")
    if not (number.isascii() and number.isdigit() and int(number)):
        raise ArgumentTypeError(f"expected a whole number above 0, found {text!r}")
    return int(number)


def _run(arguments: Namespace, console: Console) -> int:
    needs_key = arguments.action in ("revoke", "rotate")
    if needs_key is (arguments.key is None):
        word = "which key: its id as `keys list` shows it, or its name" if needs_key else "no KEY here"
        raise CannotGoOn(Exit.USAGE, f"llmproxyd keys {arguments.action}: say {word}")
    return _ACTIONS[arguments.action](arguments, console)


# --- list -------------------------------------------------------------------------------------------------------


def _list(arguments: Namespace, console: Console) -> int:
    snapshot = snapshot_of(load_files(console, console.config_dir()), console)
    rows = [
        _document(found.tenant.name, found.key, _today(console))
        for found in all_keys(snapshot)
        if arguments.tenant in (None, found.tenant.name)
    ]
    if console.json:
        console.say_json({"version": 1, "keys": rows})
        return Exit.OK
    if not rows:
        console.complain(
            "There are no keys: every program on this machine may ask, and no other machine can connect."
        )
        return Exit.OK
    cells = [
        [
            row["id"],
            row["tenant"],
            row["name"],
            row["until"] or "-",
            row["state"],
            _limits_text(row),
            _bound_text(row),
        ]
        for row in rows
    ]
    console.say(format_table(("id", "tenant", "name", "until", "state", "limits", "bound to"), cells))
    return Exit.OK


def _document(tenant: str, key: VirtualKey, today: str) -> dict[str, Any]:
    limits = {name: getattr(key.limits, name) for name in _LIMITS}
    return {
        "id": key.id,
        "tenant": tenant,
        "name": key.name,
        "hash": HASH + key.digest,
        "until": key.until,
        "state": "expired" if key.until is not None and key.until <= today else "ready",
        "limits": {name: value for name, value in limits.items() if value is not None},
        "project": key.project,
        "user": key.user,
        "label": key.label,
        "may": ["lower_label"] if key.may_lower else [],
    }


def _limits_text(row: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in row["limits"].items()) or "-"


def _bound_text(row: Mapping[str, Any]) -> str:
    said = [f"{name} {row[name]}" for name in ("project", "user", "label") if row[name] is not None]
    return ", ".join([*said, *(f"may {what}" for what in row["may"])]) or "-"


# --- create, revoke, rotate -------------------------------------------------------------------------------------


def _create(arguments: Namespace, console: Console) -> int:
    if arguments.tenant is None:
        raise CannotGoOn(Exit.USAGE, "say whose key it is: llmproxyd keys create --tenant T")
    _check_name("tenant", arguments.tenant, TENANT_NAME)
    shown, made = _make_key(arguments, VirtualKey(""))

    def change(_: Snapshot, sources: Sequence[SourceFile]) -> Edit:
        source = source_for(arguments.tenant, sources)
        return Edit(source, add_key(source.data, arguments.tenant, made), made=made, shown=shown)

    by_hand = f"write it under `tenants: {arguments.tenant}: keys:` yourself: {format_entry(made)}"
    before, edit = edit_routing(console, change, by_hand)
    _show(console, edit, arguments.tenant)
    if not before.tenants:
        console.complain(
            "This is the first key. From now on every client has to show one; programs that have none are refused."
        )
    return Exit.OK


def _rotate(arguments: Namespace, console: Console) -> int:
    """A new key beside the old one, which goes at once or, with an overlap, at the end of a later day."""

    def change(snapshot: Snapshot, sources: Sequence[SourceFile]) -> Edit:
        old = find_key(arguments.key, arguments.tenant, snapshot)
        shown, made = _make_key(arguments, replace(old.key, until=None))
        source = source_of(old.tenant.name, sources)
        data = add_key(source.data, old.tenant.name, made)
        if arguments.overlap:
            until = min(_end_of_overlap(console, arguments.overlap), old.key.until or _NEVER)
            data = end_key(data, old.tenant.name, old.index, until)
        else:
            data = remove_key(data, old.tenant.name, old.index)
        return Edit(source, data, old, made, shown)

    _, edit = edit_routing(console, change, "create a key, and delete the old one by hand")
    assert edit.old is not None
    _show(console, edit, edit.old.tenant.name)
    return Exit.OK


def _revoke(arguments: Namespace, console: Console) -> int:
    def change(snapshot: Snapshot, sources: Sequence[SourceFile]) -> Edit:
        old = find_key(arguments.key, arguments.tenant, snapshot)
        source = source_of(old.tenant.name, sources)
        if len(old.tenant.keys) > 1:
            return Edit(source, remove_key(source.data, old.tenant.name, old.index), old)
        # A tenant without keys is not allowed, and the last tenant's end would open the door to everybody.
        return Edit(source, end_key(source.data, old.tenant.name, old.index, _today(console)), old)

    _, edit = edit_routing(console, change, "delete the key by hand")
    assert edit.old is not None
    revoked, tenant, file = edit.old.key.id, edit.old.tenant, edit.source.name
    if console.json:
        console.say_json({"version": 1, "revoked": revoked, "tenant": tenant.name, "file": file})
        return Exit.OK
    console.say(f"revoked {revoked} of tenant {tenant.name} in {file}")
    if len(tenant.keys) == 1:
        console.complain(
            f"It was the last key of `{tenant.name}`, so it stays in the file as expired. Delete the tenant to be rid "
            "of it; without any tenant every program on this machine may ask."
        )
    return Exit.OK


def _make_key(arguments: Namespace, like: VirtualKey) -> tuple[str, VirtualKey]:
    """A new key as clients show it, and as the file knows it: as ``like``, but for what the arguments say."""
    shown = PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)
    name = like.name if arguments.name is None else arguments.name
    if name:
        _check_name("name", name, KEY_NAME)
    wanted = {name: getattr(arguments, name) for name in _LIMITS}
    limits = replace(like.limits, **{name: value for name, value in wanted.items() if value is not None})
    bound = {name: getattr(arguments, name) for name in ("project", "user", "label")}
    made = replace(
        like,
        digest=sha256(shown.encode()).hexdigest(),
        name=name,
        until=arguments.until or like.until,
        limits=limits,
        may_lower=like.may_lower or arguments.may is not None,
        **{name: value for name, value in bound.items() if value is not None},
    )
    return shown, made


def _show(console: Console, edit: Edit, tenant: str) -> None:
    """The key goes to stdout alone, so that a script can take it."""
    assert edit.made is not None
    if console.json:
        row = _document(tenant, edit.made, _today(console))
        old = None if edit.old is None else edit.old.key.id
        console.say_json({"version": 1, "key": edit.shown, **row, "file": edit.source.name, "replaces": old})
        return
    console.say(edit.shown)
    console.complain(
        f"Key {edit.made.id} of tenant {tenant}, written to {edit.source.name} as its hash. It is shown this once. "
        "A running daemon takes it as soon as it has seen the file."
    )


def _check_name(what: str, text: str, pattern: re.Pattern[str]) -> None:
    if not pattern.fullmatch(text):
        raise CannotGoOn(
            Exit.USAGE,
            f"{visible(text)!r} cannot be a {what}: at most 64 letters, digits, `.`, `_` and `-`, the first a letter or digit",
        )


def _end_of_overlap(console: Console, overlap_s: float) -> str:
    """Keys end with a day, so the old one lives to the end of the day in which the overlap ends."""
    return (_utc_day(console.wall() + overlap_s) + _DAY).isoformat()


def _today(console: Console) -> str:
    return _utc_day(console.wall()).isoformat()


def _utc_day(unix_s: float) -> date:
    try:
        return datetime.fromtimestamp(unix_s, UTC).date()
    except (ValueError, OverflowError, OSError):
        raise CannotGoOn(Exit.USAGE, "that overlap leads beyond the calendar") from None


_ACTIONS: Final[Mapping[str, Callable[[Namespace, Console], int]]] = {
    "create": _create,
    "list": _list,
    "revoke": _revoke,
    "rotate": _rotate,
}

COMMAND = Command(
    summary=(
        "Make, list and take back the keys of clients. A key is shown once; routing.yaml gets its hash.\n"
        "create prints a new key. list shows what there is. revoke takes a key back. rotate makes a new key\n"
        "in place of an old one, which --overlap lets live on to the end of that day (UTC)."
    ),
    examples="""\
Examples:
  llmproxyd keys create --tenant acme --name ci
  llmproxyd keys list
  llmproxyd keys rotate ci --overlap 7d
  llmproxyd keys revoke 3fa2b1c4""",
    add_arguments=_add_arguments,
    run=_run,
)
