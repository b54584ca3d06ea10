"""Who is calling: from the key that is shown to its tenant."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from llmproxyd.server.auth import ANYBODY, Caller, Doorkeeper
from llmproxyd.values.failure import Failure, FailureKind
from llmproxyd.values.snapshot import Limits, Snapshot, Tenant, VirtualKey


def digest(key: str) -> str:
    return sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def snapshot(**keys: tuple[str, ...]) -> Snapshot:
    """Tenant -> its keys, as clients show them."""
    tenants = {
        name: Tenant(name, tuple(VirtualKey(digest(key)) for key in row)) for name, row in keys.items()
    }
    return Snapshot("", {}, (), {}, (), tenants=tenants)


OPEN = snapshot()
KEYED = snapshot(acme=("acme-1", "acme-2"), globex=("globex-1",))


def headers(*pairs: tuple[str, str]) -> CIMultiDictProxy[str]:
    return CIMultiDictProxy(CIMultiDict(pairs))


def ask(
    *pairs: tuple[str, str], snapshot: Snapshot = KEYED, local: bool = False, target: str = "/v1/x"
) -> Caller | Failure:
    return Doorkeeper().identify(headers(*pairs), snapshot, local=local, target=target)


def refused(answer: Caller | Failure) -> Failure:
    assert isinstance(answer, Failure)
    assert answer.kind is FailureKind.UNAUTHENTICATED
    assert answer.client_status == 401
    return answer


BEARER = ("Authorization", "Bearer acme-1")


def test_without_declared_keys_everybody_may_come_in_and_no_key_is_looked_at() -> None:
    assert ask(snapshot=OPEN) is ANYBODY
    assert ask(BEARER, ("x-api-key", "another"), snapshot=OPEN) is ANYBODY


@pytest.mark.parametrize(
    ("pairs", "target"),
    [
        ((BEARER,), "/v1/chat/completions"),
        ((("authorization", "bearer   acme-1 "),), ""),
        ((("X-Api-Key", "acme-1"),), ""),
        ((("x-goog-api-key", "acme-1"),), ""),
        ((), "/v1beta/models/m:generateContent?key=acme-1&alt=sse"),
        ((), "/v1beta/models/m:generateContent?alt=sse&key=acme%2D1"),
    ],
)
def test_a_key_is_found_where_each_dialect_puts_it(pairs: tuple[tuple[str, str], ...], target: str) -> None:
    assert ask(*pairs, target=target) == Caller(KEYED.tenants["acme"], VirtualKey(digest("acme-1")))


def test_headers_may_be_a_plain_mapping_of_lower_case_names() -> None:
    found = Doorkeeper().identify({"x-api-key": "globex-1"}, KEYED, local=False)
    assert found == Caller(KEYED.tenants["globex"], VirtualKey(digest("globex-1")))


@pytest.mark.parametrize(
    ("pairs", "target"),
    [
        ((), "/v1/x"),
        ((), "/v1/x?keys=acme-1&monkey=acme-1"),
        ((), "/v1/x?key="),
        ((("authorization", "Bearer "),), ""),
        ((("authorization", "Basic YWNtZS0x"),), ""),
        ((("authorization", "acme-1"),), ""),
        ((("x-api-key", "  "),), ""),
        ((), "/v1/x?" + "a=1&" * 65 + "key=acme-1"),
    ],
)
def test_without_a_key_a_caller_is_told_how_to_send_one(
    pairs: tuple[tuple[str, str], ...], target: str
) -> None:
    failure = refused(ask(*pairs, target=target))
    assert failure.code == "missing_api_key"
    assert "Authorization: Bearer" in failure.message


def test_an_unknown_key_is_refused_without_a_word_about_it_but_the_operator_can_compare_hashes() -> None:
    failure = refused(ask(("x-api-key", "acme-3")))
    assert failure.code == "invalid_api_key"
    assert "acme" not in failure.message + failure.detail
    assert digest("acme-3")[:8] in failure.detail
    assert digest("acme-3")[:8] not in failure.message


def test_a_hash_is_no_key() -> None:
    refused(ask(("x-api-key", digest("acme-1"))))
    refused(ask(("x-api-key", f"sha256:{digest('acme-1')}")))


def test_the_same_key_in_several_places_is_one_key() -> None:
    found = ask(BEARER, ("x-api-key", "acme-1"), target="/v1/x?key=acme-1")
    assert isinstance(found, Caller)
    assert found.tenant == KEYED.tenants["acme"]


@pytest.mark.parametrize(
    ("pairs", "target"),
    [
        ((BEARER, ("x-api-key", "globex-1")), ""),
        ((BEARER, ("x-api-key", "acme-2")), ""),
        ((BEARER, ("x-goog-api-key", "dummy")), ""),
        ((BEARER, ("Authorization", "Bearer globex-1")), ""),
        ((("x-api-key", "acme-1"), ("x-api-key", "globex-1")), ""),
        ((BEARER,), "/v1/x?key=globex-1"),
        ((), "/v1/x?key=acme-1&key=globex-1"),
    ],
)
@pytest.mark.parametrize("local", [False, True])
def test_keys_that_differ_are_refused_in_words(
    pairs: tuple[tuple[str, str], ...], target: str, local: bool
) -> None:
    failure = refused(ask(*pairs, target=target, local=local))
    assert failure.code == "conflicting_api_keys"
    assert "several keys" in failure.message


def test_the_daemons_own_user_needs_no_key_but_may_show_one() -> None:
    assert ask(local=True) is ANYBODY
    assert ask(("x-api-key", "not-ours"), local=True) is ANYBODY
    found = ask(BEARER, local=True)
    assert isinstance(found, Caller)
    assert found.tenant == KEYED.tenants["acme"]


def test_where_other_machines_can_connect_no_declared_key_means_nobody() -> None:
    """A reload that takes the last key away must not open the door."""
    door = Doorkeeper(exposed=True)
    for shown in (headers(), headers(BEARER)):
        refused(door.identify(shown, OPEN, local=False))
    assert door.identify(headers(), OPEN, local=True) is ANYBODY
    failure = refused(door.identify(headers(), OPEN, local=False))
    assert failure.code == "no_keys_declared"
    assert "add `tenants`" in failure.detail
    assert isinstance(door.identify(headers(BEARER), KEYED, local=False), Caller)


def test_each_generation_has_its_own_keys() -> None:
    door, later = Doorkeeper(), snapshot(acme=("acme-2",))
    shown = headers(BEARER)
    assert isinstance(door.identify(shown, KEYED, local=False), Caller)
    refused(door.identify(shown, later, local=False))
    assert isinstance(door.identify(shown, KEYED, local=False), Caller)


def test_known_keys_are_looked_up_without_building_anything_anew() -> None:
    door = Doorkeeper()
    first, second = (door.identify(headers(BEARER), KEYED, local=False) for _ in range(2))
    assert first is second


def test_a_key_is_taken_until_its_last_day_in_utc() -> None:
    key = VirtualKey(digest("acme-1"), "ci", "2026-12-31", Limits(concurrency=2))
    known = Snapshot("", {}, (), {}, (), tenants={"acme": Tenant("acme", (key,))})
    midnight_s = 1_798_675_200.0  # 2026-12-31T00:00Z
    before, after = Doorkeeper(wall=lambda: midnight_s - 0.001), Doorkeeper(wall=lambda: midnight_s)
    found = before.identify(headers(BEARER), known, local=False)
    assert isinstance(found, Caller)
    assert (found.key_id, found.key_limits) == (digest("acme-1")[:8], Limits(concurrency=2))
    failure = refused(after.identify(headers(BEARER), known, local=False))
    assert failure.code == "expired_api_key"
    assert "acme" not in failure.message
    assert after.identify(headers(BEARER), known, local=True) is ANYBODY


PRINTABLE = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=40)


@given(declared=st.sets(PRINTABLE, min_size=1, max_size=5), shown=st.text(max_size=40))
def test_exactly_declared_keys_open_the_door(declared: set[str], shown: str) -> None:
    known = snapshot(acme=tuple(declared))
    found = Doorkeeper().identify({"x-api-key": shown}, known, local=False)
    assert isinstance(found, Caller) is (shown.strip() in declared)


@given(target=st.text(max_size=80), value=st.text(max_size=40))
def test_whatever_is_sent_gets_an_answer(target: str, value: str) -> None:
    for name in ("authorization", "x-api-key", "x-goog-api-key"):
        refused(Doorkeeper().identify({name: value}, KEYED, local=False, target=target))
