"""The address of a Gemini request: which model, which method, which form of stream.

``/v1beta/models/NAME:METHOD``, also under ``/v1`` and ``/v1alpha`` and for ``tunedModels``. The name may hold slashes and
colons, plain or quoted; the method stands behind the last colon.
"""

from __future__ import annotations

import re
from urllib.parse import parse_qs, unquote

import msgspec

from llmproxyd.values.contracts import BadRequest

MAX_MODEL_CHARS = 256

CALL_PATH = re.compile(r"/(?:v1|v1beta|v1alpha)/(models|tunedModels)/([^?]+):([A-Za-z]+)")
"""A POST to one of these is a call; the groups are collection, quoted model and method."""

MODEL_PATH = re.compile(r"/(?:v1|v1beta|v1alpha)/(models|tunedModels)/([^?]+)")
"""A GET of one of these describes a model."""

LIST_PATH = re.compile(r"/(?:v1|v1beta|v1alpha)/models")


class Target(msgspec.Struct, frozen=True):
    """``sse``: a stream is wanted as server-sent events, not as one JSON array."""

    model: str
    method: str
    sse: bool


def parse_target(target: str) -> Target:
    """target: path with query, as sent. Raises BadRequest for what is no call of a model."""
    path, _, query = target.partition("?")
    found = CALL_PATH.fullmatch(path)
    if found is None:
        raise BadRequest("Expected a path such as /v1beta/models/MODEL:generateContent.", param="model")
    return Target(_read_model(found[1], found[2]), found[3], sse=_wants_sse(query))


def parse_model_path(target: str) -> str:
    """The model that ``GET …/models/NAME`` asks about. Raises BadRequest."""
    found = MODEL_PATH.fullmatch(target.partition("?")[0])
    if found is None:
        raise BadRequest("Expected a path such as /v1beta/models/MODEL.", param="name")
    return _read_model(found[1], found[2])


def _read_model(collection: str, quoted: str) -> str:
    name = unquote(quoted)
    # Clients that write the prefix themselves come with two of them.
    name = name.removeprefix("models/") if collection == "models" else f"{collection}/{name}"
    if not name.strip() or len(name) > MAX_MODEL_CHARS:
        raise BadRequest(f"The model's name must have 1 to {MAX_MODEL_CHARS} characters.", param="model")
    return name


def _wants_sse(query: str) -> bool:
    wanted = parse_qs(query, max_num_fields=64)
    return (wanted.get("alt") or wanted.get("$alt") or [""])[-1].lower() == "sse"
