"""Editing the keys of tenants in the text of routing.yaml: exactly that changes, and everything else stays."""

from __future__ import annotations

from difflib import ndiff
from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxyd.config.document import parse_document
from llmproxyd.config.key_edit import (
    CannotEdit,
    add_key,
    end_key,
    format_entry,
    holds_tenant,
    holds_tenants,
    remove_key,
)
from llmproxyd.values.snapshot import Limits, VirtualKey

ONE, TWO, NEW = ("1" * 64, "2" * 64, "f" * 64)
PLAIN = VirtualKey(NEW)
FULL = VirtualKey(NEW, "ci runner", "2026-12-31", Limits(requests_per_minute=60, concurrency=2))

BLOCK = f"""\
# who may ask
version: 1
tenants:            # by key
  acme:
    keys:
      # the old one
      - "sha256:{ONE}"   # laptop
      - hash: sha256:{TWO}
        name: ci   # the runner

    weight: 2
# the end
"""
FLOW = f"""\
version: 1
tenants: {{acme: {{keys: ["sha256:{ONE}", 'sha256:{TWO}'], weight: 2}}}}  # short
fallback: {{attempts: 2}}
"""
TALL = f"""\
version: 1
tenants:
  acme:
    keys: [
      "sha256:{ONE}",  # laptop
      {{hash: "sha256:{TWO}", name: ci}},
    ]
"""
SHAPES = {"block": BLOCK, "flow": FLOW, "tall": TALL}


def data_of(text: bytes) -> dict[str, object]:
    document, problems = parse_document(text, "routing.yaml")
    assert document is not None
    assert not problems
    return document.data


def keys_of(text: bytes, tenant: str = "acme") -> list[object]:
    tenants = data_of(text)["tenants"]
    assert isinstance(tenants, dict)
    return list(tenants[tenant]["keys"])


def changed(before: str, after: bytes) -> list[str]:
    lines = ndiff(before.splitlines(), after.decode().splitlines())
    return [line for line in lines if line[0] in "+-"]


def test_an_entry_is_a_plain_hash_or_says_all_there_is() -> None:
    assert format_entry(PLAIN) == f'"sha256:{NEW}"'
    assert format_entry(FULL) == (
        f'{{hash: "sha256:{NEW}", name: "ci runner", until: 2026-12-31, '
        "limits: {requests_per_minute: 60, concurrency: 2}}"
    )


def test_a_key_is_added_in_a_line_of_its_own_behind_the_last() -> None:
    edited = add_key(BLOCK.encode(), "acme", PLAIN)
    assert changed(BLOCK, edited) == [f'+       - "sha256:{NEW}"']
    assert edited.decode().splitlines()[9] == f'      - "sha256:{NEW}"'


@pytest.mark.parametrize("key", [PLAIN, FULL])
@pytest.mark.parametrize("text", SHAPES.values(), ids=SHAPES)
def test_a_key_is_added_whatever_the_style(text: str, key: VirtualKey) -> None:
    edited = add_key(text.encode(), "acme", key)
    assert len(keys_of(edited)) == 3
    for comment in ("# laptop", "# short", "# who may ask", "# the runner", "# the end"):
        assert (comment in edited.decode()) is (comment in text)


@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.parametrize("text", SHAPES.values(), ids=SHAPES)
def test_a_key_is_taken_out_whatever_the_style(text: str, index: int) -> None:
    before = keys_of(text.encode())
    del before[index]
    assert keys_of(remove_key(text.encode(), "acme", index)) == before


def test_what_is_said_beside_a_key_goes_with_it_and_what_is_said_above_stays() -> None:
    assert changed(BLOCK, remove_key(BLOCK.encode(), "acme", 0)) == [
        f'-       - "sha256:{ONE}"   # laptop',
    ]
    assert changed(BLOCK, remove_key(BLOCK.encode(), "acme", 1)) == [
        f"-       - hash: sha256:{TWO}",
        "-         name: ci   # the runner",
    ]


@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.parametrize("text", SHAPES.values(), ids=SHAPES)
def test_a_key_gets_a_last_day_and_later_another(text: str, index: int) -> None:
    once = end_key(text.encode(), "acme", index, "2026-12-31")
    entry = keys_of(once)[index]
    assert isinstance(entry, dict)
    assert entry["until"] == "2026-12-31"
    twice = end_key(once, "acme", index, "2026-11-30")
    assert keys_of(twice)[index] == entry | {"until": "2026-11-30"}


