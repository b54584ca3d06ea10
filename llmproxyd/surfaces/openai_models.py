"""The list of names a client may ask for, as ``GET /v1/models`` shows it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from llmproxyd import jsontext

_OWNER = "llmproxyd"


def format_models(names: Iterable[str], created_s: int) -> bytes:
    """``created_s``: Unix seconds, the same for all: when the names came into force."""
    return jsontext.encode({"object": "list", "data": [_entry(name, created_s) for name in names]})


def format_model(name: str, created_s: int) -> bytes:
    """The answer of ``GET /v1/models/NAME``."""
    return jsontext.encode(_entry(name, created_s))


def _entry(name: str, created_s: int) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": created_s, "owned_by": _OWNER}
