"""Tool-call fragments as servers really send them -> deltas as the canonical language has them.

Servers leave out ``index`` or ``id``, repeat ``id`` and ``name`` in every fragment, send a call in one piece, send
arguments as an object, count every call as index 0, or use the index as the id. Clients break on all of these, so
here each call gets the next index, and id and name once.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from llmproxyd import jsontext
from llmproxyd.values.answer import ToolCallDelta


def invent_tool_id(*seed: str) -> str:
    """An id that is the same for the same seed and fits every vendor's rules (28 characters)."""
    return (
        "call_"
        + hashlib.blake2b("\0".join(seed).encode("utf-8", "surrogatepass"), digest_size=11).hexdigest()
    )


def arguments_text(value: Any) -> str:
    """Arguments as JSON text, whether they came as text, as an object, or not at all."""
    if value is None:
        return ""
    return value if isinstance(value, str) else jsontext.encode(value).decode()


class _Call(msgspec.Struct):
    index: int
    id: str
    kind: str
    name: str = ""
    signature: str | None = None
    announced: bool = False
    arguments: str = ""  # all of it where fragments carry no index, else only what waits for the name
    keyed: bool = True
    invented: bool = False

    def is_other(self, call_id: str, name: str) -> bool:
        """Whether a fragment with this id and name cannot be a piece of this call."""
        if call_id and not self.invented:
            return call_id != self.id
        return bool(name and self.name and name != self.name)


class ToolDeltas:
    """The tool calls of one choice while they stream."""

    __slots__ = ("_by_key", "_calls", "_choice", "_seed")

    def __init__(self, choice: int, seed: str) -> None:
        """``seed`` makes invented ids differ from answer to answer: the answer's own id."""
        self._choice = choice
        self._seed = seed
        self._calls: list[_Call] = []
        self._by_key: dict[int, _Call] = {}

    def __bool__(self) -> bool:
        return bool(self._calls)

    def feed(self, entry: dict[str, Any]) -> list[ToolCallDelta]:
        """One entry of ``delta.tool_calls`` -> the deltas it comes to (none while a call's name is unknown)."""
        kind = "custom" if isinstance(entry.get("custom"), dict) else "function"
        inner = entry.get(kind)
        body: dict[str, Any] = inner if isinstance(inner, dict) else {}
        name = body.get("name") if isinstance(body.get("name"), str) else ""
        arguments = arguments_text(body.get("input" if kind == "custom" else "arguments"))
        call = self._find(entry, kind, name or "")
        call.name = call.name or name or ""
        call.signature = call.signature or find_signature(entry)
        return self._say(call, arguments)

    def close(self) -> list[ToolCallDelta]:
        """Calls that never got a name are passed on as they are; the client decides."""
        return [self._announce(call) for call in self._calls if not call.announced]

    def _say(self, call: _Call, arguments: str) -> list[ToolCallDelta]:
        if not call.announced:
            call.arguments += arguments
            return [self._announce(call)] if call.name else []
        if not call.keyed:
            call.arguments += arguments
        return (
            [ToolCallDelta(call.index, arguments=arguments, choice=self._choice, kind=call.kind)]
            if arguments
            else []
        )

    def _announce(self, call: _Call) -> ToolCallDelta:
        call.announced = True
        return ToolCallDelta(
            call.index, call.id, call.name, call.arguments, self._choice, call.kind, call.signature
        )

    def _find(self, entry: dict[str, Any], kind: str, name: str) -> _Call:
        given = entry.get("id")
        call_id = given if isinstance(given, str) and not given.isdigit() else ""
        index = entry.get("index")
        if isinstance(index, int) and not isinstance(index, bool):
            known = self._by_key.get(index)
            # Servers that count every call as index 0 give themselves away by a second id or name.
            if known is None or known.is_other(call_id, name):
                known = self._by_key[index] = self._open(call_id, kind)
            return known
        return self._find_unkeyed(call_id, kind, name)

    def _find_unkeyed(self, call_id: str, kind: str, name: str) -> _Call:
        last = self._calls[-1] if self._calls else None
        if call_id:
            same = next((call for call in self._calls if call.id == call_id), None)
            return same or self._open(call_id, kind, keyed=False)
        if last is not None and (not name or (name == last.name and not _is_complete(last.arguments))):
            return last
        return self._open("", kind, keyed=False)

    def _open(self, call_id: str, kind: str, *, keyed: bool = True) -> _Call:
        index = len(self._calls)
        shown = call_id or invent_tool_id(self._seed, str(self._choice), str(index))
        call = _Call(index, shown, kind, keyed=keyed, invented=not call_id)
        self._calls.append(call)
        return call


def find_signature(entry: dict[str, Any]) -> str | None:
    """Gemini's thought signature, where its OpenAI-like endpoint puts it."""
    extra = entry.get("extra_content")
    google = extra.get("google") if isinstance(extra, dict) else None
    signature = google.get("thought_signature") if isinstance(google, dict) else None
    return signature if isinstance(signature, str) else None


def _is_complete(arguments: str) -> bool:
    if not arguments.rstrip().endswith("}"):
        return False
    try:
        jsontext.decode(arguments)
    except jsontext.JSONError:
        return False
    return True
