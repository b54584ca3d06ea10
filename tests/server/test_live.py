from __future__ import annotations

import asyncio

from llmproxyd.server.live import Channel


async def followed(channel: Channel, after: int = -1) -> bytes:
    return b"".join([piece async for piece in channel.follow(after, ping_s=5)])


async def test_every_reader_sees_all_of_it_whenever_it_comes() -> None:
    channel = Channel()
    channel.put([(0, b"a"), (1, b"b")])
    early = asyncio.ensure_future(followed(channel))
    middle = asyncio.ensure_future(followed(channel, 0))
    await asyncio.sleep(0)
    channel.put([(2, b"c")])
    await asyncio.sleep(0)
    channel.put([(3, b"d")])
    channel.close()
    assert (await early, await middle) == (b"abcd", b"bcd")
    assert await followed(channel, 2) == b"d"
    assert channel.joined() == b"abcd"


async def test_silence_is_filled_with_signs_of_life() -> None:
    following = Channel().follow(-1, ping_s=0.001)
    assert await anext(following) == b""
    await following.aclose()


def test_numbers_go_on_from_the_first() -> None:
    channel = Channel(5000)
    assert (channel.empty, channel.next_number) == (True, 5000)
    channel.put([(5000, b"a")])
    assert (channel.empty, channel.next_number) == (False, 5001)
