from __future__ import annotations

from llmproxyd.state.changes import HealthChange
from llmproxyd.state.registry import CREDENTIALS_QUARANTINED, CredentialReport, Outcome, Registry
from llmproxyd.values.failure import Failure, FailureKind
from llmproxyd.values.secret import Secret
from llmproxyd.values.snapshot import Credential, Deployment, Zone
from tests.routing.build import deployment, provider, snapshot

FIRST, SECOND, THIRD = (Credential(Secret(f"sk-{n}"), f"env:KEY_{n}") for n in (1, 2, 3))
DENIED = Failure(FailureKind.PROVIDER_DENIED, "denied", status=401)
FORBIDDEN = Failure(FailureKind.PROVIDER_DENIED, "denied", status=403)
GOOD = Outcome(True, None, 0.1, 1.0)


def owned(*keys: Credential, name: str = "openai/gpt") -> Deployment:
    secret = keys[0].secret if keys else None
    return deployment(name, provider("openai", secret=secret, credentials=keys))


class Desk:
    """A registry with one deployment in force, and what it told."""

    def __init__(self, *deployments: Deployment, today: str = "2026-06-01") -> None:
        self.day = today
        self.told: list[HealthChange] = []
        self.registry = Registry(tell=self.told.append, jitter=lambda: 0.5, today=lambda: self.day)
        self.registry.reconcile(snapshot(*deployments), 0.0)

    def key(self, one: Deployment, now_s: float) -> str:
        """The key it would be called with; the reason if it would not."""
        refused = self.registry.refusal(one, now_s)
        if refused is not None:
            return str(refused.code)
        secret = self.registry.with_key(one).provider.secret
        return secret.reveal() if secret else ""

    def deny(self, one: Deployment, now_s: float, failure: Failure = DENIED) -> bool:
        keyed = self.registry.with_key(one)
        self.registry.started(keyed, now_s)
        left = self.registry.denied(keyed, failure, now_s)
        self.registry.ended(keyed, Outcome(False, failure, None, 0.1), now_s)
        return left

    def answer(self, one: Deployment, now_s: float) -> None:
        self.registry.refusal(one, now_s)
        keyed = self.registry.with_key(one)
        self.registry.started(keyed, now_s)
        self.registry.ended(keyed, GOOD, now_s)

    def keys(self, one: Deployment, now_s: float) -> tuple[CredentialReport, ...]:
        (report,) = self.registry.report(snapshot(one), now_s, 1_000_000.0 + now_s)
        return report.credentials


class TestQuarantine:
    def test_the_first_key_is_used_and_costs_nothing(self) -> None:
        one = owned(FIRST, SECOND)
        assert Desk(one).registry.with_key(one) is one

    def test_a_denied_key_gives_way_to_the_next(self) -> None:
        one = owned(FIRST, SECOND)
        desk = Desk(one)
        assert desk.deny(one, 10.0)
        assert desk.key(one, 10.0) == "sk-2"
        assert desk.registry.with_key(one) is desk.registry.with_key(one)

    def test_sisters_share_the_key_and_the_provider_made_with_it(self) -> None:
        account = provider("openai", secret=FIRST.secret, credentials=(FIRST, SECOND))
        one, two = deployment("openai/one", account), deployment("openai/two", account)
        desk = Desk(one, two)
        desk.deny(one, 10.0)
        assert desk.key(two, 10.0) == "sk-2"
        assert desk.registry.with_key(one).provider is desk.registry.with_key(two).provider

    def test_when_all_are_denied_nobody_is_called_until_the_first_may_be_tried_again(self) -> None:
        one = owned(FIRST, SECOND)
        desk = Desk(one)
        desk.deny(one, 10.0)
        assert not desk.deny(one, 20.0)
        refused = desk.registry.refusal(one, 110.0, force=True)
        assert refused is not None
        assert (refused.kind, refused.code) == (FailureKind.PROVIDER_DENIED, CREDENTIALS_QUARANTINED)
        assert refused.retry_after_s == 200.0
        assert desk.key(one, 310.0) == "sk-1"

    def test_a_quarantine_doubles_up_to_an_hour(self) -> None:
        one = owned(FIRST)
        desk, now_s = Desk(one), 0.0
        for _ in range(6):
            desk.deny(one, now_s)
            now_s += desk.told[-1].for_s or 0.0
        assert [change.for_s for change in desk.told] == [300.0, 600.0, 1200.0, 2400.0, 3600.0, 3600.0]

    def test_calls_that_were_under_way_do_not_lengthen_it(self) -> None:
        one = owned(FIRST, SECOND)
        desk = Desk(one)
        for now_s in (10.0, 10.1, 10.2):
            assert desk.registry.denied(one, DENIED, now_s)
        assert len(desk.told) == 1
        assert desk.key(one, 310.0) == "sk-1"

    def test_an_answer_after_it_restores_the_key(self) -> None:
        one = owned(FIRST, SECOND)
        desk = Desk(one)
        desk.deny(one, 10.0)
        desk.answer(one, 400.0)
        assert [change.kind for change in desk.told] == ["credential_quarantined", "credential_restored"]
        desk.deny(one, 500.0)
        assert desk.told[-1].for_s == 300.0

    def test_an_answer_to_another_key_does_not(self) -> None:
        one = owned(FIRST, SECOND)
        desk = Desk(one)
        desk.deny(one, 10.0)
        desk.answer(one, 20.0)
        assert desk.key(one, 20.0) == "sk-2"

    def test_a_provider_that_wants_a_key_and_has_none_is_left_alone_too(self) -> None:
        one = owned()
        desk = Desk(one)
        assert not desk.deny(one, 10.0)
        assert desk.key(one, 20.0) == CREDENTIALS_QUARANTINED
        assert "set `api_key`" in desk.told[0].help


