"""The parts of an OpenAI message: text, images, audio, files, refusals; and its data URLs."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from llmproxyd.surfaces.openai_fields import (
    missing,
    need_object,
    need_text,
    read_object,
    read_text,
    wrong_value,
)
from llmproxyd.values.contracts import BadRequest
from llmproxyd.values.request import Audio, CacheMark, Document, File, Image, Refusal, Text

ContentPart = Text | Image | Audio | File | Refusal

_DATA_URL = re.compile(r"data:([^;,]*)((?:;[^;,]*)*),", re.IGNORECASE)
_SPACE = re.compile(r"\s+")
_STANDARD_ALPHABET = str.maketrans("-_", "+/")


def parse_part(part: Document, where: str) -> ContentPart:
    """One content part. ``where`` names it to the client, e.g. ``messages[2].content[0]``. Raises BadRequest."""
    kind = need_text(part, "type", f"{where}.")
    parse = _PARTS.get(kind)
    if parse is None:
        raise wrong_value(f"{where}.type", kind, f"Supported values are: {', '.join(map(repr, _PARTS))}.")
    return parse(part, f"{where}.")


def parse_cache_mark(document: Document) -> CacheMark | None:
    """OpenAI's ``prompt_cache_breakpoint``, or Anthropic's ``cache_control``, which many clients send here too."""
    for name in ("prompt_cache_breakpoint", "cache_control"):
        mark = document.get(name)
        if isinstance(mark, dict):
            ttl = mark.get("ttl")
            return CacheMark(ttl if isinstance(ttl, str) else None)
    return None


def parse_data_url(url: str, where: str) -> tuple[str | None, str] | None:
    """-> (media type, base64); None if it is another kind of URL.

    Tolerates a missing type, parameters, white space and the URL-safe alphabet, as clients write all of them.
    """
    head = _DATA_URL.match(url)
    if head is None:
        return None
    if not head[2].lower().endswith(";base64"):
        raise BadRequest("Only base64-encoded data URLs are supported.", param=where, code="invalid_base64")
    data = url[head.end() :]
    if _SPACE.search(data):
        data = _SPACE.sub("", data)
    if "-" in data or "_" in data:
        data = data.translate(_STANDARD_ALPHABET)
    return head[1] or None, data


def _parse_text(part: Document, where: str) -> Text:
    return Text(need_text(part, "text", where), parse_cache_mark(part))


def _parse_refusal(part: Document, where: str) -> Refusal:
    return Refusal(need_text(part, "refusal", where))


def _parse_image(part: Document, where: str) -> Image:
    given = part.get("image_url")
    # Some clients send the bare address.
    source: Mapping[str, Any] = (
        {"url": given} if isinstance(given, str) else need_object(part, "image_url", where)
    )
    url = need_text(source, "url", f"{where}image_url.")
    detail, cache = read_text(source, "detail", f"{where}image_url."), parse_cache_mark(part)
    inline = parse_data_url(url, f"{where}image_url.url")
    if inline is None:
        return Image(url=url, detail=detail, cache=cache)
    return Image(data=inline[1], media_type=inline[0], detail=detail, cache=cache)


def _parse_audio(part: Document, where: str) -> Audio:
    source = need_object(part, "input_audio", where)
    inside = f"{where}input_audio."
    return Audio(need_text(source, "data", inside), need_text(source, "format", inside))


def _parse_file(part: Document, where: str) -> File:
    source = read_object(part, "file", where) or {}
    inside = f"{where}file."
    filename, file_id = read_text(source, "filename", inside), read_text(source, "file_id", inside)
    data = read_text(source, "file_data", inside)
    cache = parse_cache_mark(part)
    if data is None:
        if file_id is None:
            raise missing(f"{inside}file_data")
        return File(file_id=file_id, filename=filename, cache=cache)
    media_type, content = parse_data_url(data, f"{inside}file_data") or (None, data)
    return File(content, media_type, file_id=file_id, filename=filename, cache=cache)


_PARTS: Mapping[str, Callable[[Document, str], ContentPart]] = {
    "text": _parse_text,
    "image_url": _parse_image,
    "input_audio": _parse_audio,
    "file": _parse_file,
    "refusal": _parse_refusal,
}
