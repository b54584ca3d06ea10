"""The tools of a Responses request, made flat so that every model can use them, and the way back.

Other dialects know functions with plain names. A tool inside a namespace gets a name of both, a custom tool becomes a
function with one text, and both are told apart again in the answer by the request's own definitions: nothing has to be
remembered. Definitions may also come as items of the input. Tools that run at OpenAI stay as they are.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from llmproxyd import jsontext
from llmproxyd.surfaces.openai_fields import (
    need_text,
    read_bool,
    read_object,
    read_objects,
    read_text,
    wrong_type,
    wrong_value,
)
from llmproxyd.values.contracts import BadRequest
from llmproxyd.values.request import Document, Tool, ToolChoice

MAX_NAME_CHARS = 64
INPUT = "input"
"""The one argument of a function that stands for a custom tool."""

_CLIENT_TOOLS = ("function", "custom")
_MODES = ("none", "auto", "required")
_FOREIGN = re.compile(r"[^a-zA-Z0-9_-]")
_DIGEST_CHARS = 8


class ToolName(msgspec.Struct, frozen=True):
    """What the client calls a tool."""

    name: str
    namespace: str | None = None
    custom: bool = False


class ToolBook(msgspec.Struct):
    """``tools`` by their flat names. ``hosted``: (where it was written, definition) of what only OpenAI can run."""

    tools: dict[str, Tool] = msgspec.field(default_factory=dict)
    hosted: list[tuple[str, Document]] = msgspec.field(default_factory=list)
    _names: dict[str, ToolName] = msgspec.field(default_factory=dict)
    _flat: dict[tuple[str | None, str], str] = msgspec.field(default_factory=dict)

    def flat_name(self, name: str, namespace: str | None = None) -> str:
        """The flat name of a tool that is defined or was called once."""
        return self._flat.get((namespace, name)) or flatten(name, namespace)

    def find(self, flat_name: str) -> ToolName:
        """What the client calls it. A name that a model made up stays as it is."""
        return self._names.get(flat_name) or ToolName(flat_name)

    def add(self, known: ToolName, definition: Document, where: str) -> None:
        """A later definition of the same tool replaces the earlier one."""
        flat = self._flat.get((known.namespace, known.name))
        if flat is None:
            flat = flatten(known.name, known.namespace)
            if flat in self._names:
                flat = _hashed(flat, (known.namespace or "", known.name))
        self._flat[known.namespace, known.name] = flat
        self._names[flat] = known
        parse = _parse_custom if known.custom else _parse_function
        self.tools[flat] = parse(definition, flat, where)


def read_tools(document: Document) -> ToolBook:
    """All tools of a request: its own and those that came as items. Raises BadRequest naming a wrong definition."""
    book = ToolBook()
    _read_list(read_objects(document, "tools"), "tools", book)
    given = document.get("input")
    for index, item in enumerate(given if isinstance(given, list) else ()):
        if isinstance(item, dict) and item.get("type") == "additional_tools":
            where = f"input[{index}]."
            _read_list(read_objects(item, "tools", where), f"{where}tools", book)
    return book


def flatten(name: str, namespace: str | None) -> str:
    """``ns__tool``, in letters and of a length that every dialect takes; the same each time."""
    joined = name if namespace is None else f"{namespace}__{name}"
    fitted = _FOREIGN.sub("_", joined)
    if fitted == joined and len(fitted) <= MAX_NAME_CHARS:
        return fitted
    return _hashed(fitted, (namespace or "", name))


def call_input(arguments: str) -> str:
    """The text meant for a custom tool. A model that did not keep to the form is taken at its word."""
    try:
        document = jsontext.decode(arguments)
    except jsontext.JSONError:
        return arguments
    text = document.get(INPUT) if isinstance(document, dict) else None
    return text if isinstance(text, str) else arguments


def call_arguments(text: str) -> str:
    """The arguments of the function that stands for a custom tool."""
    return jsontext.encode({INPUT: text}).decode()


def parse_tool_choice(document: Document, book: ToolBook) -> ToolChoice | None:
    """Raises BadRequest for a choice that only OpenAI can follow."""
    choice = document.get("tool_choice")
    if choice is None:
        return None
    if isinstance(choice, str):
        if choice not in _MODES:
            raise wrong_value("tool_choice", choice, f"Supported values are: {', '.join(map(repr, _MODES))}.")
        return ToolChoice(choice)
    if not isinstance(choice, dict):
        raise wrong_type("tool_choice", "a string or an object", choice)
    if need_text(choice, "type", "tool_choice.") != "allowed_tools":
        return ToolChoice("named", (_referred(choice, "tool_choice", book),))
    mode = need_text(choice, "mode", "tool_choice.")
    if mode not in ("auto", "required"):
        raise wrong_value("tool_choice.mode", mode, "Supported values are: 'auto', 'required'.")
    names = [
        _referred(reference, f"tool_choice.tools[{index}]", book)
        for index, reference in enumerate(read_objects(choice, "tools", "tool_choice."))
    ]
    return ToolChoice(mode, tuple(names))


def count_client_tools(document: Document) -> int:
    """How many definitions a client means to run itself; nothing is checked."""
    given = document.get("input")
    items = [item for item in given if isinstance(item, dict)] if isinstance(given, list) else []
    lists = [
        document.get("tools"),
        *(item.get("tools") for item in items if item.get("type") == "additional_tools"),
    ]
    return sum(_is_client_tool(tool) for tools in lists if isinstance(tools, list) for tool in tools)


def _is_client_tool(tool: Any) -> bool:
    return isinstance(tool, dict) and tool.get("type") in (*_CLIENT_TOOLS, "namespace")


def _read_list(tools: Iterable[Document], where: str, book: ToolBook) -> None:
    for index, tool in enumerate(tools):
        for place, namespace, definition in _unpacked(tool, f"{where}[{index}]"):
            kind = need_text(definition, "type", f"{place}.")
            if kind not in _CLIENT_TOOLS:
                book.hosted.append((place, definition))
                continue
            name = need_text(definition, "name", f"{place}.")
            book.add(ToolName(name, namespace, kind == "custom"), definition, f"{place}.")


def _unpacked(tool: Document, where: str) -> Iterator[tuple[str, str | None, Document]]:
    if need_text(tool, "type", f"{where}.") != "namespace":
        yield where, None, tool
        return
    namespace = need_text(tool, "name", f"{where}.")
    about = read_text(tool, "description", f"{where}.")
    for index, inner in enumerate(read_objects(tool, "tools", f"{where}.")):
        yield f"{where}.tools[{index}]", namespace, _described(inner, about)


def _described(tool: Document, about: str | None) -> Document:
    """What is said of a namespace holds for each of its tools."""
    own = tool.get("description")
    if not about or (own is not None and not isinstance(own, str)):
        return tool
    return {**tool, "description": f"{about}\n\n{own}" if own else about}


def _parse_function(tool: Document, name: str, where: str) -> Tool:
    return Tool(
        name=name,
        description=read_text(tool, "description", where),
        parameters=read_object(tool, "parameters", where),
        strict=read_bool(tool, "strict", where),
    )


def _parse_custom(tool: Document, name: str, where: str) -> Tool:
    described = filter(None, (read_text(tool, "description", where), _grammar(tool, where)))
    about = {"type": "string", "description": "The whole input of the tool, as plain text."}
    return Tool(
        name=name,
        description="\n\n".join(described) or None,
        parameters={
            "type": "object",
            "properties": {INPUT: about},
            "required": [INPUT],
            "additionalProperties": False,
        },
    )


def _grammar(tool: Document, where: str) -> str | None:
    """A grammar that nobody but OpenAI enforces is told to the model in words."""
    wanted = read_object(tool, "format", where) or {}
    if wanted.get("type") != "grammar":
        return None
    syntax, definition = (
        need_text(wanted, "syntax", f"{where}format."),
        need_text(wanted, "definition", f"{where}format."),
    )
    return f"The input must follow this {syntax} grammar:\n{definition}"


def _referred(reference: Mapping[str, Any], where: str, book: ToolBook) -> str:
    kind = need_text(reference, "type", f"{where}.")
    if kind not in _CLIENT_TOOLS:
        raise BadRequest(f"The chosen model cannot be made to use {kind[:64]!r}.", param=f"{where}.type")
    name = need_text(reference, "name", f"{where}.")
    return book.flat_name(name, read_text(reference, "namespace", f"{where}."))


def _hashed(fitted: str, seed: tuple[str, str]) -> str:
    digest = hashlib.blake2b("\0".join(seed).encode("utf-8", "surrogatepass"), digest_size=_DIGEST_CHARS // 2)
    return f"{fitted[: MAX_NAME_CHARS - _DIGEST_CHARS - 1]}_{digest.hexdigest()}"
