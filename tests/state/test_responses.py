from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llmproxyd.state.responses import ENTRY_BYTES, ResponseMemory
from llmproxyd.values.stored import ResponseStore, StoredResponse


def stored(name: str, owner: str = "alice", size: int = 100) -> StoredResponse:
    return StoredResponse(name, owner, b"r" * (size // 2), b"i" * (size - size // 2))


def test_what_was_put_is_found_until_its_time_is_over() -> None:
    memory: ResponseStore = ResponseMemory(ttl_s=60)
    assert memory.put(stored("resp_1"), now_s=100)
    assert memory.get("resp_1", "alice", now_s=159.9) == stored("resp_1")
    assert memory.get("resp_1", "alice", now_s=160) is None


def test_being_asked_for_does_not_make_an_entry_live_longer() -> None:
    memory = ResponseMemory(ttl_s=60)
    memory.put(stored("resp_1"), now_s=0)
    for now_s in range(60):
        assert memory.get("resp_1", "alice", now_s)
    assert memory.get("resp_1", "alice", 60) is None
    assert (len(memory), memory.size_bytes) == (0, 0)


def test_another_owner_sees_and_deletes_nothing() -> None:
    memory = ResponseMemory()
    memory.put(stored("resp_1"), now_s=0)
    assert memory.get("resp_1", "bob", 0) is None
    assert not memory.delete("resp_1", "bob", 0)
    memory.put(stored("resp_1", "bob", 7), now_s=0)
    assert memory.get("resp_1", "alice", 0) == stored("resp_1")


def test_deleting_says_whether_there_was_something() -> None:
    memory = ResponseMemory(ttl_s=60)
    memory.put(stored("resp_1"), now_s=0)
    assert memory.delete("resp_1", "alice", 0)
    assert not memory.delete("resp_1", "alice", 0)
    memory.put(stored("resp_1"), now_s=0)
    assert not memory.delete("resp_1", "alice", 60)


def test_what_was_asked_for_least_recently_goes_first() -> None:
    memory = ResponseMemory(max_count=2)
    memory.put(stored("a"), 0)
    memory.put(stored("b"), 0)
    memory.get("a", "alice", 0)
    memory.put(stored("c"), 0)
    assert [name for name in "abc" if memory.get(name, "alice", 0)] == ["a", "c"]


def test_one_that_is_larger_than_all_the_room_is_not_kept_and_drives_out_nobody() -> None:
    memory = ResponseMemory(max_bytes=2 * ENTRY_BYTES)
    memory.put(stored("a"), 0)
    assert not memory.put(stored("b", size=2 * ENTRY_BYTES), 0)
    assert memory.get("a", "alice", 0)


def test_the_same_id_replaces_what_was_there() -> None:
    memory = ResponseMemory(ttl_s=60)
    memory.put(stored("a", size=10), 0)
    memory.put(stored("a", size=20), 30)
    assert memory.get("a", "alice", 89) == stored("a", size=20)
    assert (len(memory), memory.size_bytes) == (1, 20 + ENTRY_BYTES)


_STEPS = st.lists(
    st.tuples(
        st.sampled_from(["put", "get", "delete"]),
        st.sampled_from("abcdef"),
        st.sampled_from(["alice", "bob"]),
        st.integers(0, 1500),
        st.integers(0, 20),
    ),
    max_size=60,
)


@given(_STEPS)
def test_no_bound_is_ever_exceeded_and_the_size_is_always_right(
    steps: list[tuple[str, str, str, int, int]],
) -> None:
    memory = ResponseMemory(max_bytes=4000, max_count=4, ttl_s=50)
    put_s: dict[tuple[str, str], tuple[float, StoredResponse]] = {}
    now_s = 0
    for action, name, owner, size, wait_s in steps:
        now_s += wait_s
        key = (owner, name)
        if action == "put":
            put_s.pop(key, None)
            if memory.put(stored(name, owner, size), now_s):
                put_s[key] = (now_s, stored(name, owner, size))
        elif action == "delete":
            memory.delete(name, owner, now_s)
            put_s.pop(key, None)
        else:
            found = memory.get(name, owner, now_s)
            assert found is None or (found == put_s[key][1] and now_s - put_s[key][0] < 50)
        assert len(memory) <= 4
        assert memory.size_bytes <= 4000
    alive = [found for owner, name in put_s if (found := memory.get(name, owner, now_s)) is not None]
    assert memory.size_bytes == sum(entry.size_bytes + ENTRY_BYTES for entry in alive)
