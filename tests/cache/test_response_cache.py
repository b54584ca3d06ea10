from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxyd.cache.entry import MAX_BODY_BYTES
from llmproxyd.cache.memory import ENTRY_BYTES
from llmproxyd.cache.response_cache import Hit, ResponseCache
from llmproxyd.cache.store import FILE
from llmproxyd.values.snapshot import CachePolicy
from tests.cache.asking import SECRET, cached_of

NOW_S = 1_800_000_000.0
DAY_S = 86_400.0
WEEK_S = 7 * DAY_S
KEY = bytes(32)
CACHED = cached_of(b"kept", created_s=NOW_S)
POLICY = CachePolicy(max_bytes=8 << 20)


def in_memory(**changes: Any) -> ResponseCache:
    return ResponseCache(secret=SECRET, **changes)


def on_disk(state_dir: Path, policy: CachePolicy = POLICY) -> ResponseCache:
    return ResponseCache.open(state_dir, policy, wall=lambda: NOW_S)


async def restarted(cache: ResponseCache, state_dir: Path) -> ResponseCache:
    await cache.close()
    return on_disk(state_dir)


async def test_an_answer_is_fresh_until_its_time_is_up_to_the_second(tmp_path: Path) -> None:
    cache = on_disk(tmp_path)
    cache.put(KEY, CACHED, WEEK_S, NOW_S)
    for _ in range(2):  # from memory, then from disk
        assert await cache.get(KEY, NOW_S) == Hit(CACHED, 0)
        assert await cache.get(KEY, NOW_S + WEEK_S - 1) == Hit(CACHED, int(WEEK_S) - 1)
        assert await cache.get(KEY, NOW_S + WEEK_S) is None
        cache = await restarted(cache, tmp_path)
    await cache.close()


@given(st.integers(1, 10**6), st.integers(-10, 2 * 10**6))
async def test_fresh_means_younger_than_the_rule_says(ttl_s: int, age_s: int) -> None:
    cache = in_memory()
    cache.put(KEY, CACHED, float(ttl_s), NOW_S)
    hit = await cache.get(KEY, NOW_S + age_s)
    assert (hit is not None) is (age_s < ttl_s)
    if hit is not None:
        assert hit.age_s == max(0, age_s)  # a clock may be set back


async def test_a_client_or_a_shorter_rule_may_want_it_younger() -> None:
    cache = in_memory()
    cache.put(KEY, CACHED, WEEK_S, NOW_S)
    assert await cache.get(KEY, NOW_S + 59, max_age_s=60) is not None
    assert await cache.get(KEY, NOW_S + 60, max_age_s=60) is None
    assert await cache.get(KEY, NOW_S, max_age_s=0) is None


async def test_when_nobody_can_answer_an_expired_one_stands_in_for_as_long_as_allowed(tmp_path: Path) -> None:
    cache = on_disk(tmp_path)
    cache.put(KEY, CACHED, DAY_S, NOW_S)
    last_s = NOW_S + DAY_S + POLICY.stale_s
    for _ in range(2):
        assert await cache.get(KEY, NOW_S + DAY_S) is None
        assert await cache.get(KEY, NOW_S + DAY_S, allow_stale=True) == Hit(CACHED, int(DAY_S), stale=True)
        fresh = await cache.get(KEY, NOW_S + 5, allow_stale=True)
        assert fresh == Hit(CACHED, 5)
        assert await cache.get(KEY, last_s - 1, max_age_s=1, allow_stale=True) is not None
        cache = await restarted(cache, tmp_path)
    assert await cache.get(KEY, last_s, allow_stale=True) is None
    await cache.close()


async def test_what_must_not_be_on_disk_is_not(tmp_path: Path) -> None:
    cache = on_disk(tmp_path)
    secret = cached_of(b"for few eyes", created_s=NOW_S)
    cache.put(KEY, secret, WEEK_S, NOW_S, persist=False)
    assert await cache.get(KEY, NOW_S) is not None
    await cache.flush()
    assert not (tmp_path / FILE).exists()
    cache = await restarted(cache, tmp_path)
    assert await cache.get(KEY, NOW_S) is None
    await cache.close()


async def test_what_must_not_be_on_disk_any_more_goes_from_there(tmp_path: Path) -> None:
    cache = on_disk(tmp_path)
    cache.put(KEY, CACHED, WEEK_S, NOW_S)
    await cache.flush()
    cache.put(KEY, CACHED, WEEK_S, NOW_S, persist=False)
    cache = await restarted(cache, tmp_path)
    assert await cache.get(KEY, NOW_S) is None
    await cache.close()


async def test_what_is_never_on_disk_is_not_looked_for_there(tmp_path: Path) -> None:
    cache = on_disk(tmp_path)
    cache.put(KEY, CACHED, WEEK_S, NOW_S)
    cache = await restarted(cache, tmp_path)
    assert await cache.get(KEY, NOW_S, persisted=False) is None
    assert await cache.get(KEY, NOW_S) is not None
    await cache.close()


