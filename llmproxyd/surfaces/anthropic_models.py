"""The list of names a client may ask for, as ``GET /v1/models`` shows it to Anthropic's clients."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from llmproxyd import jsontext


def format_models(names: Iterable[str], created_s: int) -> bytes:
    """All names on one page. ``created_s``: Unix seconds, the same for all: when the names came into force."""
    entries = [_entry(name, created_s) for name in names]
    return jsontext.encode(
        {
            "data": entries,
            "has_more": False,
            "first_id": entries[0]["id"] if entries else None,
            "last_id": entries[-1]["id"] if entries else None,
        }
    )


def format_model(name: str, created_s: int) -> bytes:
    """The answer of ``GET /v1/models/NAME``."""
    return jsontext.encode(_entry(name, created_s))


def _entry(name: str, created_s: int) -> dict[str, Any]:
    created = datetime.fromtimestamp(created_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"type": "model", "id": name, "display_name": name, "created_at": created, "lifecycle": "active"}
