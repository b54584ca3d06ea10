from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llmproxyd.cache.memory import ENTRY_BYTES, CacheMemory, Held
from tests.cache.asking import cached_of

ROOM = 8 * ENTRY_BYTES


def held(size_bytes: int = 0) -> Held:
    return Held(cached_of(b"x" * size_bytes), expires_s=1.0, touched_s=0.0)


def test_what_was_asked_for_least_recently_goes_first() -> None:
    memory = CacheMemory(4 * ENTRY_BYTES)
    for name in (b"a", b"b", b"c", b"d"):
        memory.put(name, held())
    assert memory.get(b"a") is not None
    memory.put(b"e", held())
    assert [name for name in (b"a", b"b", b"c", b"d", b"e") if memory.get(name)] == [b"a", b"c", b"d", b"e"]


def test_one_answer_takes_a_quarter_at_most() -> None:
    memory = CacheMemory(ROOM)
    assert memory.put(b"a", held(ENTRY_BYTES))
    assert not memory.put(b"b", held(ENTRY_BYTES + 1))
    assert (memory.get(b"b"), len(memory)) == (None, 1)


def test_an_answer_that_does_not_fit_takes_the_older_one_with_it() -> None:
    memory = CacheMemory(ROOM)
    memory.put(b"a", held())
    memory.put(b"a", held(ROOM))
    assert (memory.get(b"a"), memory.size_bytes) == (None, 0)


steps = st.tuples(
    st.sampled_from(["put", "get", "drop", "resize"]),
    st.sampled_from([b"a", b"b", b"c", b"d", b"e"]),
    st.integers(0, 3 * ENTRY_BYTES),
)


@given(st.lists(steps, max_size=60))
def test_the_bound_is_never_exceeded_and_the_sum_is_right(given_steps: list[tuple[str, bytes, int]]) -> None:
    memory, bound, known = CacheMemory(ROOM), ROOM, {}
    for step, key, size in given_steps:
        if step == "put":
            known[key] = held(size)
            memory.put(key, known[key])
        elif step == "get":
            assert memory.get(key) in (None, known.get(key))
        elif step == "drop":
            memory.drop(key)
        else:
            bound = size
            memory.resize(bound)
        kept = [h for h in map(memory.get, (b"a", b"b", b"c", b"d", b"e")) if h is not None]
        assert memory.size_bytes == sum(h.cost_bytes for h in kept) <= bound
