"""Who may knock: Host, Origin and the declared type of a body."""

from __future__ import annotations

from typing import Any

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from llmproxyd.server.admission import Admission, Refusal, allowed_hosts, check_json

ADMISSION = Admission(
    allowed_hosts([8400], ["llm.example", "10.0.0.7:9000"]), frozenset({"http://ui.example"})
)


def headers(*pairs: tuple[str, str], **named: str) -> CIMultiDictProxy[str]:
    made: CIMultiDict[str] = CIMultiDict(pairs)
    for name, value in named.items():
        made[name.replace("_", "-")] = value
    return CIMultiDictProxy(made)


def check(local: bool = False, **named: str) -> Refusal | None:
    return ADMISSION.check(headers(**{"host": "localhost:8400", **named}), local=local)


class TestHost:
    @pytest.mark.parametrize(
        "host",
        [
            "localhost:8400",
            "127.0.0.1:8400",
            "[::1]:8400",
            "LocalHost:8400",
            "llm.example",
            "llm.example:8400",
            "LLM.example",
            "10.0.0.7:9000",
        ],
    )
    def test_our_names_and_the_operators_are_served(self, host: str) -> None:
        assert check(host=host) is None

    @pytest.mark.parametrize(
        "host",
        ["evil.example", "localhost", "localhost:80", "localhost:8401", "llm.example:9000", "10.0.0.7", ""],
    )
    def test_others_are_not(self, host: str) -> None:
        """A page that rebinds its own name to this address comes with that name."""
        refusal = check(host=host)
        assert refusal is not None
        assert refusal.status == 421
        assert refusal.close
        assert "--allow-host" in refusal.failure.message

    def test_port_80_goes_without_saying(self) -> None:
        assert {"localhost", "127.0.0.1", "[::1]"} <= allowed_hosts([80], ())

    def test_a_name_with_its_port_stands_for_that_port_alone(self) -> None:
        hosts = allowed_hosts([8400], ["[fd00::1]:9000", "[fd00::2]"])
        assert "[fd00::1]:9000" in hosts
        assert "[fd00::1]:8400" not in hosts
        assert {"[fd00::2]", "[fd00::2]:8400"} <= hosts

    def test_two_are_refused(self) -> None:
        two = headers(("Host", "localhost:8400"), ("Host", "evil.example"))
        for local in (True, False):
            refusal = ADMISSION.check(two, local=local)
            assert refusal is not None
            assert refusal.status == 400

    def test_none_is_refused_over_tcp_and_passes_on_the_unix_socket(self) -> None:
        refusal = ADMISSION.check(headers(), local=False)
        assert refusal is not None
        assert refusal.status == 400
        assert ADMISSION.check(headers(), local=True) is None
        assert check(local=True, host="whatever") is None

    def test_a_long_one_is_not_repeated_in_full(self) -> None:
        refusal = check(host="x" * 5000)
        assert refusal is not None
        assert len(refusal.failure.message) < 250


class TestOrigin:
    def test_absent_or_allowed_passes(self) -> None:
        assert check() is None
        assert check(origin="http://ui.example") is None
        assert check(origin="http://ui.example", sec_fetch_site="cross-site") is None

    @pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://ui.example:81", ""])
    @pytest.mark.parametrize("local", [True, False])
    def test_another_is_refused(self, origin: str, local: bool) -> None:
        refusal = check(local, origin=origin)
        assert refusal is not None
        assert refusal.status == 403
        assert "--allow-origin" in refusal.failure.message

    def test_a_page_of_another_site_without_one_is_refused(self) -> None:
        refusal = check(sec_fetch_site="cross-site")
        assert refusal is not None
        assert refusal.failure.code == "cross_site"

    @pytest.mark.parametrize("site", ["same-origin", "none"])
    def test_our_own_pages_pass(self, site: str) -> None:
        assert check(sec_fetch_site=site) is None


class TestJSON:
    @pytest.mark.parametrize(
        "declared", ["application/json", "Application/JSON", "application/json; charset=utf-8"]
    )
    def test_is_declared(self, declared: str) -> None:
        assert check_json(headers(content_type=declared)) is None

    @pytest.mark.parametrize(
        "declared", ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", "", None]
    )
    def test_or_refused_since_any_page_could_send_it(self, declared: str | None) -> None:
        given: dict[str, Any] = {} if declared is None else {"content_type": declared}
        failure = check_json(headers(**given))
        assert failure is not None
        assert failure.client_status == 415
        assert "application/json" in failure.message
