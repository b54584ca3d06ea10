"""Keys of tenants put into, taken out of and given a last day in the text of routing.yaml, everything else untouched.

People keep comments, quotes and order in that file, so it is never written anew from data: the YAML is read for where
things stand, and a few characters are put in or taken out there. Every edit is then read back. Where the text does not
mean exactly what was wanted, as with anchors and aliases, nothing comes of it but a sentence for the operator.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

import msgspec
import yaml
from msgspec.structs import asdict

from llmproxyd.config.document import parse_document
from llmproxyd.config.yamltext import Unreadable, decode_text
from llmproxyd.values.snapshot import VirtualKey

_BREAK: Final = re.compile(r"\r\n|\n|\r")
_DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
_STEP: Final = 2
_BOM: Final = "\ufeff"

Change: TypeAlias = Callable[[dict[str, Any]], None]


class CannotEdit(Exception):  # noqa: N818 - told to the operator, who then edits the file
    """The text is written in a way that cannot be edited without risk; says what to write by hand."""


class _Splice(msgspec.Struct, frozen=True):
    """Characters from ``start`` to ``end`` are replaced by ``text``."""

    start: int
    end: int
    text: str


def holds_tenant(data: bytes, tenant: str) -> bool:
    """Whether this file lists keys of the tenant. Raises CannotEdit for what is not YAML."""
    keys = _find(_compose(_decode(data)), ("tenants", tenant, "keys"))
    return isinstance(keys, yaml.SequenceNode)


def holds_tenants(data: bytes) -> bool:
    """Whether this file has a `tenants` section. Raises CannotEdit for what is not YAML."""
    return isinstance(_find(_compose(_decode(data)), ("tenants",)), yaml.MappingNode)


def add_key(data: bytes, tenant: str, key: VirtualKey) -> bytes:
    """The file with one more key, and the tenant if it is not there. Raises CannotEdit."""
    text = _decode(data)
    entry = format_entry(key)
    root = _compose(text)
    keys = _find(root, ("tenants", tenant, "keys"))
    if isinstance(keys, yaml.SequenceNode):
        splice = _append_item(text, keys, entry)
    else:
        splice = _new_tenant(text, root, tenant, entry)

    def change(document: dict[str, Any]) -> None:
        tenants = document.setdefault("tenants", {})
        tenants.setdefault(tenant, {}).setdefault("keys", []).append(_data_of(key))

    return _checked(data, text, splice, change)


def remove_key(data: bytes, tenant: str, index: int) -> bytes:
    """The file without the tenant's key number ``index``, which is not its last one. Raises CannotEdit."""
    text = _decode(data)
    keys = _keys_node(text, tenant)

    def change(document: dict[str, Any]) -> None:
        del document["tenants"][tenant]["keys"][index]

    return _checked(data, text, _cut_item(text, keys, index), change)


def end_key(data: bytes, tenant: str, index: int, until: str) -> bytes:
    """The file in which the tenant's key number ``index`` is not taken from day ``until`` (ISO) on. Raises CannotEdit."""
    text = _decode(data)
    item = _keys_node(text, tenant).value[index]

    def change(document: dict[str, Any]) -> None:
        keys = document["tenants"][tenant]["keys"]
        row = {"hash": keys[index]} if isinstance(keys[index], str) else keys[index]
        keys[index] = row | {"until": until}

    return _checked(data, text, _with_last_day(text, item, until), change)


def format_entry(key: VirtualKey) -> str:
    """The key as one line of YAML, which may stand in a block and between brackets alike."""
    row = _data_of(key)
    if isinstance(row, str):
        return json.dumps(row)
    return "{" + ", ".join(f"{name}: {_flow(value)}" for name, value in row.items()) + "}"


def _flow(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {_flow(one)}" for name, one in value.items()) + "}"
    if isinstance(value, str) and _DAY.fullmatch(value):
        return value
    return json.dumps(value)


