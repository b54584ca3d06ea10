"""The key an answer is kept under: a keyed digest of everything that must be the same for it to be given again.

Whose it is, its privacy label, who may answer under today's rules, the name that was asked for and the request itself.
The digest's key is a secret of this state directory, so a file that falls into other hands does not even say whether
some prompt was ever asked.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Final

import msgspec

from llmproxyd.cache.canonical import canonical_form
from llmproxyd.cache.entry import KEY_BYTES
from llmproxyd.cache.replay import converts
from llmproxyd.values.plan import Plan
from llmproxyd.values.request import Request
from llmproxyd.values.snapshot import CacheScope

SECRET_BYTES: Final = 32
SECRET_FILE: Final = "cache.key"  # noqa: S105 - a name
_DOMAIN: Final = b"llmproxyd cache1"
_UNHEARD_HEADERS: Final = frozenset({"accept"})
"""They choose the form of an answer, not what it says."""


class Who(msgspec.Struct, frozen=True):
    """Who asks. ``key``: the whole digest of the virtual key, never a part of it; None: no key was shown."""

    tenant: str | None = None
    key: str | None = None
    user: str | None = None


def scope_of(scope: CacheScope, who: Who) -> tuple[str, ...] | None:
    """Those who share answers, as texts; None: nobody knows whose it would be, so nothing is shared.

    A user is what a client says of itself, so it only narrows what its key opens.
    """
    tenant, key = _known(who.tenant), _known(who.key)
    match scope:
        case CacheScope.TENANT:
            return ("tenant", tenant)
        case CacheScope.KEY:
            return ("key", tenant, key)
        case CacheScope.USER:
            return None if who.user is None else ("user", tenant, key, who.user)


def _known(name: str | None) -> str:
    """Absent and empty are two things."""
    return "" if name is None else "=" + name


def cache_key(secret: bytes, request: Request, plan: Plan, scope: tuple[str, ...], form: str) -> bytes:
    """KEY_BYTES bytes. ``form``: how the answer is said, which matters only where one form is not made from another.

    Raises NotCacheable, with the reason.
    """
    said = canonical_form(request)
    parts = (
        *(_bytes(text) for text in scope),
        _bytes(plan.label),
        _bytes(request.surface),
        _bytes(request.operation),
        b"" if converts(request) else _bytes(form),
        _bytes(request.model),
        msgspec.json.encode(plan.overrides),
        _digest_of(frozenset(c.deployment.key or c.deployment.name for c in plan.candidates)),
        _headers(request.headers),
        said,
    )
    digest = blake2b(digest_size=KEY_BYTES, key=secret, person=_DOMAIN)
    digest.update(len(parts).to_bytes(4))
    for part in parts:
        digest.update(len(part).to_bytes(8))
        digest.update(part)
    return digest.digest()


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _headers(headers: Mapping[str, str]) -> bytes:
    heard = sorted((name, value) for name, value in headers.items() if name not in _UNHEARD_HEADERS)
    return _joined(text for pair in heard for text in pair)


@lru_cache(maxsize=512)
def _digest_of(names: frozenset[str]) -> bytes:
    """Few sets of candidates serve all requests, and some of them are hundreds of names long."""
    return blake2b(_joined(sorted(names)), digest_size=16).digest()


def _joined(texts: Iterable[str]) -> bytes:
    return b"".join(len(data).to_bytes(4) + data for data in map(_bytes, texts))


# --- the secret -------------------------------------------------------------------------------------------------


def load_secret(state_dir: Path) -> bytes:
    """The secret of this state directory; made when there is none, or none that can be one. Raises OSError."""
    path = state_dir / SECRET_FILE
    for _ in range(2):
        with suppress(FileNotFoundError):
            secret = path.read_bytes()
            if len(secret) == SECRET_BYTES:
                path.chmod(0o600)
                return secret
            path.unlink()
        _make_secret(path)
    return path.read_bytes()


def _make_secret(path: Path) -> None:
    """Appears whole or not at all; where somebody else was quicker, theirs stands."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(secrets.token_bytes(SECRET_BYTES))
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink()
