"""The names a client may ask for, as ``GET /v1beta/models`` and ``GET /v1beta/models/NAME`` show them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qs

from llmproxyd import jsontext
from llmproxyd.values.contracts import BadRequest

_DEFAULT_PAGE = 1000
_METHODS = ("generateContent", "streamGenerateContent", "countTokens", "embedContent", "batchEmbedContents")


def format_models(names: Sequence[str], target: str = "") -> bytes:
    """target: the request's path with query, which may hold ``pageSize`` and ``pageToken``. Raises BadRequest."""
    query = parse_qs(target.partition("?")[2], max_num_fields=64)
    size = _read_number(query, "pageSize") or _DEFAULT_PAGE
    start = _read_number(query, "pageToken") or 0
    page: dict[str, Any] = {"models": [_entry(name) for name in names[start : start + size]]}
    if start + size < len(names):
        page["nextPageToken"] = str(start + size)
    return jsontext.encode(page)


def format_model(name: str) -> bytes:
    """The answer of ``GET /v1beta/models/NAME``."""
    return jsontext.encode(_entry(name))


def _entry(name: str) -> dict[str, Any]:
    full = name if name.startswith("tunedModels/") else f"models/{name}"
    return {"name": full, "version": "1", "displayName": name, "supportedGenerationMethods": list(_METHODS)}


def _read_number(query: dict[str, list[str]], name: str) -> int | None:
    snake = "page_size" if name == "pageSize" else "page_token"
    given = (query.get(name) or query.get(snake) or [""])[-1]
    if not given:
        return None
    if not given.isascii() or not given.isdigit() or len(given) > 9:
        raise BadRequest(
            f"Invalid value at '{name}': expected a whole number, as an answer gave it.", param=name
        )
    return int(given)