def _data_of(key: VirtualKey) -> Any:
    """What the entry means: a plain hash where there is no more to say."""
    row: dict[str, Any] = {"hash": f"sha256:{key.digest}"}
    if key.name:
        row["name"] = key.name
    if key.until is not None:
        row["until"] = key.until
    if key.limits:
        limits = asdict(key.limits)
        row["limits"] = {name: value for name, value in limits.items() if value is not None}
    if key.project is not None:
        row["project"] = key.project
    if key.user is not None:
        row["user"] = key.user
    if key.label is not None:
        row["label"] = key.label
    if key.may_lower:
        row["may"] = ["lower_label"]
    return row if len(row) > 1 else row["hash"]


# --- reading ----------------------------------------------------------------------------------------------------


def _decode(data: bytes) -> str:
    try:
        return decode_text(data, "routing.yaml")
    except Unreadable as unreadable:
        raise CannotEdit(str(unreadable)) from None


def _compose(text: str) -> yaml.MappingNode:
    # The reader in Python, not the one in C: only its marks count characters from the beginning.
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError) as error:
        raise CannotEdit(f"it is not readable as YAML: {error}") from None
    if not isinstance(root, yaml.MappingNode):
        raise CannotEdit("it is no mapping")
    return root


def _find(root: yaml.MappingNode, path: tuple[str, ...]) -> yaml.Node | None:
    """The node at ``path``; None where it is not there, or stands elsewhere and is only meant by an alias."""
    node: yaml.Node = root
    for step in path:
        if not isinstance(node, yaml.MappingNode):
            return None
        found = next((value for key, value in node.value if key.value == step), None)
        if found is None:
            return None
        if not node.start_mark.index <= found.start_mark.index <= found.end_mark.index <= node.end_mark.index:
            return None
        node = found
    return node


def _keys_node(text: str, tenant: str) -> yaml.SequenceNode:
    keys = _find(_compose(text), ("tenants", tenant, "keys"))
    if not isinstance(keys, yaml.SequenceNode):
        raise CannotEdit(f"the keys of `{tenant}` are not written where the tenant is")
    return keys


def _checked(data: bytes, text: str, splice: _Splice, change: Change) -> bytes:
    """The edited file, if it means what the old one meant after ``change``."""
    edited = text[: splice.start] + splice.text + text[splice.end :]
    result = (_BOM if data.startswith(_BOM.encode()) else "").encode() + edited.encode()
    before, _ = parse_document(data, "routing.yaml")
    after, problems = parse_document(result, "routing.yaml")
    if before is None or after is None or problems:
        raise CannotEdit("the way it is written leaves no place for the change")
    wanted = _unshared(before.data)
    change(wanted)
    if after.data != wanted:
        raise CannotEdit("the change would reach further than it should (is there an anchor or an alias?)")
    return result


def _unshared(value: Any) -> Any:
    """A copy in which nothing is the same object twice: what an alias means must not change with its anchor."""
    if isinstance(value, dict):
        return {key: _unshared(item) for key, item in value.items()}
    return [_unshared(item) for item in value] if isinstance(value, list) else value


# --- where things stand -----------------------------------------------------------------------------------------


def _content_end(node: yaml.Node) -> int:
    """Behind the node's last character. A block's own mark is where the next thing begins, comments later."""
    if not isinstance(node, yaml.CollectionNode) or node.flow_style or not node.value:
        return int(node.end_mark.index)
    last = node.value[-1]
    return _content_end(last[1] if isinstance(last, tuple) else last)


def _line_end(text: str, index: int) -> int:
    """Behind the line break of the line that ``index`` is in; the end of the text if it has none."""
    found = _BREAK.search(text, index)
    return len(text) if found is None else found.end()


def _line_start(text: str, index: int) -> int:
    return max(text.rfind("\n", 0, index), text.rfind("\r", 0, index)) + 1


def _newline(text: str) -> str:
    found = _BREAK.search(text)
    return "\n" if found is None else found[0]


