"""``llmproxyd cost reconcile``: bills of several shapes beside a real ledger."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxyd.commands.bills import SHAPES, BadBill, parse_bill, same_model
from llmproxyd.values.cost import Usage
from llmproxyd.values.ledger import Entry
from tests.commands.conftest import Done, Run
from tests.ledger.booking import book, entry

DAY_S = 86_400.0
START_S = datetime(2026, 11, 1, 9, tzinfo=UTC).timestamp()

OPENAI_USAGE = """\
start_time,end_time,start_time_iso,end_time_iso,project_id,num_model_requests,model,batch,input_tokens,output_tokens,input_cached_tokens
1793491200,1793577600,2026-11-01T00:00:00+00:00,2026-11-02T00:00:00+00:00,proj_1,2,gpt-5.6-luna-2026-08-01,false,1500,150,400
1793577600,1793664000,2026-11-02T00:00:00+00:00,2026-11-03T00:00:00+00:00,proj_1,0,,,0,0,0
1793577600,1793664000,2026-11-02T00:00:00+00:00,2026-11-03T00:00:00+00:00,proj_1,1,gpt-5.6-luna-2026-08-01,false,500,50,0
"""
OPENAI_COST = """\
start_time,end_time,start_time_iso,end_time_iso,amount_value,amount_currency,line_item,project_id
1,2,2026-11-01T00:00:00+00:00,2026-11-02T00:00:00+00:00,0.25,usd,"gpt-5.6-luna-2026-08-01, input",proj_1
1,2,2026-11-01T00:00:00+00:00,2026-11-02T00:00:00+00:00,0.05,usd,"gpt-5.6-luna-2026-08-01, output",proj_1
1,2,2026-11-02T00:00:00+00:00,2026-11-03T00:00:00+00:00,0.10,usd,"gpt-5.6-luna-2026-08-01, input",proj_1
"""
ANTHROPIC_USAGE = """\
usage_date_utc,model_version,api_key,workspace,usage_type,context_window,usage_input_tokens_no_cache,usage_input_tokens_cache_write_5m,usage_input_tokens_cache_write_1h,usage_input_tokens_cache_read,usage_output_tokens,web_search_count
2026-11-01,claude-haiku-5-5,key,Default,standard,≤ 200k,1000,200,100,200,150,0
2026-11-02,claude-haiku-5-5,key,Default,standard,≤ 200k,500,0,0,0,50,0
"""
ANTHROPIC_COST = """\
usage_date_utc,model,workspace,api_key,usage_type,context_window,token_type,cost_usd,cost_type
2026-11-01,Claude Haiku 5.5,Default,key,message,≤ 200k,input_no_cache,0.20,token
2026-11-01,Claude Haiku 5.5,Default,key,message,≤ 200k,output,0.10,token
2026-11-02,Claude Haiku 5.5,Default,key,message,≤ 200k,input_no_cache,0.10,token
"""
TABLE = """\
date,model,input_tokens,output_tokens,cost_usd
2026-11-01,gpt-5.6-luna,1500,150,0.30
2026-11-02,gpt-5.6-luna,500,50,0.10
"""
LINES = """\
{"date": "2026-11-01", "model": "gpt-5.6-luna", "input_tokens": 1500, "output_tokens": 150, "cost_usd": 0.3}
{"date": "2026-11-02", "model": "gpt-5.6-luna", "input_tokens": 500, "output_tokens": 50, "cost_usd": 0.1}
"""
BILLS = {
    "openai usage": (OPENAI_USAGE, "openai"),
    "openai cost": (OPENAI_COST, "openai"),
    "anthropic usage": (ANTHROPIC_USAGE, "anthropic"),
    "anthropic cost": (ANTHROPIC_COST, "anthropic"),
    "table": (TABLE, "openai"),
    "lines": (LINES, "openai"),
    "table of a spreadsheet": ("\ufeff" + TABLE.replace("\n", "\r\n"), "openai"),
}
MODELS = {"openai": "gpt-5.6-luna", "anthropic": "claude-haiku-5-5"}


def traffic(provider: str) -> list[Entry]:
    """Two requests on the first day, one on the second: what every bill above says."""
    known: dict[str, Any] = {"provider": provider, "model": MODELS[provider], "upstream": MODELS[provider]}
    return [
        entry(1, at_s=START_S, usage=Usage(1000, 100), cost_nanos=200_000_000, **known),
        entry(2, at_s=START_S + 60, usage=Usage(500, 50), cost_nanos=100_000_000, **known),
        entry(3, at_s=START_S + DAY_S, usage=Usage(500, 50), cost_nanos=100_000_000, **known),
        entry(4, at_s=START_S + DAY_S, usage=Usage(9, 9), cost_nanos=0, outcome="cached", **known),
    ]


@pytest.fixture
def reconcile(run: Run, tmp_path: Path) -> Run:
    def call(bill: str, *argv: str, **options: object) -> Done:
        file = tmp_path / "bill"
        file.write_text(bill, encoding="utf-8", newline="")
        return run("cost", "reconcile", str(file), *argv, "--state-dir", str(tmp_path / "state"), **options)

    return call


@pytest.mark.parametrize("shape", BILLS)
def test_a_bill_that_says_what_the_ledger_says_agrees(reconcile: Run, tmp_path: Path, shape: str) -> None:
    bill, provider = BILLS[shape]
    book(tmp_path / "state", traffic(provider))
    done = reconcile(bill, "--provider", provider, "--tolerance", "0%", as_json=True)
    assert done.status == 0, done.out
    document = json.loads(done.out)
    assert document["agrees"] is True
    assert [(row["day"], row["model"]) for row in document["rows"]] == [
        ("2026-11-01", MODELS[provider]),
        ("2026-11-02", MODELS[provider]),
    ]


@pytest.mark.parametrize("shape", ["openai usage", "anthropic cost"])
def test_the_provider_need_not_be_named_where_the_shape_tells(
    reconcile: Run, tmp_path: Path, shape: str
) -> None:
    bill, provider = BILLS[shape]
    book(tmp_path / "state", traffic(provider))
    assert reconcile(bill).status == 0


@pytest.mark.parametrize(
    ("old", "new", "off"),
    [
        ("1500", "1600", ["input_tokens"]),
        ("150,", "200,", ["output_tokens"]),
        ("0.30", "0.40", ["cost_nanos"]),
        ("0.30", "0.25", ["cost_nanos"]),
    ],
)
def test_a_difference_is_2_and_is_shown(
    reconcile: Run, tmp_path: Path, old: str, new: str, off: list[str]
) -> None:
    book(tmp_path / "state", traffic("openai"))
    bill = TABLE.replace(old, new)
    done = reconcile(bill, "--provider", "openai", as_json=True)
    assert done.status == 2
    assert [row["off"] for row in json.loads(done.out)["rows"]] == [off, []]
    text = reconcile(bill, "--provider", "openai").out.splitlines()
    assert text[0] == "openai, read as a plain table: 2 days and models, 1 differ"
    assert [line.split()[:3] for line in text[2:]] == [["2026-11-01", "gpt-5.6-luna", "differs"]]
    assert len(reconcile(bill, "--provider", "openai", "--all").out.splitlines()) == 4


def test_what_one_side_lacks_is_a_difference(reconcile: Run, tmp_path: Path) -> None:
    book(tmp_path / "state", traffic("openai"))
    missing = (
        "\n".join(line for line in TABLE.splitlines() if "11-02" not in line) + "\n2026-11-02,other,1,1,0.1\n"
    )
    rows = json.loads(reconcile(missing, "--provider", "openai", as_json=True).out)["rows"]
    assert [(row["day"], row["model"], bool(row["off"])) for row in rows] == [
        ("2026-11-01", "gpt-5.6-luna", False),
        ("2026-11-02", "gpt-5.6-luna", True),
        ("2026-11-02", "other", True),
    ]


def test_days_can_be_left_out(reconcile: Run, tmp_path: Path) -> None:
    book(tmp_path / "state", traffic("openai"))
    bill = TABLE.replace("1500", "9999")
    assert reconcile(bill, "--provider", "openai", "--since", "2026-11-02").status == 0
    assert reconcile(bill, "--provider", "openai", "--until", "2026-11-02").status == 2


@pytest.mark.parametrize(
    ("nanos", "status"), [(254_900_000, 0), (245_100_000, 0), (255_100_000, 2), (244_900_000, 2)]
)
def test_a_rounded_amount_may_be_off_by_half_of_its_last_decimal(
    reconcile: Run, tmp_path: Path, nanos: int, status: int
) -> None:
    book(tmp_path / "state", [entry(1, at_s=START_S, model="m", upstream="m", cost_nanos=nanos)])
    bill = "date,model,cost_usd\n2026-11-01,m,0.25\n"
    assert reconcile(bill, "--provider", "openai", "--tolerance", "0%").status == status


def test_attempts_without_a_known_cost_are_told(reconcile: Run, tmp_path: Path) -> None:
    book(
        tmp_path / "state",
        [
            *traffic("openai")[:3],
            entry(9, at_s=START_S, model="gpt-5.6-luna", upstream="", cost_nanos=None, usage=Usage(0, 0)),
        ],
    )
    assert "1 attempts in the ledger have no known cost" in reconcile(TABLE, "--provider", "openai").out


@pytest.mark.parametrize(
    ("bill", "said"),
    [
        ("", "there is nothing in it"),
        ("a,b\n1,2\n", "its columns are those of no export that is known"),
        (TABLE.replace("1500", "many"), "line 2: expected a number, found 'many'"),
        (TABLE.replace("1500", "1.5"), "line 2: expected whole tokens"),
        (TABLE.replace("0.30", "NaN"), "line 2: 'NaN' is no amount"),
        (TABLE.replace("2026-11-01", "yesterday"), "line 2: expected a day"),
        (TABLE.replace("gpt-5.6-luna", ""), "line 2: no model is named"),
        (TABLE + "1,2,3,4,5,6,7\n", "line 4: it has more fields"),
        (OPENAI_COST.replace("usd", "eur"), "the amount is in eur"),
        ('{"date": "2026-11-01"', "line 1: no JSON"),
        ("date,model,input_tokens\n2026-11-01,,0\n", "nothing is charged in it"),
        ('date,model\n"2026-11-01', "no CSV"),
    ],
)
def test_what_is_no_bill_is_refused_with_its_line(
    reconcile: Run, tmp_path: Path, bill: str, said: str
) -> None:
    book(tmp_path / "state", [])
    done = reconcile(bill, "--provider", "openai")
    assert (done.status, done.out) == (64, "")
    assert said in done.err


def test_a_provider_that_the_ledger_does_not_know_is_refused(reconcile: Run, tmp_path: Path) -> None:
    book(tmp_path / "state", traffic("openai"))
    done = reconcile(TABLE)
    assert (done.status, "does not say whose it is" in done.err) == (64, True)
    assert "The ledger knows: openai" in reconcile(TABLE, "--provider", "opnai").err


def test_a_file_that_is_not_there_is_66(run: Run, tmp_path: Path) -> None:
    assert run("cost", "reconcile", str(tmp_path / "none.csv")).status == 66


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("Claude Haiku 5.5", "claude-haiku-5-5"),
        ("claude-haiku-5.5", "claude-haiku-5-5"),
        ("gpt-5.6-luna-2026-08-01", "gpt-5.6-luna"),
        ("Somebody's Own", "somebody's-own"),
    ],
)
def test_spellings_of_one_model_are_one(name: str, model: str) -> None:
    assert same_model(name, "openai") == model


def test_no_two_shapes_are_mistaken_for_each_other() -> None:
    for bill, _ in BILLS.values():
        columns = set(parse_bill(bill).shape.signs)
        assert [one.name for one in SHAPES if one.signs <= columns] == [parse_bill(bill).shape.name]


@given(st.text(max_size=200))
def test_whatever_is_in_the_file_is_a_bill_or_refused(text: str) -> None:
    try:
        parse_bill(text)
    except BadBill as reason:
        assert str(reason)  # noqa: PT017 - both outcomes are right