def test_a_reference_keeps_its_meaning_when_it_gets_a_last_day() -> None:
    text = "tenants:\n  acme:\n    keys:\n      - ${env:ACME}\n"
    assert keys_of(end_key(text.encode(), "acme", 0, "2026-12-31")) == [
        {"hash": "${env:ACME}", "until": "2026-12-31"}
    ]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("version: 1\n", "version: 1\n\ntenants:\n  new:\n    keys:\n      - ENTRY\n"),
        ("version: 1", "version: 1\n\ntenants:\n  new:\n    keys:\n      - ENTRY\n"),
        (
            "version: 1\n# no tenants yet\n",
            "version: 1\n# no tenants yet\n\ntenants:\n  new:\n    keys:\n      - ENTRY\n",
        ),
        ("version: 1\ntenants: {}\n", "version: 1\ntenants: {new: {keys: [ENTRY]}}\n"),
        ("{version: 1}\n", '{version: 1, "tenants": {"new": {keys: [ENTRY]}}}\n'),
        (
            "version: 1\n...\n# after the end\n",
            "version: 1\n\ntenants:\n  new:\n    keys:\n      - ENTRY\n...\n# after the end\n",
        ),
        (
            f"tenants:\n    acme: {{keys: [sha256:{ONE}]}} # a\n\nversion: 1\n",
            f"tenants:\n    acme: {{keys: [sha256:{ONE}]}} # a\n    new:\n      keys:\n        - ENTRY\n\nversion: 1\n",
        ),
        (
            f"tenants: {{acme: {{keys: [sha256:{ONE}]}}}}\n",
            f'tenants: {{acme: {{keys: [sha256:{ONE}]}}, "new": {{keys: [ENTRY]}}}}\n',
        ),
        ("version: 1\r\n", "version: 1\r\n\r\ntenants:\r\n  new:\r\n    keys:\r\n      - ENTRY\r\n"),
        ("\ufeffversion: 1\n", "\ufeffversion: 1\n\ntenants:\n  new:\n    keys:\n      - ENTRY\n"),
    ],
)
def test_a_new_tenant_finds_its_place(before: str, after: str) -> None:
    edited = add_key(before.encode(), "new", PLAIN)
    assert edited.decode() == after.replace("ENTRY", format_entry(PLAIN))


def test_a_tenant_with_a_name_that_looks_like_a_number_stays_a_name() -> None:
    edited = add_key(b"version: 1\n", "2026", PLAIN)
    assert '"2026":' in edited.decode()


@pytest.mark.parametrize(
    "text",
    [
        f"x: &keys [sha256:{ONE}]\ntenants: {{acme: {{keys: *keys}}}}\n",
        f"tenants: {{acme: {{keys: &keys [sha256:{ONE}]}}, globex: {{keys: *keys}}}}\n",
        f"tenants: {{acme: &a {{keys: [sha256:{ONE}]}}, globex: *a}}\n",
    ],
)
def test_an_edit_that_would_reach_further_is_refused(text: str) -> None:
    with pytest.raises(CannotEdit):
        add_key(dedent(text).encode(), "acme", PLAIN)


@pytest.mark.parametrize("text", [b"a: [", b"- a\n", b"", b"\xff", b"[" * 5000])
def test_what_is_no_mapping_is_refused_with_words(text: bytes) -> None:
    with pytest.raises(CannotEdit):
        add_key(text, "acme", PLAIN)


def test_files_are_told_apart_by_what_they_hold() -> None:
    assert holds_tenant(BLOCK.encode(), "acme")
    assert not holds_tenant(BLOCK.encode(), "globex")
    assert holds_tenants(b"tenants: {}\n")
    assert not holds_tenants(b"version: 1\n")


HASHES = st.text("0123456789abcdef", min_size=64, max_size=64)
COMMENT = st.sampled_from(["", "  # said beside", "   "])
ABOVE = st.sampled_from(["", "      # said above\n", "\n"])


@st.composite
def written(draw: st.DrawFn) -> tuple[str, list[str]]:
    """Some way of writing a tenant with some keys; and its hashes."""
    hashes = draw(st.lists(HASHES, min_size=1, max_size=4, unique=True))
    if draw(st.booleans()):
        items = draw(st.lists(COMMENT, min_size=len(hashes), max_size=len(hashes)))
        lines = [f"      - '{'sha256:' + one}'{said}\n" for one, said in zip(hashes, items, strict=True)]
        keys = "    keys:\n" + "".join(draw(ABOVE) + line for line in lines)
    else:
        glue = draw(st.sampled_from([", ", ",", ",\n      ", " ,  # said between\n      "]))
        end = draw(st.sampled_from(["]", ",]", "\n    ]", " ]  # said behind"]))
        keys = f"    keys: [{glue.join(f'sha256:{one}' for one in hashes)}{end}\n"
    tail = draw(st.sampled_from(["", "    weight: 2\n", "\n# the end\n", "  globex: {keys: [x]}\n"]))
    text = f"version: 1\ntenants:\n  acme:\n{keys}{tail}"
    return (text.replace("\n", "\r\n") if draw(st.booleans()) else text), hashes


@given(written(), HASHES, st.data())
def test_adding_ending_and_removing_change_one_key_and_nothing_else(
    given_: tuple[str, list[str]], fresh: str, data: st.DataObject
) -> None:
    text, hashes = given_
    original = text.encode()
    added = add_key(original, "acme", VirtualKey(fresh))
    index = data.draw(st.integers(0, len(hashes) - 1))
    ended = end_key(added, "acme", index, "2026-12-31")
    shorter = remove_key(ended, "acme", index)
    rest = [f"sha256:{one}" for one in (*hashes[:index], *hashes[index + 1 :], fresh)]
    assert keys_of(shorter) == rest
    assert remove_key(added, "acme", len(hashes)) == original or keys_of(
        remove_key(added, "acme", len(hashes))
    ) == keys_of(original)
    outside = [line for line in text.splitlines() if "sha256" not in line and "said" not in line]
    assert [line for line in shorter.decode().splitlines() if line in outside] == outside