class TestForbidden:
    def test_a_forbidden_model_does_not_put_out_its_sisters(self) -> None:
        account = provider("openai", secret=FIRST.secret, credentials=(FIRST,))
        one, two = deployment("openai/one", account), deployment("openai/two", account)
        desk = Desk(one, two)
        assert not desk.deny(one, 10.0, FORBIDDEN)
        assert desk.key(one, 10.0) == CREDENTIALS_QUARANTINED
        assert desk.key(two, 10.0) == "sk-1"
        (report,) = desk.registry.report(snapshot(one, two), 10.0, 10.0)
        assert report.credentials[0].state == "restricted"
        assert "openai/one" in report.credentials[0].help
        assert desk.told[0].subject == "openai/one"

    def test_another_key_may_be_allowed(self) -> None:
        one = owned(FIRST, SECOND)
        desk = Desk(one)
        assert desk.deny(one, 10.0, FORBIDDEN)
        assert desk.key(one, 10.0) == "sk-2"


class TestReload:
    def test_a_quarantine_survives_it(self) -> None:
        one = owned(FIRST, SECOND)
        desk = Desk(one)
        desk.deny(one, 10.0)
        desk.registry.reconcile(snapshot(owned(FIRST, SECOND)), 11.0)
        assert desk.key(one, 12.0) == "sk-2"

    def test_a_changed_key_is_a_new_key(self) -> None:
        desk = Desk(owned(FIRST))
        desk.deny(owned(FIRST), 10.0)
        changed = owned(Credential(THIRD.secret, FIRST.name))
        desk.registry.reconcile(snapshot(changed), 11.0)
        assert desk.key(changed, 11.0) == "sk-3"

    def test_a_refused_key_that_was_removed_is_forgotten(self) -> None:
        desk = Desk(owned(FIRST, SECOND))
        desk.deny(owned(FIRST, SECOND), 10.0)
        desk.registry.reconcile(snapshot(owned(SECOND)), 11.0)
        desk.registry.reconcile(snapshot(owned(FIRST)), 12.0)
        assert desk.key(owned(FIRST), 13.0) == "sk-1"

    def test_a_provider_that_was_removed_meanwhile_leaves_nothing(self) -> None:
        one = owned(FIRST, SECOND)
        desk = Desk(one)
        desk.registry.reconcile(snapshot(deployment("lab/m", provider("lab", Zone.LOCAL))), 1.0)
        assert not desk.registry.denied(one, DENIED, 2.0)
        assert desk.told == []


class TestExpiry:
    OLD = Credential(Secret("sk-old"), "env:OLD", until="2026-06-02")

    def test_a_key_is_used_until_its_day_and_not_on_it(self) -> None:
        one = owned(self.OLD, SECOND)
        desk = Desk(one)
        assert desk.key(one, 1.0) == "sk-old"
        desk.day = "2026-06-02"
        assert desk.key(one, 2.0) == "sk-2"

    def test_when_all_are_past_their_day_nobody_is_called(self) -> None:
        one = owned(self.OLD)
        desk = Desk(one, today="2026-07-01")
        refused = desk.registry.refusal(one, 1.0)
        assert refused is not None
        assert (refused.code, refused.retry_after_s) == (CREDENTIALS_QUARANTINED, None)

    def test_the_day_is_told_in_unix_time(self) -> None:
        one = owned(self.OLD)
        (key,) = Desk(one).keys(one, 1.0)
        assert (key.state, key.until) == ("ready", 1_780_358_400.0)
        (key,) = Desk(one, today="2026-06-02").keys(one, 1.0)
        assert key.state == "expired"
        assert "env:OLD" in key.help


class TestReports:
    def test_every_key_is_told_by_name_with_what_to_do(self) -> None:
        one = owned(FIRST, SECOND)
        desk = Desk(one)
        desk.deny(one, 10.0)
        first, second = desk.keys(one, 20.0)
        assert (first.name, first.state, first.until) == ("env:KEY_1", "quarantined", 1_000_310.0)
        assert "renew the key" in first.help
        assert second == CredentialReport("env:KEY_2", "ready", None, "")
        assert desk.keys(one, 400.0)[0].state == "on trial"

    def test_a_provider_none_of_whose_keys_may_be_used_is_failing(self) -> None:
        one = owned(FIRST)
        desk = Desk(one)
        desk.deny(one, 10.0)
        (report,) = desk.registry.report(snapshot(one), 20.0, 20.0)
        assert report.state == "failing"
        assert "`openai` refused env:KEY_1" in report.reason

    def test_no_key_is_ever_told(self) -> None:
        one = owned(FIRST, TestExpiry.OLD)
        desk = Desk(one)
        desk.deny(one, 10.0)
        desk.deny(one, 10.0, FORBIDDEN)
        text = repr(
            (desk.told, desk.registry.report(snapshot(one), 20.0, 20.0), desk.registry.refusal(one, 20.0))
        )
        assert "sk-" not in text

    def test_a_provider_without_keys_tells_none(self) -> None:
        one = owned()
        assert Desk(one).keys(one, 1.0) == ()
