"""Images, sound and files -> Gemini's ``inlineData`` and ``fileData``.

An address goes as it is: Google's servers fetch it themselves, or say that they cannot. Data need a media type, which is
read from their first bytes where the client left it out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from llmproxyd.adapters.gemini_tools import Warn
from llmproxyd.values.contracts import BadRequest
from llmproxyd.values.request import Audio, File, Image

# How base64 of a file begins. GIF and WebP are told by the container's first bytes.
_BEGINNINGS: Mapping[str, str] = {
    "iVBORw0KGgo": "image/png", "/9j/": "image/jpeg", "R0lGOD": "image/gif", "UklGR": "image/webp",
    "JVBERi": "application/pdf",
}  # fmt: skip
_EXTENSIONS: Mapping[str, str] = {
    "png": "image/png", "jpg": "image/jpeg", "jpeg": "image/jpeg", "gif": "image/gif", "webp": "image/webp",
    "heic": "image/heic", "heif": "image/heif", "pdf": "application/pdf", "txt": "text/plain", "csv": "text/csv",
    "html": "text/html", "mp4": "video/mp4", "webm": "video/webm", "mp3": "audio/mp3", "wav": "audio/wav",
}  # fmt: skip
_RESOLUTIONS: Mapping[str, str] = {
    "low": "MEDIA_RESOLUTION_LOW", "high": "MEDIA_RESOLUTION_HIGH",
}  # fmt: skip


def format_image(image: Image, where: str, warn: Warn, *, resolutions: bool) -> dict[str, Any]:
    """``resolutions``: the model takes one for each image. Raises BadRequest for data that do not say what they are."""
    if image.data is None:
        part = _by_address(image.url or "", image.media_type, where)
    else:
        part = _inline(image.data, image.media_type, where)
    if image.detail in (None, "auto"):
        return part
    if not resolutions or image.detail not in _RESOLUTIONS:
        warn(f"{where}.detail")
        return part
    return part | {"mediaResolution": {"level": _RESOLUTIONS[image.detail]}}


def format_audio(audio: Audio) -> dict[str, Any]:
    return {"inlineData": {"mimeType": f"audio/{audio.format}", "data": audio.data}}


def format_file(file: File, where: str, warn: Warn) -> dict[str, Any]:
    """Raises BadRequest for a file that another provider keeps."""
    if file.filename is not None:
        warn(f"{where}.filename")
    if file.text is not None:
        return {"text": file.text}
    if file.data is not None:
        return _inline(file.data, file.media_type, where)
    if file.url is not None:
        return _by_address(file.url, file.media_type, where)
    raise BadRequest(
        "A file kept by another provider cannot be sent to the chosen model; send its data.",
        param=f"{where}.file_id",
    )


def _inline(data: str, media_type: str | None, where: str) -> dict[str, Any]:
    known = media_type or next((kind for begin, kind in _BEGINNINGS.items() if data.startswith(begin)), None)
    if known is None:
        raise BadRequest("The chosen model needs the media type of these data.", param=f"{where}.media_type")
    return {"inlineData": {"mimeType": known, "data": data}}


def _by_address(url: str, media_type: str | None, where: str) -> dict[str, Any]:
    if urlsplit(url).scheme not in ("http", "https", "gs"):
        raise BadRequest("The chosen model takes http and https addresses, and data.", param=f"{where}.url")
    known = media_type or _EXTENSIONS.get(urlsplit(url).path.rpartition(".")[2].lower())
    return {"fileData": {"fileUri": url} | ({} if known is None else {"mimeType": known})}
