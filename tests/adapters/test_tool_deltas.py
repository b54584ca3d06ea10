from __future__ import annotations

import re
from typing import Any

import pytest

from llmproxyd.adapters.tool_deltas import ToolDeltas, arguments_text, invent_tool_id
from llmproxyd.values.answer import Answer, ToolCallDelta, fold
from llmproxyd.values.request import ToolCall


def feed(*entries: dict[str, Any]) -> list[ToolCallDelta]:
    tools = ToolDeltas(0, "seed")
    return [delta for entry in entries for delta in tools.feed(entry)] + tools.close()


def calls(*entries: dict[str, Any]) -> list[tuple[str, str, str]]:
    answer = fold(feed(*entries))
    assert isinstance(answer, Answer)
    parts = answer.choices[0].parts if answer.choices else ()
    return [(part.id, part.name, part.arguments) for part in parts if isinstance(part, ToolCall)]


def entry(arguments: Any = None, name: str | None = None, **fields: Any) -> dict[str, Any]:
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    return {**fields, "function": function}


A, B = invent_tool_id("seed", "0", "0"), invent_tool_id("seed", "0", "1")


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        pytest.param(
            [entry("", "f", index=0, id="c1"), entry('{"a"', index=0), entry(":1}", index=0)],
            [("c1", "f", '{"a":1}')],
            id="as OpenAI does it",
        ),
        pytest.param(
            [
                entry("", "f", index=0, id="c1"),
                entry("", "g", index=1, id="c2"),
                entry("1", index=0),
                entry("2", index=1),
            ],
            [("c1", "f", "1"), ("c2", "g", "2")],
            id="two calls interleaved",
        ),
        pytest.param(
            [entry('{"a"', "f", index=0, id="c1"), entry(":1}", "f", index=0, id="c1")],
            [("c1", "f", '{"a":1}')],
            id="id and name repeated",
        ),
        pytest.param(
            [entry("1", "f", index=0, id="c1"), entry("2", "f", index=0, id="c2")],
            [("c1", "f", "1"), ("c2", "f", "2")],
            id="every call is index 0",
        ),
        pytest.param(
            [entry("1", "f", index=0), entry("2", "g", index=0)],
            [(A, "f", "1"), (B, "g", "2")],
            id="every call is index 0 and has no id",
        ),
        pytest.param([entry({"a": 1}, "f")], [(A, "f", '{"a":1}')], id="whole, no index, no id, an object"),
        pytest.param(
            [entry('{"a":1}', "f"), entry('{"b":2}', "f")],
            [(A, "f", '{"a":1}'), (B, "f", '{"b":2}')],
            id="two whole calls without index and id",
        ),
        pytest.param(
            [entry('{"a"', "f"), entry(":1}", "f")],
            [(A, "f", '{"a":1}')],
            id="no index, no id, name repeated",
        ),
        pytest.param(
            [entry('{"a"', "f", id="c1"), entry(":1}")], [("c1", "f", '{"a":1}')], id="no index, then nothing"
        ),
        pytest.param(
            [entry("1", "f", id="c1"), entry("2", "g", id="c2"), entry("3", id="c1")],
            [("c1", "f", "13"), ("c2", "g", "2")],
            id="no index, told by id",
        ),
        pytest.param([entry("1", "f", index=0, id="0")], [(A, "f", "1")], id="the index as id"),
        pytest.param(
            [entry("1", "f", index=3, id="c1")], [("c1", "f", "1")], id="an index that does not begin at 0"
        ),
        pytest.param(
            [entry("{", index=0, id="c1"), entry("}", "f", index=0)],
            [("c1", "f", "{}")],
            id="the name comes late",
        ),
        pytest.param([entry("{}", index=0, id="c1")], [("c1", "", "{}")], id="the name never comes"),
        pytest.param([{"index": 0, "id": "c1", "function": None}], [("c1", "", "")], id="no function at all"),
        pytest.param([entry(None, "f", index=0, id="c1")], [("c1", "f", "")], id="null arguments"),
    ],
)
def test_what_servers_send_becomes_orderly_calls(entries: list[dict[str, Any]], expected: list[Any]) -> None:
    assert calls(*entries) == expected


def test_id_and_name_come_once_and_indexes_have_no_gaps() -> None:
    deltas = feed(
        entry("1", "f", index=5, id="c1"),
        entry("2", "f", index=5, id="c1"),
        entry("3", "g", index=9, id="c2"),
    )
    assert [(d.index, d.id, d.name) for d in deltas] == [(0, "c1", "f"), (0, None, None), (1, "c2", "g")]


def test_custom_tools_and_signatures_are_carried() -> None:
    signed = {"extra_content": {"google": {"thought_signature": "S"}}}
    (delta,) = feed(
        {"index": 0, "id": "c1", "type": "custom", "custom": {"name": "f", "input": "x"}, **signed}
    )
    assert delta == ToolCallDelta(0, "c1", "f", "x", kind="custom", signature="S")


def test_invented_ids_are_the_same_for_the_same_seed_and_fit_every_vendor() -> None:
    assert invent_tool_id("a", "b") == invent_tool_id("a", "b") != invent_tool_id("ab", "")
    assert re.fullmatch(r"[a-zA-Z0-9_-]{1,40}", invent_tool_id("\ud83c"))


@pytest.mark.parametrize(
    ("value", "text"), [(None, ""), ("", ""), ("{", "{"), ({"a": "é"}, '{"a":"é"}'), ([1], "[1]")]
)
def test_arguments_become_text(value: Any, text: str) -> None:
    assert arguments_text(value) == text
