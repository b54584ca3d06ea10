"""What Ollama's clients ask beside answers: which models there are, what they can do, which version speaks.

The proxy has names instead of files, so sizes are zero, digests are made from the names, and nothing is ever in memory.
Names are shown with a tag, ``:latest`` where they have none, because clients compare with what Ollama would show.
Calls that manage models are refused: models are declared in the operator's files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import msgspec

from llmproxyd import jsontext
from llmproxyd.surfaces.ollama_fields import LATEST, bare_name, format_time
from llmproxyd.surfaces.openai_fields import decode_body, read_model
from llmproxyd.values.request import Capability, Operation
from llmproxyd.values.snapshot import Target

API_VERSION = "0.24.0"
"""The version of Ollama whose API is spoken here; clients refuse to talk to older ones."""

MANAGEMENT: tuple[tuple[str, str], ...] = (
    ("POST", "/api/pull"),
    ("POST", "/api/push"),
    ("POST", "/api/create"),
    ("POST", "/api/copy"),
    ("DELETE", "/api/delete"),
)
"""(method, path) of the calls that change a server's models."""
MANAGEMENT_PREFIX = "/api/blobs/"
"""Paths under this one belong to them, whatever the method."""

_ARCHITECTURE = "llmproxyd"
_CAPABILITY_WORDS: tuple[tuple[Capability, str], ...] = (
    (Capability.TOOLS, "tools"),
    (Capability.VISION, "vision"),
    (Capability.THINKING, "thinking"),
)
# Where nobody knows, routing rules nothing out; agents look for tools and hide models without.
_SUPPOSED = frozenset({Capability.TOOLS})


class Shown(msgspec.Struct, frozen=True):
    """A name as clients are to see it. ``context_window`` in tokens. None: unknown."""

    name: str
    chats: bool = True
    embeds: bool = False
    capabilities: frozenset[Capability] | None = None
    context_window: int | None = None

    @property
    def tagged(self) -> str:
        return self.name if ":" in self.name.rpartition("/")[2] else self.name + LATEST


def shown_of(name: str, target: Target) -> Shown:
    """What a name offers: all that any of its deployments can, since routing picks one that can."""
    deployments = target.deployments
    operations = frozenset().union(*(deployment.operations for deployment in deployments))
    known = [d.capabilities for d in deployments if d.capabilities is not None]
    windows = [d.context_window for d in deployments if d.context_window is not None]
    return Shown(
        name=name,
        chats=Operation.CHAT in operations,
        embeds=Operation.EMBEDDING in operations,
        capabilities=frozenset().union(*known) if known and len(known) == len(deployments) else None,
        context_window=max(windows, default=None),
    )


def format_tags(models: Iterable[Shown], since_s: int) -> bytes:
    """The answer of ``GET /api/tags``. since_s: Unix seconds, when the names came into force."""
    return jsontext.encode({"models": [_format_entry(model, since_s) for model in models]})


def parse_show(body: bytes) -> str:
    """The name that ``POST /api/show`` asks about, under its present or its older field. Raises BadRequest."""
    document = decode_body(body)
    if document.get("model") is None and document.get("name") is not None:
        document = {"model": document["name"]}
    return bare_name(read_model(document))


def format_show(model: Shown, since_s: int) -> bytes:
    """The answer of ``POST /api/show``; ``model_info`` must be there, or the official client fails."""
    info: dict[str, Any] = {"general.architecture": _ARCHITECTURE}
    if model.context_window is not None:
        info[f"{_ARCHITECTURE}.context_length"] = model.context_window
    return jsontext.encode(
        {
            "license": "",
            "modelfile": f"FROM {model.tagged}",
            "parameters": "",
            "template": "",
            "details": _format_details(),
            "model_info": info,
            "capabilities": _format_capabilities(model),
            "modified_at": format_time(since_s),
        }
    )


def format_unknown(name: str) -> bytes:
    """The body of a 404 in the words that clients look for."""
    return jsontext.encode({"error": f"model '{name[:256]}' not found"})


def format_ps() -> bytes:
    """The answer of ``GET /api/ps``: the models in our memory."""
    return jsontext.encode({"models": []})


def format_version() -> bytes:
    """The answer of ``GET /api/version``."""
    return jsontext.encode({"version": API_VERSION})


def is_management(method: str, path: str) -> bool:
    return (method, path) in MANAGEMENT or path.startswith(MANAGEMENT_PREFIX)


def format_management_refusal(path: str) -> bytes:
    """The body of the 403 for a call that manages models."""
    message = (
        f"{path[:200]} is not available: this is llmproxyd, whose models its operator declares in providers.yaml. "
        "Manage the models of an Ollama server at that server."
    )
    return jsontext.encode({"error": message})


def _format_entry(model: Shown, since_s: int) -> dict[str, Any]:
    details: dict[str, Any] = _format_details()
    if model.context_window is not None:
        details["context_length"] = model.context_window
    return {
        "name": model.tagged,
        "model": model.tagged,
        "modified_at": format_time(since_s),
        "size": 0,
        "digest": hashlib.sha256(model.name.encode("utf-8", "surrogatepass")).hexdigest(),
        "details": details,
        "capabilities": _format_capabilities(model),
    }


def _format_details() -> dict[str, Any]:
    return {
        "parent_model": "",
        "format": "",
        "family": _ARCHITECTURE,
        "families": [_ARCHITECTURE],
        "parameter_size": "",
        "quantization_level": "",
    }


def _format_capabilities(model: Shown) -> list[str]:
    words = ["embedding"] if model.embeds else []
    if not model.chats:
        return words
    able = _SUPPOSED if model.capabilities is None else model.capabilities
    return ["completion", *(word for capability, word in _CAPABILITY_WORDS if capability in able), *words]
