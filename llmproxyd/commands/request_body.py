"""A request body from a file, in whichever dialect it is written: which surface would read it, and the Request it means."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import quote

from llmproxyd import jsontext
from llmproxyd.commands.console import CannotGoOn, Console, read_request_bytes
from llmproxyd.config.terminal import visible
from llmproxyd.exits import Exit
from llmproxyd.surfaces import SURFACES
from llmproxyd.surfaces.gemini_generate import find_surface
from llmproxyd.values.contracts import BadRequest, Surface
from llmproxyd.values.request import Request

_GEMINI: Final[Mapping[str, str]] = {
    "gemini-generate": "generateContent",
    "gemini-embed": "embedContent",
    "gemini-batch-embed": "batchEmbedContents",
    "gemini-count-tokens": "countTokens",
}
"""Names for Google's calls, whose method stands in the path, as does the model."""

Body = dict[str, Any]


def _has(*names: str) -> Callable[[Body], bool]:
    return lambda body: any(name in body for name in names)


def _has_blocks_of_anthropic(body: Body) -> bool:
    tools = body.get("tools")
    return isinstance(tools, list) and any(
        isinstance(tool, dict) and "input_schema" in tool for tool in tools
    )


def _is_for_embedding(body: Body) -> bool:
    text = body.get("input")
    items = text if isinstance(text, list) else [text]
    plain = all(not isinstance(item, dict) for item in items)
    return plain and ("embed" in str(body.get("model", "")) or _has("encoding_format", "dimensions")(body))


_SIGNS: Final[tuple[tuple[str, Callable[[Body], bool]], ...]] = (
    ("gemini-generate", _has("contents")),
    ("gemini-batch-embed", _has("requests")),
    ("gemini-embed", _has("content")),
    ("ollama-chat", lambda body: "messages" in body and _has("options", "keep_alive", "format")(body)),
    ("ollama-generate", lambda body: "prompt" in body and _has("options", "keep_alive", "raw")(body)),
    (
        "anthropic-messages",
        lambda body: (
            "messages" in body
            and (_has("system", "stop_sequences", "thinking")(body) or _has_blocks_of_anthropic(body))
        ),
    ),
    ("openai-chat", _has("messages")),
    ("openai-embeddings", lambda body: "input" in body and _is_for_embedding(body)),
    ("openai-responses", _has("input")),
    ("openai-completions", _has("prompt")),
)
"""What only this dialect has, the surest sign first. Where bodies look alike, --surface says which it is."""


def surface_names() -> list[str]:
    return sorted({*(surface.name for surface in SURFACES.values()), *_GEMINI})


def read_request(
    path: str, console: Console, *, model: str | None, surface: str | None
) -> tuple[Request, Surface]:
    """The request in the file (- for standard input), asked of ``model`` where one is given.

    Raises CannotGoOn: 66 for a file that cannot be read, 64 for one that holds no request.
    """
    data = read_request_bytes(path, console)
    try:
        body = jsontext.decode(data)
    except jsontext.JSONError as error:
        raise CannotGoOn(Exit.USAGE, f"{visible(path)} is not JSON: {error}") from None
    if not isinstance(body, dict):
        raise CannotGoOn(Exit.USAGE, f"{visible(path)} holds no request: expected a JSON object")
    name = surface or next((found for found, is_it in _SIGNS if is_it(body)), None)
    if name is None:
        raise CannotGoOn(
            Exit.USAGE, f"{visible(path)} looks like no request that is known; say which it is with --surface"
        )
    return _parse(name, data, body, model, path)


def _parse(name: str, data: bytes, body: Body, model: str | None, path: str) -> tuple[Request, Surface]:
    wanted = model or str(body.get("model") or "")
    if not wanted:
        raise CannotGoOn(Exit.USAGE, f"{visible(path)} names no model: say which with --model NAME")
    if name in _GEMINI:
        target = f"/v1beta/models/{quote(wanted.removeprefix('models/'), safe='')}:{_GEMINI[name]}"
        surface = find_surface(target)
    else:
        target, surface = next(((at, one) for at, one in SURFACES.items() if one.name == name), ("", None))
        data = jsontext.splice(data, {"model": json.dumps(wanted).encode()})
    if surface is None:
        known = ", ".join(surface_names())
        raise CannotGoOn(Exit.USAGE, f"there is no surface {visible(name)!r}; expected one of {known}")
    try:
        return surface.parse_request({}, data, target), surface
    except BadRequest as bad:
        raise CannotGoOn(
            Exit.USAGE, f"the daemon would refuse this request ({surface.name}): {bad.failure.message}"
        ) from None
