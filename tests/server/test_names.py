"""Models as three kinds of clients ask for them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from yarl import URL

from llmproxyd.server.names import NameViews, client_of
from llmproxyd.values.snapshot import TargetKind
from tests.routing.build import deployment, snapshot, target
from tests.server.door import listening
from tests.server.values import in_force

ANTHROPIC = {"anthropic-version": "2023-06-01"}
GEMINI = {"x-goog-api-key": "anything"}


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    fast, slow = deployment("openai/fast"), deployment("openai/slow")
    names = [target("smart", TargetKind.SET, fast, slow), target("fast", TargetKind.MODEL, fast)]
    views = NameViews(in_force(snapshot(fast, slow, targets=names)))
    exact = {("GET", path): views.listed for path in ("/v1/models", "/anthropic/v1/models", "/v1beta/models")}
    singles = {
        ("GET", f"{prefix}/models/{name}"): views.one
        for prefix in ("/v1", "/anthropic/v1", "/v1beta")
        for name in ("smart", "openai%2Ffast", "openai/fast", "nobody", "%ff")
    }
    async with (
        listening({**exact, **singles}) as (_, port),
        aiohttp.ClientSession(base_url=f"http://127.0.0.1:{port}") as made,
    ):
        yield made


async def get(
    session: aiohttp.ClientSession, path: str, headers: dict[str, str] | None = None
) -> tuple[int, Any]:
    url = URL(path, encoded=True)
    async with session.get(url, headers=headers) as response:
        assert response.headers["cache-control"] == "no-store"
        return response.status, json.loads(await response.read())


class TestTheList:
    async def test_is_openais_unless_something_says_otherwise(self, session: aiohttp.ClientSession) -> None:
        status, told = await get(session, "/v1/models")
        assert status == 200
        assert told["object"] == "list"
        assert "smart" in {model["id"] for model in told["data"]}

    @pytest.mark.parametrize(
        ("path", "headers"),
        [("/v1/models", ANTHROPIC), ("/anthropic/v1/models", {})],
    )
    async def test_is_anthropics_for_its_clients(
        self, session: aiohttp.ClientSession, path: str, headers: dict[str, str]
    ) -> None:
        _, told = await get(session, path, headers)
        assert {model["type"] for model in told["data"]} == {"model"}
        assert "has_more" in told

    @pytest.mark.parametrize(
        ("path", "headers"),
        [
            ("/v1beta/models", {}),
            ("/v1/models", GEMINI),
            ("/v1/models?key=x", {}),
            ("/v1/models?a=b&key=x", {}),
        ],
    )
    async def test_is_googles_for_its_clients(
        self, session: aiohttp.ClientSession, path: str, headers: dict[str, str]
    ) -> None:
        _, told = await get(session, path, headers)
        assert "models/smart" in {model["name"] for model in told["models"]}

    async def test_refuses_a_page_that_makes_no_sense(self, session: aiohttp.ClientSession) -> None:
        status, told = await get(session, "/v1beta/models?pageSize=many")
        assert status == 400
        assert told["error"]["status"] == "INVALID_ARGUMENT"


class TestOneModel:
    @pytest.mark.parametrize("name", ["smart", "openai%2Ffast", "openai/fast"])
    async def test_is_told_in_each_form(self, session: aiohttp.ClientSession, name: str) -> None:
        wanted = name.replace("%2F", "/")
        assert (await get(session, f"/v1/models/{name}"))[1]["id"] == wanted
        assert (await get(session, f"/anthropic/v1/models/{name}"))[1]["id"] == wanted
        assert (await get(session, f"/v1beta/models/{name}"))[1]["name"] == f"models/{wanted}"

    @pytest.mark.parametrize("name", ["nobody", "%ff"])
    async def test_that_does_not_exist_is_refused_in_each_form(
        self, session: aiohttp.ClientSession, name: str
    ) -> None:
        status, told = await get(session, f"/v1/models/{name}")
        assert (status, told["error"]["code"]) == (404, "model_not_found")
        status, told = await get(session, f"/v1/models/{name}", ANTHROPIC)
        assert (status, told["error"]["type"]) == (404, "not_found_error")
        status, told = await get(session, f"/v1beta/models/{name}")
        assert (status, told["error"]["status"]) == (404, "NOT_FOUND")


def test_the_path_says_more_than_the_headers() -> None:
    class Asked:
        headers = ANTHROPIC
        raw_path = "/v1beta/models"

    assert client_of(Asked()) == "gemini"  # type: ignore[arg-type]
