"""Claude Code's side of the wire: its way to read a stream, and the turn it sends next."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.clients.wire import Answered, Recorded

_NO_CONTENT = ("ping",)
_ORDER_ENDS = ["message_delta", "message_stop"]


@dataclass(frozen=True, slots=True)
class Turn:
    """``content``: the assistant's blocks as they go back with the next turn."""

    content: list[dict[str, Any]]
    stop_reason: str
    input_tokens: int
    output_tokens: int
    model: str

    @property
    def text(self) -> str:
        return "".join(block["text"] for block in self.content if block["type"] == "text")

    @property
    def calls(self) -> list[dict[str, Any]]:
        return [block for block in self.content if block["type"] == "tool_use"]


def read(answered: Answered) -> Turn:
    """Raises AssertionError where Claude Code, or the SDK inside it, would stumble."""
    assert answered.status == 200, answered.body
    assert answered.headers["content-type"].startswith("text/event-stream")
    assert answered.headers["request-id"]
    events = list(read_events(answered.body.decode()))
    start, *between, delta, stop = [event for event in events if event["type"] not in _NO_CONTENT]
    assert start["type"] == "message_start"
    assert [delta["type"], stop["type"]] == _ORDER_ENDS
    message = start["message"]
    assert (message["type"], message["role"], message["content"]) == ("message", "assistant", [])
    content = list(_read_blocks(between))
    assert content, "a turn without blocks makes Claude Code ask again"
    return Turn(
        content,
        delta["delta"]["stop_reason"],
        message["usage"]["input_tokens"],
        delta["usage"]["output_tokens"],
        message["model"],
    )


def read_events(text: str) -> Iterator[dict[str, Any]]:
    """Server-sent events, each named like its type: data without a name is skipped by the client, so it is a fault."""
    assert text.endswith("\n\n")
    for frame in text.split("\n\n")[:-1]:
        name, data = frame.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        yield event


def _read_blocks(events: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """One block after the other, numbered without a gap, each opened, filled and closed."""
    index, block, pieces = -1, None, list[str]()
    for event in events:
        match event["type"]:
            case "content_block_start":
                assert block is None, "the block before is still open"
                index, block, pieces = index + 1, event["content_block"], []
                assert block.get("input", {}) == {}, "arguments come as deltas only"
            case "content_block_delta":
                assert block is not None
                _add(block, pieces, event["delta"])
            case "content_block_stop":
                assert block is not None
                yield block | ({"input": json.loads("".join(pieces) or "{}")} if "input" in block else {})
                block = None
            case other:
                raise AssertionError(f"{other} among the blocks")
        assert event["index"] == index
    assert block is None


def _add(block: dict[str, Any], pieces: list[str], delta: dict[str, Any]) -> None:
    match delta["type"]:
        case "input_json_delta":
            assert block["type"] == "tool_use"
            pieces.append(delta["partial_json"])
        case "signature_delta":
            block["signature"] = delta["signature"]
        case "text_delta" | "thinking_delta" as kind:
            name = kind.removesuffix("_delta")
            block[name] += delta[name]
        case other:
            raise AssertionError(f"{other} in a block of {block['type']}")


def next_turn(opening: Recorded, turn: Turn, result: str) -> Recorded:
    """The same request, longer by the assistant's turn and the results of its tools."""
    results = [
        {"tool_use_id": call["id"], "type": "tool_result", "content": result, "is_error": False}
        for call in turn.calls
    ]
    results[-1]["cache_control"] = {"type": "ephemeral"}
    document = opening.json
    document["messages"] += [
        {"role": "assistant", "content": turn.content},
        {"role": "user", "content": results},
    ]
    return opening.with_document(document)
