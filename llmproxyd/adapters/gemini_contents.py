"""Canonical messages -> Gemini's ``systemInstruction`` and ``contents``.

Google's servers insist on an order: user and model take turns, a model's function calls are answered at once, each by one
response, all in the turn that follows. What a history lacks for that is put in or left out, and named in a warning.
Signatures go back only if Gemini made them; a lost one is replaced by the value Google has for that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from llmproxyd import jsontext
from llmproxyd.adapters.gemini_generations import Generation
from llmproxyd.adapters.gemini_media import format_audio, format_file, format_image
from llmproxyd.adapters.gemini_tools import Warn, tool_name
from llmproxyd.values.contracts import BadRequest
from llmproxyd.values.request import (
    Audio,
    Dialect,
    File,
    Image,
    Message,
    Part,
    Refusal,
    Role,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)

Wire: TypeAlias = dict[str, Any]

LOST_SIGNATURE = "skip_thought_signature_validator"
"""What Google takes for a signature that is not there any more."""

_INSTRUCTING = (Role.SYSTEM, Role.DEVELOPER)
_NO_RESULT = "No result of this call was recorded."
_OPENING = "(The beginning of the conversation is missing.)"


def format_contents(
    messages: Iterable[Message], generation: Generation, warn: Warn
) -> tuple[Wire | None, list[Wire]]:
    """-> (systemInstruction or None, contents). Raises BadRequest naming a part that Gemini cannot be given."""
    instructions: list[str] = []
    turns: list[Wire] = []
    writer = _PartWriter(generation, warn)
    for index, message in enumerate(messages):
        where = f"messages[{index}]"
        if message.name is not None:
            warn(f"{where}.name")
        if message.role in _INSTRUCTING and not turns:
            instructions += _instruction_texts(message, where)
        else:
            _append(turns, _turn(message, where, writer))
    contents = _paired(turns, warn)
    if generation.signatures:
        _sign(contents, warn)
    if not contents and instructions:
        # A conversation needs a turn; instructions alone are taken for the question.
        return None, [_user([{"text": text} for text in instructions])]
    if contents and contents[0]["role"] == "model" and _calls(contents[0]):
        warn("the missing beginning before the first function call")
        contents.insert(0, _user([{"text": _OPENING}]))
    system = {"parts": [{"text": text} for text in instructions]} if instructions else None
    return system, contents


def _instruction_texts(message: Message, where: str) -> list[str]:
    texts = []
    for index, part in enumerate(message.parts):
        if not isinstance(part, Text):
            raise BadRequest(
                "Instructions to the chosen model are text only.", param=f"{where}.content[{index}]"
            )
        texts.append(part.text)
    return [text for text in texts if text]


def _turn(message: Message, where: str, writer: _PartWriter) -> Wire:
    if message.role in _INSTRUCTING:
        # There is one place for instructions, at the front; later ones keep theirs among the turns.
        texts = _instruction_texts(message, where)
        return _user([{"text": f"<system>\n{text}\n</system>"} for text in texts])
    parts: list[Wire] = []
    moved: list[Wire] = []
    for index, part in enumerate(message.parts):
        place = f"{where}.content[{index}]"
        parts += writer.write(part, place, parts)
        if isinstance(part, ToolResult):
            # A response holds fields only; what is to be seen or heard follows it.
            moved += [wire for item in part.parts for wire in writer.write_media(item, place)]
    return {"role": "model" if message.role is Role.ASSISTANT else "user", "parts": [*parts, *moved]}


def _append(turns: list[Wire], turn: Wire) -> None:
    """Turns of one side that follow each other are one."""
    if not turn["parts"]:
        return
    if turns and turns[-1]["role"] == turn["role"]:
        turns[-1]["parts"] += turn["parts"]
    else:
        turns.append(turn)


def _user(parts: list[Wire]) -> Wire:
    return {"role": "user", "parts": parts}


# --- calls and their results ------------------------------------------------------------------------------------


def _paired(turns: list[Wire], warn: Warn) -> list[Wire]:
    paired: list[Wire] = []
    waiting: list[Wire] = []
    for turn in turns:
        if turn["role"] == "user":
            turn = _user(_answered(waiting, turn["parts"], warn))
            waiting = []
        _append(paired, turn)
        if turn["role"] == "model":
            waiting = _calls(paired[-1])
    if waiting:
        _append(paired, _user(_answered(waiting, [], warn)))
    return paired


def _calls(turn: Wire) -> list[Wire]:
    return [part["functionCall"] for part in turn["parts"] if "functionCall" in part]


def _answered(waiting: list[Wire], parts: list[Wire], warn: Warn) -> list[Wire]:
    """Responses first, one for each call that waits and in their order, then everything else."""
    responses = [part["functionResponse"] for part in parts if "functionResponse" in part]
    ordered = [_response_to(call, responses, warn) for call in waiting]
    if responses:
        warn("tool results without a call")
    return [*ordered, *(part for part in parts if "functionResponse" not in part)]


def _response_to(call: Wire, responses: list[Wire], warn: Warn) -> Wire:
    """Takes the response to ``call`` out of ``responses``, or makes one that says that there is none."""
    identity = {name: call[name] for name in ("id", "name") if name in call}
    for index, response in enumerate(responses):
        if _answers(response, call):
            del responses[index]
            # The caller may have forgotten the name, or changed it; Gemini goes by the call's.
            return {"functionResponse": {**identity, "response": response["response"]}}
    warn("tool calls without a result (an error was put in its place)")
    return {"functionResponse": {**identity, "response": {"error": _NO_RESULT}}}


def _answers(response: Wire, call: Wire) -> bool:
    if "id" in response and "id" in call:
        return bool(response["id"] == call["id"])
    return response["name"] in ("", call["name"])


def _sign(turns: Iterable[Wire], warn: Warn) -> None:
    """Of parallel calls only the first carries a signature; one that did not come back is replaced, and named."""
    for turn in turns:
        first = next((part for part in turn["parts"] if "functionCall" in part), None)
        if first is not None and "thoughtSignature" not in first:
            warn("the signature of a function call")
            first["thoughtSignature"] = LOST_SIGNATURE


# --- parts ------------------------------------------------------------------------------------------------------


class _PartWriter:
    """Canonical parts -> parts on the wire, for models of one generation."""

    def __init__(self, generation: Generation, warn: Warn) -> None:
        self._generation = generation
        self._warn = warn

    def write(self, part: Part, where: str, before: list[Wire]) -> list[Wire]:
        """before: the parts of the message so far; a signature may belong to the last of them."""
        if getattr(part, "cache", None) is not None:
            self._warn("cache marks")
        match part:
            case Text():
                if part.citations:
                    self._warn("citations")
                # Empty texts are refused.
                return [{"text": part.text}] if part.text else []
            case Refusal():
                return [{"text": part.text}] if part.text else []
            case Thinking():
                return _format_thought(part, before, self._warn)
            case ToolCall():
                return [_format_call(part, where)]
            case ToolResult():
                return [_format_result(part, where)]
            case _:
                return self.write_media(part, where)

    def write_media(self, part: Part, where: str) -> list[Wire]:
        match part:
            case Image():
                return [format_image(part, where, self._warn, resolutions=self._generation.resolutions)]
            case Audio():
                return [format_audio(part)]
            case File():
                return [format_file(part, where, self._warn)]
            case _:
                return []


def _format_thought(block: Thinking, before: list[Wire], warn: Warn) -> list[Wire]:
    if block.origin is not Dialect.GEMINI_GENERATE:
        warn("thoughts of another model")
        return []
    if block.text:
        seal = {} if block.signature is None else {"thoughtSignature": block.signature}
        return [{"text": block.text, "thought": True, **seal}]
    if block.signature is None:
        return []
    last = before[-1] if before else {}
    if "text" in last and "thought" not in last and "thoughtSignature" not in last:
        last["thoughtSignature"] = block.signature
        return []
    return [{"text": "", "thoughtSignature": block.signature}]


def _format_call(call: ToolCall, where: str) -> Wire:
    if call.kind != "function":
        raise BadRequest(
            f"The chosen model knows function calls only, not {call.kind[:64]!r}.", param=f"{where}.type"
        )
    function: Wire = {"id": call.id} if call.id else {}
    function |= {"name": tool_name(call.name, where), "args": _arguments(call.arguments)}
    part: Wire = {"functionCall": function}
    return part if call.signature is None else part | {"thoughtSignature": call.signature}


def _arguments(text: str) -> Wire:
    """Gemini wants an object. What a model once wrote and is none is kept in one, so that history stays history."""
    if not text.strip():
        return {}
    try:
        value = jsontext.decode(text)
    except jsontext.JSONError:
        return {"arguments": text}
    if value is None:
        return {}
    return value if isinstance(value, dict) else {"arguments": value}


def _format_result(result: ToolResult, where: str) -> Wire:
    text = "\n".join(part.text for part in result.parts if isinstance(part, Text))
    identity: Wire = {"id": result.call_id} if result.call_id else {}
    # Without a name of its own a result gets that of its call, once they are paired.
    identity["name"] = tool_name(result.name, where) if result.name else ""
    return {"functionResponse": {**identity, "response": _response(text, is_error=result.is_error)}}


def _response(text: str, *, is_error: bool) -> Mapping[str, Any]:
    """An object stays one; everything else goes under the name Google has for it."""
    if is_error:
        return {"error": text}
    if not text:
        return {}
    try:
        value = jsontext.decode(text)
    except jsontext.JSONError:
        return {"output": text}
    plain = isinstance(value, dict) and value and not _looks_wrapped(value)
    return value if plain else {"output": text}


def _looks_wrapped(value: Wire) -> bool:
    """Whether the tool's own answer could be taken for one that we wrapped."""
    return len(value) == 1 and isinstance(value.get("output", value.get("error")), str)
