"""A string that must not be seen."""

from __future__ import annotations

import hashlib
from typing import Never


class Secret:
    """Holds a credential; every way of showing it gives ``***``. Only ``reveal()`` gives it, to an adapter's header.

    ``fingerprint`` (8 hex digits of SHA-256) tells two secrets apart in logs without telling what they are.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    @property
    def fingerprint(self) -> str:
        return "sha256:" + hashlib.sha256(self._value.encode()).hexdigest()[:8]

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __reduce__(self) -> Never:
        raise TypeError("a Secret cannot be pickled or copied out")
