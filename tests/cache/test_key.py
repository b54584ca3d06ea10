from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from llmproxyd.cache.key import SECRET_BYTES, SECRET_FILE, Who, cache_key, load_secret, scope_of
from llmproxyd.values.request import Overrides
from llmproxyd.values.snapshot import CacheScope
from tests.cache.asking import CHAT, GEMINI, GEMINI_SSE, MESSAGES, SECRET, parse, plan_of, request_of
from tests.support.records import replace

PLAN = plan_of()
TENANT = ("tenant", "=acme")


def key(path: str = CHAT, /, **changes: Any) -> bytes:
    given: dict[str, Any] = {
        "secret": SECRET,
        "request": request_of(path),
        "plan": PLAN,
        "scope": TENANT,
        "form": "whole",
    }
    return cache_key(**(given | changes))


names = st.none() | st.text(max_size=4)
people = st.builds(Who, names, names, names)


@given(people, people, st.sampled_from(CacheScope))
def test_two_tenants_never_share(one: Who, other: Who, scope: CacheScope) -> None:
    assume(one.tenant != other.tenant)
    mine, theirs = scope_of(scope, one), scope_of(scope, other)
    assert mine is None or theirs is None or key(scope=mine) != key(scope=theirs)


@given(people, people)
def test_whoever_shares_is_the_same_as_far_as_the_scope_looks(one: Who, other: Who) -> None:
    looks: dict[CacheScope, Callable[[Who], object]] = {
        CacheScope.TENANT: lambda who: who.tenant,
        CacheScope.KEY: lambda who: (who.tenant, who.key),
        CacheScope.USER: lambda who: (who.tenant, who.key, who.user),
    }
    for scope, seen in looks.items():
        mine, theirs = scope_of(scope, one), scope_of(scope, other)
        if mine is not None and theirs is not None:
            assert (key(scope=mine) == key(scope=theirs)) is (seen(one) == seen(other))


def test_scopes_never_meet() -> None:
    assert len({scope_of(scope, Who("a", "k", "u")) for scope in CacheScope}) == 3


def test_a_user_nobody_names_shares_with_nobody() -> None:
    assert scope_of(CacheScope.USER, Who("acme", "k")) is None


def test_no_tenant_is_not_the_tenant_without_a_name() -> None:
    assert scope_of(CacheScope.TENANT, Who(None)) != scope_of(CacheScope.TENANT, Who(""))


@pytest.mark.parametrize(
    "changes",
    [
        {"secret": bytes(32)},
        {"scope": ("tenant", "=other")},
        {"scope": ("tenant=", "acme")},
        {"request": request_of(model="n")},
        {"request": request_of(temperature=0.1)},
        {"plan": replace(PLAN, label="public")},
        {"plan": replace(PLAN, overrides=Overrides(seed=7))},
        {"plan": plan_of("openai/m", "anthropic/m")},
        {"plan": plan_of("azure/m")},
    ],
)
def test_everything_that_must_be_the_same_is_in_it(changes: dict[str, Any]) -> None:
    assert key(**changes) != key()


def test_the_order_of_those_who_may_answer_is_not() -> None:
    ordered = plan_of("openai/m", "anthropic/m")
    assert key(plan=ordered) == key(plan=replace(ordered, candidates=ordered.candidates[::-1]))


def test_headers_that_the_provider_hears_are_in_it() -> None:
    body = request_of(MESSAGES).body
    plain, beta = (parse(MESSAGES, body, headers) for headers in ({}, {"anthropic-beta": "x"}))
    assert key(request=plain) != key(request=beta)


def test_a_stream_and_a_whole_answer_share_it() -> None:
    assert key(request=request_of(stream=True), form="text/event-stream") == key()
    stream = key(request=request_of(GEMINI_SSE), form="text/event-stream")
    assert stream == key(request=request_of(GEMINI))


def test_except_where_one_is_not_made_from_the_other() -> None:
    fields: dict[str, Any] = {"logprobs": True}
    whole = key(request=request_of(**fields))
    assert key(request=request_of(stream=True, **fields), form="text/event-stream") != whole
    legacy = [request_of("/v1/completions", stream=stream) for stream in (False, True)]
    assert key(request=legacy[0]) != key(request=legacy[1], form="text/event-stream")


def test_dialects_do_not_share() -> None:
    same = {"model": "m", "max_tokens": 64, "messages": [{"role": "user", "content": "Hello"}]}
    assert key(request=request_of(CHAT, **same)) != key(request=request_of(MESSAGES, **same))


# --- the secret -------------------------------------------------------------------------------------------------


def test_the_secret_is_made_once_and_is_for_its_owner_only(tmp_path: Path) -> None:
    state = tmp_path / "state"
    first = load_secret(state)
    assert len(first) == SECRET_BYTES
    assert load_secret(state) == first
    assert stat.S_IMODE((state / SECRET_FILE).stat().st_mode) == 0o600
    assert [path.name for path in state.iterdir()] == [SECRET_FILE]


def test_a_secret_that_others_could_read_is_closed(tmp_path: Path) -> None:
    first = load_secret(tmp_path)
    (tmp_path / SECRET_FILE).chmod(0o644)
    assert load_secret(tmp_path) == first
    assert stat.S_IMODE((tmp_path / SECRET_FILE).stat().st_mode) == 0o600


@pytest.mark.parametrize("left", [b"", b"short", bytes(33)])
def test_what_can_be_no_secret_is_replaced(tmp_path: Path, left: bytes) -> None:
    (tmp_path / SECRET_FILE).write_bytes(left)
    made = load_secret(tmp_path)
    assert len(made) == SECRET_BYTES
    assert load_secret(tmp_path) == made


def test_two_directories_have_two_secrets(tmp_path: Path) -> None:
    assert load_secret(tmp_path / "a") != load_secret(tmp_path / "b")
