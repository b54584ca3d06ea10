"""What commands share: streams, colours, tables."""

from __future__ import annotations

import io
import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxyd.commands.console import Console, format_table
from llmproxyd.config.terminal import display_width


def console(**environ: str) -> Console:
    return Console(environ, {}, io.StringIO(), io.StringIO(), io.StringIO())


def test_results_and_diagnostics_go_to_different_streams() -> None:
    desk = console()
    desk.say("result")
    desk.complain("diagnostic")
    assert isinstance(desk.stdout, io.StringIO)
    assert isinstance(desk.stderr, io.StringIO)
    assert (desk.stdout.getvalue(), desk.stderr.getvalue()) == ("result\n", "diagnostic\n")


def test_json_is_indented_and_keeps_its_order() -> None:
    desk = console()
    desk.say_json({"b": 1, "a": "\x1b[2J"})
    assert isinstance(desk.stdout, io.StringIO)
    assert desk.stdout.getvalue() == '{\n  "b": 1,\n  "a": "\\u001b[2J"\n}\n'
    assert list(json.loads(desk.stdout.getvalue())) == ["b", "a"]


@pytest.mark.parametrize(
    ("environ", "colored"),
    [({}, False), ({"CLICOLOR_FORCE": "1"}, True), ({"CLICOLOR_FORCE": "0"}, False)],
)
def test_without_a_terminal_there_is_no_colour_unless_forced(environ: dict[str, str], colored: bool) -> None:
    assert console(**environ).colors(io.StringIO()) is colored
    assert ("\x1b[1m" in console(**environ).style("x", "bold")) is colored


def test_a_terminal_is_coloured_unless_forbidden() -> None:
    main, side = os.openpty()
    with os.fdopen(side, "w") as terminal:
        assert console().colors(terminal)
        assert not console(NO_COLOR="1", CLICOLOR_FORCE="1").colors(terminal)
    os.close(main)


def test_columns_are_as_wide_as_their_longest_cell() -> None:
    table = format_table(("NAME", "N"), [("a", "1"), ("日本", "22")], right=(1,))
    assert table.splitlines() == ["NAME   N", "a      1", "日本  22"]


@given(st.lists(st.tuples(st.text(), st.text(), st.just("|")), max_size=5))
def test_a_table_stays_straight_whatever_is_in_it(rows: list[tuple[str, str, str]]) -> None:
    lines = format_table(("A", "B", "|"), rows).split("\n")
    assert len(lines) == len(rows) + 1
    assert len({display_width(line) for line in lines}) == 1
