"""The parts of a Responses item's content: text, images, files, audio, refusals."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from llmproxyd.surfaces.openai_fields import (
    missing,
    need_object,
    need_text,
    read_text,
    wrong_type,
    wrong_value,
)
from llmproxyd.surfaces.openai_parts import ContentPart, parse_cache_mark, parse_data_url
from llmproxyd.values.contracts import BadRequest
from llmproxyd.values.request import Audio, Document, File, Image, Refusal, Text


def parse_parts(value: object, where: str) -> Iterator[ContentPart]:
    """A string or a list of parts. Empty texts are left out: several providers refuse them. Raises BadRequest."""
    if isinstance(value, str):
        if value:
            yield Text(value)
        return
    if not isinstance(value, list):
        raise wrong_type(where, "a string or an array of objects", value)
    for index, part in enumerate(value):
        place = f"{where}[{index}]"
        if not isinstance(part, dict):
            raise wrong_type(place, "an object", part)
        parsed = _parse_part(part, place)
        if not isinstance(parsed, Text) or parsed.text:
            yield parsed


def _parse_part(part: Document, where: str) -> ContentPart:
    kind = need_text(part, "type", f"{where}.")
    parse = _PARTS.get(kind)
    if parse is None:
        raise wrong_value(f"{where}.type", kind, f"Supported values are: {', '.join(map(repr, _PARTS))}.")
    return parse(part, f"{where}.")


def _parse_text(part: Document, where: str) -> Text:
    return Text(need_text(part, "text", where), parse_cache_mark(part))


def _parse_refusal(part: Document, where: str) -> Refusal:
    return Refusal(need_text(part, "refusal", where))


def _parse_image(part: Document, where: str) -> Image:
    url = read_text(part, "image_url", where)
    if url is None:
        if part.get("file_id") is not None:
            raise BadRequest(
                "An image stored at OpenAI cannot be sent to the chosen model; send its data.",
                param=f"{where}file_id",
            )
        raise missing(f"{where}image_url")
    detail, cache = read_text(part, "detail", where), parse_cache_mark(part)
    if detail == "auto":  # the dialect's word for "not said", which its own types demand
        detail = None
    inline = parse_data_url(url, f"{where}image_url")
    if inline is None:
        return Image(url=url, detail=detail, cache=cache)
    return Image(data=inline[1], media_type=inline[0], detail=detail, cache=cache)


def _parse_file(part: Document, where: str) -> File:
    filename, file_id = read_text(part, "filename", where), read_text(part, "file_id", where)
    url, data = read_text(part, "file_url", where), read_text(part, "file_data", where)
    if data is not None:
        media_type, data = parse_data_url(data, f"{where}file_data") or (None, data)
        return File(data, media_type, filename=filename, cache=parse_cache_mark(part))
    if url is None and file_id is None:
        raise missing(f"{where}file_data")
    return File(url=url, file_id=file_id, filename=filename, cache=parse_cache_mark(part))


def _parse_audio(part: Document, where: str) -> Audio:
    source = need_object(part, "input_audio", where)
    inside = f"{where}input_audio."
    return Audio(need_text(source, "data", inside), need_text(source, "format", inside))


_PARTS: Mapping[str, Callable[[Document, str], ContentPart]] = {
    "input_text": _parse_text,
    "output_text": _parse_text,
    "text": _parse_text,
    "refusal": _parse_refusal,
    "input_image": _parse_image,
    "input_file": _parse_file,
    "input_audio": _parse_audio,
}