def _insert_lines(text: str, after: int, lines: list[str]) -> _Splice:
    """Whole lines behind the line that ``after`` is in."""
    newline = _newline(text)
    at = _line_end(text, after)
    has_break = at > 0 and text[at - 1] in "\r\n"
    return _Splice(at, at, ("" if has_break else newline) + newline.join(lines) + newline)


# --- writing ----------------------------------------------------------------------------------------------------


def _append_item(text: str, keys: yaml.SequenceNode, entry: str) -> _Splice:
    if not keys.value:
        return _Splice(keys.start_mark.index, keys.end_mark.index, f"[{entry}]")
    end = _content_end(keys.value[-1])
    if keys.flow_style:
        return _Splice(end, end, f", {entry}")
    return _insert_lines(text, end, [" " * keys.start_mark.column + f"- {entry}"])


def _new_tenant(text: str, root: yaml.MappingNode, tenant: str, entry: str) -> _Splice:
    tenants = _find(root, ("tenants",))
    if not isinstance(tenants, yaml.MappingNode):
        return _new_section(text, root, tenant, entry)
    if not tenants.value:
        pair = f"{{{tenant}: {{keys: [{entry}]}}}}"
        return _Splice(tenants.start_mark.index, tenants.end_mark.index, pair)
    end = _content_end(tenants)
    if tenants.flow_style:
        end = _content_end(tenants.value[-1][1])
        return _Splice(end, end, f", {json.dumps(tenant)}: {{keys: [{entry}]}}")
    return _insert_lines(text, end, _tenant_lines(tenants.start_mark.column, tenant, entry))


def _new_section(text: str, root: yaml.MappingNode, tenant: str, entry: str) -> _Splice:
    if root.flow_style:
        end = _content_end(root.value[-1][1])
        return _Splice(end, end, f', "tenants": {{{json.dumps(tenant)}: {{keys: [{entry}]}}}}')
    column = root.start_mark.column
    lines = ["", " " * column + "tenants:", *_tenant_lines(column + _STEP, tenant, entry)]
    # Behind all comments, unless something ends the document before the text ends.
    ended = re.compile(r"^(?:\.\.\.|---)", re.MULTILINE).search(text, _content_end(root))
    return _insert_lines(text, len(text) if ended is None else _content_end(root), lines)


def _tenant_lines(column: int, tenant: str, entry: str) -> list[str]:
    name = tenant if re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", tenant) else json.dumps(tenant)
    return [
        " " * column + f"{name}:",
        " " * (column + _STEP) + "keys:",
        " " * (column + 2 * _STEP) + f"- {entry}",
    ]


def _cut_item(text: str, keys: yaml.SequenceNode, index: int) -> _Splice:
    items = keys.value
    if keys.flow_style:
        if index + 1 < len(items):
            return _Splice(items[index].start_mark.index, items[index + 1].start_mark.index, "")
        return _Splice(_content_end(items[index - 1]), _content_end(items[index]), "")
    start = _line_start(text, items[index].start_mark.index)
    column = keys.start_mark.column
    while text[start + column : start + column + 1] != "-" and start:
        start = _line_start(text, start - 1)
    return _Splice(start, _line_end(text, _content_end(items[index])), "")


def _with_last_day(text: str, item: yaml.Node, until: str) -> _Splice:
    start, end = int(item.start_mark.index), _content_end(item)
    if isinstance(item, yaml.ScalarNode):
        # What stands without quotes in a block may need them between braces.
        written = text[start:end] if item.style in ("'", '"') else json.dumps(item.value)
        return _Splice(start, end, f"{{hash: {written}, until: {until}}}")
    if not isinstance(item, yaml.MappingNode):
        raise CannotEdit("a key is neither a text nor a mapping")
    known = next((value for key, value in item.value if key.value == "until"), None)
    if known is not None:
        return _Splice(known.start_mark.index, known.end_mark.index, until)
    if item.flow_style:
        return _Splice(_content_end(item.value[-1][1]), _content_end(item.value[-1][1]), f", until: {until}")
    return _insert_lines(text, end, [" " * item.start_mark.column + f"until: {until}"])
