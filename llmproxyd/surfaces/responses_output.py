"""The output items of a Responses answer while they are made: each knows the events of its own life.

An item begins with ``output_item.added``, says what it has to say, and ends with ``output_item.done`` and itself in full:
some clients read nothing but that last one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from llmproxyd.surfaces.responses_tools import ToolName, call_input
from llmproxyd.values.replay import seal_thought
from llmproxyd.values.request import Dialect, Document, Thinking

Wire: TypeAlias = dict[str, Any]
"""An event as it is written, without its number."""

_PARTS: Mapping[str, tuple[str, str]] = {
    # part -> (its field, the events that fill it)
    "output_text": ("text", "response.output_text"),
    "refusal": ("refusal", "response.refusal"),
}


class _Item:
    """``document`` is the item as far as it has come."""

    def __init__(self, index: int, document: dict[str, Any]) -> None:
        self.document = document
        self._index = index

    def begin(self) -> Iterator[Wire]:
        yield {"type": "response.output_item.added", "output_index": self._index, "item": dict(self.document)}

    def _event(self, kind: str, **fields: Any) -> Wire:
        return {"type": kind, "item_id": self.document["id"], "output_index": self._index, **fields}

    def _done(self) -> Wire:
        return {"type": "response.output_item.done", "output_index": self._index, "item": self.document}


class MessageItem(_Item):
    """What the model says: texts and refusals, one part after the other."""

    def __init__(self, index: int, item_id: str) -> None:
        super().__init__(
            index,
            {"type": "message", "id": item_id, "status": "in_progress", "role": "assistant", "content": []},
        )
        self._parts: list[Wire] = []
        self._pieces: list[str] = []

    def say(self, kind: str, text: str, logprobs: list[Document]) -> Iterator[Wire]:
        """kind: ``output_text`` or ``refusal``."""
        if not self._parts or self._parts[-1]["type"] != kind:
            yield from self._close_part()
            yield from self._open_part(kind)
        self._pieces.append(text)
        more = {}
        if kind == "output_text":
            self._parts[-1]["logprobs"] += logprobs
            more = {"logprobs": logprobs}
        yield self._event(f"{_PARTS[kind][1]}.delta", content_index=len(self._parts) - 1, delta=text, **more)

    def cite(self, annotation: Document) -> Iterator[Wire]:
        """A source of the text before it; of nothing where there is no text."""
        if not self._parts or self._parts[-1]["type"] != "output_text":
            return
        known = self._parts[-1]["annotations"]
        known.append(annotation)
        yield self._event(
            "response.output_text.annotation.added",
            content_index=len(self._parts) - 1,
            annotation_index=len(known) - 1,
            annotation=annotation,
        )

    def close(self, *, complete: bool = True) -> Iterator[Wire]:
        yield from self._close_part()
        self.document |= {"status": "completed" if complete else "incomplete", "content": self._parts}
        yield self._done()

    def _open_part(self, kind: str) -> Iterator[Wire]:
        field, _ = _PARTS[kind]
        part: Wire = {"type": kind, field: ""}
        if kind == "output_text":
            part |= {"annotations": [], "logprobs": []}
        self._parts.append(part)
        yield self._event("response.content_part.added", content_index=len(self._parts) - 1, part=_copy(part))

    def _close_part(self) -> Iterator[Wire]:
        if not self._parts:
            return
        index, part = len(self._parts) - 1, self._parts[-1]
        field, name = _PARTS[part["type"]]
        part[field] = "".join(self._pieces)
        self._pieces.clear()
        more = {"logprobs": part["logprobs"]} if "logprobs" in part else {}
        yield self._event(f"{name}.done", content_index=index, **{field: part[field]}, **more)
        yield self._event("response.content_part.done", content_index=index, part=part)


class ReasoningItem(_Item):
    """What the model thought. Everybody's thoughts are sealed: whoever made them must know them again."""

    def __init__(self, index: int, item_id: str, origin: Dialect | None) -> None:
        super().__init__(index, {"type": "reasoning", "id": item_id, "summary": []})
        self._origin = origin
        self._pieces: list[str] = []

    def think(self, text: str) -> Iterator[Wire]:
        if not self._pieces:
            part = {"type": "summary_text", "text": ""}
            yield self._event("response.reasoning_summary_part.added", summary_index=0, part=part)
        self._pieces.append(text)
        yield self._event("response.reasoning_summary_text.delta", summary_index=0, delta=text)

    def seal(self, thought: Thinking) -> None:
        """``thought``: what its maker wants to see again; its text is not part of that."""
        self.document["encrypted_content"] = seal_thought(thought)

    def close(self, *, complete: bool = True) -> Iterator[Wire]:
        if "encrypted_content" not in self.document:
            self.seal(Thinking(origin=self._origin))
        if self._pieces:
            part = {"type": "summary_text", "text": "".join(self._pieces)}
            self.document["summary"] = [part]
            yield self._event("response.reasoning_summary_text.done", summary_index=0, text=part["text"])
            yield self._event("response.reasoning_summary_part.done", summary_index=0, part=part)
        yield self._done()


class FunctionItem(_Item):
    """A call of a function."""

    def __init__(self, index: int, item_id: str, call_id: str, name: ToolName) -> None:
        document = {"type": "function_call", "id": item_id, "call_id": call_id, "name": name.name}
        super().__init__(index, _in_namespace(document, name) | {"arguments": "", "status": "in_progress"})
        self._pieces: list[str] = []

    def argue(self, text: str) -> Iterator[Wire]:
        if text:
            self._pieces.append(text)
            yield self._event("response.function_call_arguments.delta", delta=text)

    def close(self, *, complete: bool = True) -> Iterator[Wire]:
        if not self._pieces and complete:
            # Clients read the arguments as JSON whatever they are; a call without any has an empty object.
            yield from self.argue("{}")
        arguments = "".join(self._pieces)
        self.document |= {"arguments": arguments, "status": "completed" if complete else "incomplete"}
        yield self._event(
            "response.function_call_arguments.done", name=self.document["name"], arguments=arguments
        )
        yield self._done()


class CustomItem(_Item):
    """A call of a custom tool. Its text is known once the function that stands for the tool has all its arguments."""

    def __init__(self, index: int, item_id: str, call_id: str, name: ToolName, *, plain: bool) -> None:
        """plain: the arguments are the text itself, not JSON around it."""
        document = {"type": "custom_tool_call", "id": item_id, "call_id": call_id, "name": name.name}
        super().__init__(index, _in_namespace(document, name) | {"input": "", "status": "in_progress"})
        self._plain = plain
        self._pieces: list[str] = []

    def argue(self, text: str) -> Iterator[Wire]:
        self._pieces.append(text)
        if self._plain and text:
            yield self._event("response.custom_tool_call_input.delta", delta=text)

    def close(self, *, complete: bool = True) -> Iterator[Wire]:
        text = "".join(self._pieces)
        if not self._plain:
            text = call_input(text)
            yield self._event("response.custom_tool_call_input.delta", delta=text)
        self.document |= {"input": text, "status": "completed" if complete else "incomplete"}
        yield self._event("response.custom_tool_call_input.done", input=text)
        yield self._done()


def _in_namespace(document: dict[str, Any], name: ToolName) -> dict[str, Any]:
    return document if name.namespace is None else document | {"namespace": name.namespace}


def _copy(part: Wire) -> Wire:
    """As it is now: its lists go on growing."""
    return {key: list(value) if isinstance(value, list) else value for key, value in part.items()}
