"""What the providers say to clients that name their tools themselves."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from tests.matrix.rig import Rig
from tests.matrix.scene import TOOL, Said, ToolUse
from tests.matrix.upstreams import UPSTREAMS
from tests.support.fake_provider import stream

CUT_BYTES = 11
"""No frame is a multiple of it: the daemon sees every stream cut in odd places."""


@dataclass(frozen=True, slots=True)
class Use(ToolUse):
    """A call with any arguments."""

    given: str = "{}"

    @property
    def arguments(self) -> str:
        return self.given


def use(call_id: str, **arguments: Any) -> Use:
    return Use(call_id, "", json.dumps(arguments, ensure_ascii=False))


def say(rig: Rig, provider: str, said: Said, *, tool: str = TOOL) -> None:
    """From now on ``provider`` streams this; its calls are of ``tool``, by the name that the provider was told."""
    upstream = UPSTREAMS[provider]
    body = b"".join(upstream.write_stream(said)).replace(TOOL.encode(), tool.encode())
    pieces = [body[at : at + CUT_BYTES] for at in range(0, len(body), CUT_BYTES)]
    rig.behave(provider, stream(pieces, content_type=upstream.stream_type))


def heard(rig: Rig, provider: str) -> Any:
    """The body that came last, after the vendor's own types had no objection to it."""
    document = rig.seen(provider)[-1].json
    UPSTREAMS[provider].check_request(_without_schemas(document) if provider == "ollama_chat" else document)
    return document


def _without_schemas(document: dict[str, Any]) -> dict[str, Any]:
    """Ollama's server skips what it does not know of JSON Schema; the types of its own client do not have it."""
    tools = [
        {**tool, "function": {**tool["function"], "parameters": {"type": "object"}}}
        for tool in document["tools"]
    ]
    return {**document, "tools": tools}


def name_model(provider: str) -> str:
    return f"{provider}/{UPSTREAMS[provider].model}"
