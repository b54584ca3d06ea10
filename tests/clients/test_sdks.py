"""What the vendors' SDKs were recorded to send, before every kind of provider; the answers go back into the SDKs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.clients.record import VENDORS, record
from tests.clients.saying import heard, name_model, say
from tests.clients.vendor import Vendor
from tests.clients.wire import Answered, Recorded, load, send
from tests.matrix.clients import CLIENTS
from tests.matrix.rig import Rig
from tests.matrix.scene import OSLO, QUESTION, RESULT_FIELD, TEXT, TOOL, Heard, Said, Wish, leaves
from tests.matrix.upstreams import UPSTREAMS
from tests.programs import skip

OTHERS = ("compatible", "anthropic_messages", "gemini_generate", "ollama_chat")
CELLS = [(sdk, provider) for sdk, own in VENDORS.items() for provider in dict.fromkeys((own, *OTHERS))]
EVERY_CELL = pytest.mark.parametrize(("sdk", "provider"), CELLS, ids=map("-".join, CELLS))


@pytest.fixture(scope="module")
def vendor() -> Iterator[Vendor]:
    with Vendor() as vendor:
        yield vendor


def read(vendor: Vendor, sdk: str, answered: Answered, wish: Wish) -> Heard:
    """The SDK's own reading of an answer; its client checks every event strictly."""
    assert answered.status == 200, answered.body
    vendor.answer = answered
    client = CLIENTS[sdk](vendor.url)
    try:
        return client.ask(wish)
    finally:
        client.close()


@EVERY_CELL
def test_a_tool_call_and_its_result(rig: Rig, vendor: Vendor, sdk: str, provider: str) -> None:
    model = name_model(provider)
    wish = Wish(model, stream=True, tools=True)
    say(rig, provider, Said((), "", (OSLO,)))
    first = read(vendor, sdk, send(rig.url, load(f"sdk_{sdk}/opening").for_model(model)), wish)
    assert first.calls == ((TOOL, {"city": "Oslo"}),)
    assert not first.stopped
    assert {QUESTION, TOOL, "unit"} <= set(leaves(heard(rig, provider)))

    say(rig, provider, Said((TEXT[:6], TEXT[6:])))
    second = read(vendor, sdk, send(rig.url, load(f"sdk_{sdk}/result").for_model(model)), wish)
    assert (second.text, second.calls, second.stopped) == (TEXT, (), True)
    assert second.tokens is not None
    told = list(leaves(heard(rig, provider)))
    assert told.index(QUESTION) < told.index("Oslo") < told.index(RESULT_FIELD)


@pytest.mark.parametrize(("sdk", "provider"), VENDORS.items())
@pytest.mark.parametrize("turn", ["opening", "result"])
def test_a_vendor_hears_its_own_sdk_unchanged(rig: Rig, sdk: str, provider: str, turn: str) -> None:
    say(rig, provider, Said((TEXT,)))
    recorded = load(f"sdk_{sdk}/{turn}")
    send(rig.url, recorded.for_model(name_model(provider)))
    model = {} if sdk == "gemini" else {"model": UPSTREAMS[provider].model}
    assert heard(rig, provider) == {**recorded.json, **model}


@pytest.mark.parametrize("sdk", VENDORS)
def test_the_recordings_are_what_the_installed_sdks_send(sdk: str) -> None:
    """Where another version is installed, the recording stands for the one that it was made with."""
    for turn, sent in zip(("opening", "result"), record(sdk), strict=True):
        recorded = load(f"sdk_{sdk}/{turn}")
        if user_agent(sent) != user_agent(recorded):
            skip(f"recorded with {user_agent(recorded)}, installed is {user_agent(sent)}")
        assert essence(sent) == essence(recorded), "run: python -m tests.clients.record"


def user_agent(recorded: Recorded) -> str:
    return next(value for name, value in recorded.headers if name.lower() == "user-agent")


def essence(recorded: Recorded) -> object:
    same = recorded.for_model("any-model")
    return same.method, same.target, [name for name, _ in same.headers], same.json
