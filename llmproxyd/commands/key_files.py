"""The part of ``llmproxyd keys`` that deals with the files: which key is meant, which file holds it, and the change.

A change is made under a lock, only to files that are valid, and only if they are valid afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Final

import msgspec
from msgspec.structs import replace

from llmproxyd.commands.console import CannotGoOn, Console
from llmproxyd.commands.files import load_files, tell_problems
from llmproxyd.config.files import SourceFile
from llmproxyd.config.key_edit import CannotEdit, holds_tenant, holds_tenants
from llmproxyd.config.load import Loaded
from llmproxyd.config.rewrite import CannotRewrite, edit_lock, replace_file
from llmproxyd.config.terminal import visible
from llmproxyd.exits import Exit
from llmproxyd.values.snapshot import Snapshot, Tenant, VirtualKey
from llmproxyd.vetting import compile_files

PREFIX: Final = "llmp_"
HASH: Final = "sha256:"


class Found(msgspec.Struct, frozen=True):
    """A key, whose it is, and the how-manieth of its tenant's."""

    tenant: Tenant
    index: int

    @property
    def key(self) -> VirtualKey:
        return self.tenant.keys[self.index]


def all_keys(snapshot: Snapshot) -> list[Found]:
    return [Found(tenant, index) for tenant in snapshot.tenants.values() for index in range(len(tenant.keys))]


def find_key(text: str, tenant: str | None, snapshot: Snapshot) -> Found:
    """The one key that is meant. Raises CannotGoOn (66) for none, and (64) for several."""
    candidates = [one for one in all_keys(snapshot) if tenant in (None, one.tenant.name)]
    digest = sha256(text.encode()).hexdigest() if text.startswith(PREFIX) else text.removeprefix(HASH).lower()
    found = [one for one in candidates if one.key.digest == digest]
    found = found or [one for one in candidates if one.key.id == digest or one.key.name == text]
    # A key that was shown must not be repeated, not even to say that it is not known.
    told = "the key" if text.startswith(PREFIX) else f"`{visible(text)}`"
    if not found:
        raise CannotGoOn(Exit.MISSING, f"there is no {told} here; `llmproxyd keys list` shows all")
    if len(found) > 1:
        ids = ", ".join(f"{one.key.id} of {one.tenant.name}" for one in found)
        raise CannotGoOn(Exit.USAGE, f"{told} could be several keys: {ids}; say the id")
    return found[0]


# --- the file ---------------------------------------------------------------------------------------------------


class Edit(msgspec.Struct, frozen=True):
    """``data`` is to stand in the file ``source``. ``old``: the key it is about; ``made``: the new one, and how clients
    show it."""

    source: SourceFile
    data: bytes
    old: Found | None = None
    made: VirtualKey | None = None
    shown: str = ""


def edit_routing(
    console: Console, change: Callable[[Snapshot, Sequence[SourceFile]], Edit], by_hand: str
) -> tuple[Snapshot, Edit]:
    """Change one file of the routing configuration -> what the files meant before, and the change.

    Nothing is written unless the files are valid before and after. Raises CannotGoOn.
    """
    config_dir = console.config_dir()
    if not config_dir.is_dir():
        raise CannotGoOn(Exit.MISSING, f"{config_dir} is not there: name the directory with --config-dir DIR")
    try:
        with edit_lock(config_dir):
            loaded = load_files(console, config_dir)
            before = snapshot_of(loaded, console)
            edit = change(before, loaded.files.routing)
            _validate(loaded, edit, console)
            replace_file(edit.source, edit.data)
    except CannotEdit as reason:
        raise CannotGoOn(
            Exit.ERRORS, f"the file cannot be edited by a program: {reason}. Nothing was changed; {by_hand}"
        ) from None
    except (CannotRewrite, OSError) as error:
        raise CannotGoOn(Exit.ERRORS, f"nothing was changed: {error}") from None
    return before, edit


def snapshot_of(loaded: Loaded, console: Console) -> Snapshot:
    if loaded.snapshot is None:
        tell_problems(console, loaded)
        raise CannotGoOn(Exit.ERRORS, f"the files in {loaded.files.config_dir} have errors: mend them first")
    return loaded.snapshot


def _validate(loaded: Loaded, edit: Edit, console: Console) -> None:
    """The files as they would be; the daemon must not be shown what it would refuse."""
    changed = replace(edit.source, data=edit.data, sha256=sha256(edit.data).hexdigest())
    routing = tuple(changed if one is edit.source else one for one in loaded.files.routing)
    result = compile_files(replace(loaded.files, routing=routing), environ=console.environ)
    if result.snapshot is None:
        tell_problems(console, result)
        raise CannotGoOn(Exit.ERRORS, "with this change the files would have errors; nothing was changed")


def source_of(tenant: str, sources: Sequence[SourceFile]) -> SourceFile:
    found = next((source for source in sources if holds_tenant(source.data, tenant)), None)
    if found is None:
        raise CannotEdit(f"no file lists the keys of `{tenant}` in the open")
    return found


def source_for(tenant: str, sources: Sequence[SourceFile]) -> SourceFile:
    """Where the tenant is, else where tenants are, else the main file."""
    for holds in (lambda data: holds_tenant(data, tenant), holds_tenants):
        found = next((source for source in sources if holds(source.data)), None)
        if found is not None:
            return found
    return sources[0]
