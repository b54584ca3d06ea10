"""Codex's side of the wire: its way to read a stream of responses, and the turn it sends next."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from tests.clients.wire import Answered, Recorded

_OUTPUTS = {"function_call": "function_call_output", "custom_tool_call": "custom_tool_call_output"}


@dataclass(frozen=True, slots=True)
class Turn:
    """``items``: as they came when they were done; nothing else counts for Codex."""

    items: list[dict[str, Any]]
    completed: dict[str, Any]

    @property
    def text(self) -> str:
        messages = [item for item in self.items if item["type"] == "message"]
        return "".join(part["text"] for message in messages for part in message["content"])

    @property
    def calls(self) -> list[dict[str, Any]]:
        return [item for item in self.items if item["type"] in _OUTPUTS]


def read(answered: Answered) -> Turn:
    """Raises AssertionError where Codex would ask again, or show nothing."""
    events = read_events(answered)
    kinds = [event["type"] for event in events]
    assert kinds[-1] == "response.completed", "without it Codex repeats the whole request"
    assert "error" not in kinds, "so it does for a bare error"
    added = [event["item"]["id"] for event in events if event["type"] == "response.output_item.added"]
    items = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    assert [item["id"] for item in items] == added, "an item that is never done is never shown"
    completed = events[-1]["response"]
    assert completed["output"] == items
    assert completed["usage"]["total_tokens"] > 0
    return Turn(items, completed)


def read_events(answered: Answered) -> list[dict[str, Any]]:
    """By their data alone: names of events and comments are nothing to Codex."""
    assert answered.status == 200, answered.body
    assert answered.headers["content-type"].startswith("text/event-stream")
    lines = answered.body.decode().split("\n")
    return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]


def next_turn(opening: Recorded, turn: Turn, result: str) -> Recorded:
    """The same request, longer by all items of the answer and the outputs of its calls."""
    document = opening.json
    document["input"] += turn.items
    for number, call in enumerate(turn.calls):
        output = {"type": _OUTPUTS[call["type"]], "id": f"out_{number}", "call_id": call["call_id"]}
        document["input"].append({**output, "output": result})
    return opening.with_document(document)
