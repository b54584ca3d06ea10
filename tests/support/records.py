"""Values with another value in some of their fields, whatever kind of record they are."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

import msgspec

_T = TypeVar("_T")


def replace(record: _T, **changes: Any) -> _T:
    """``dataclasses.replace``, for records that are ``msgspec.Struct`` as well."""
    if isinstance(record, msgspec.Struct):
        return msgspec.structs.replace(record, **changes)
    return dataclasses.replace(record, **changes)  # type: ignore[type-var]