async def test_what_comes_from_disk_is_in_memory_after_that(tmp_path: Path) -> None:
    cache = on_disk(tmp_path)
    cache.put(KEY, CACHED, WEEK_S, NOW_S)
    cache = await restarted(cache, tmp_path)
    assert cache.peek(KEY, NOW_S) is None
    assert await cache.get(KEY, NOW_S) == cache.peek(KEY, NOW_S) == Hit(CACHED, 0)
    await cache.close()


async def test_a_large_answer_is_on_disk_alone_and_a_huge_one_nowhere(tmp_path: Path) -> None:
    cache = on_disk(tmp_path, CachePolicy(max_bytes=64 << 20))
    large = cached_of(bytes(MAX_BODY_BYTES), created_s=NOW_S)
    assert cache.put(KEY, large, WEEK_S, NOW_S)
    await cache.flush()
    assert cache.peek(KEY, NOW_S) is None
    assert await cache.get(KEY, NOW_S) == Hit(large, 0)
    assert not cache.put(KEY, cached_of(bytes(MAX_BODY_BYTES + 1)), WEEK_S, NOW_S)
    assert (cache.counts.kept, cache.counts.refused) == (1, 1)
    await cache.close()


async def test_without_a_directory_that_can_be_used_it_is_memory_alone(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("no directory")
    for cache in (on_disk(tmp_path / "state"), ResponseCache.open(None, POLICY, wall=lambda: NOW_S)):
        assert cache.put(KEY, CACHED, WEEK_S, NOW_S)
        assert await cache.get(KEY, NOW_S) == Hit(CACHED, 0)
        await cache.flush()
        await cache.close()


async def test_all_can_be_forgotten(tmp_path: Path) -> None:
    cache = on_disk(tmp_path)
    cache.put(KEY, CACHED, WEEK_S, NOW_S)
    await cache.flush()
    cache.put(bytes([1] * 32), CACHED, WEEK_S, NOW_S)
    cache.clear()
    await cache.flush()
    assert await cache.get(KEY, NOW_S) is None
    assert await cache.get(bytes([1] * 32), NOW_S) is None
    await cache.close()


async def test_a_reload_may_give_it_less_room(tmp_path: Path) -> None:
    cache = on_disk(tmp_path)
    for number in range(100):
        body = os.urandom(40_000)
        cache.put(number.to_bytes(32), cached_of(body, created_s=NOW_S), WEEK_S, NOW_S + number)
    await cache.flush()
    cache.reconcile(CachePolicy(max_bytes=1 << 20, stale_s=0.0))
    await cache.flush()
    assert cache.report().memory_bytes <= 1 << 20
    assert sum(path.stat().st_size for path in tmp_path.glob(f"{FILE}*")) <= 1 << 20
    assert await cache.get((99).to_bytes(32), NOW_S) is not None
    assert await cache.get((99).to_bytes(32), NOW_S + 2 * WEEK_S, allow_stale=True) is None
    await cache.close()


async def test_hits_say_what_they_saved(tmp_path: Path) -> None:
    cache = in_memory(memory_bytes=8 * ENTRY_BYTES)
    cache.put(KEY, CACHED, DAY_S, NOW_S)
    await cache.get(KEY, NOW_S)
    await cache.get(KEY, NOW_S + DAY_S, allow_stale=True)
    await cache.get(bytes([1] * 32), NOW_S)
    counts = cache.report().counts
    assert (counts.hits, counts.stale_hits, counts.misses) == (2, 1, 1)
    assert counts.saved_nanos == 2 * 1_076_800


async def test_often_used_answers_outlive_the_others_on_disk(tmp_path: Path) -> None:
    policy = CachePolicy(max_bytes=1 << 20)
    cache = on_disk(tmp_path, policy)
    cache.put(KEY, CACHED, WEEK_S, NOW_S)
    for number in range(1, 400):
        cache.put(number.to_bytes(32), cached_of(os.urandom(9000)), WEEK_S, NOW_S + number)
        if number % 10 == 0:
            assert await cache.get(KEY, NOW_S + number * 360.0) is not None
            await cache.flush()
    assert cache.report().evicted > 0
    await cache.close()
    reopened = on_disk(tmp_path, policy)
    assert await reopened.get(KEY, NOW_S + DAY_S) is not None
    assert await reopened.get((1).to_bytes(32), NOW_S + DAY_S) is None
    await reopened.close()


@pytest.mark.parametrize("persist", [True, False])
def test_putting_needs_no_loop_to_wait_for(persist: bool) -> None:
    assert in_memory().put(KEY, CACHED, DAY_S, NOW_S, persist=persist)
