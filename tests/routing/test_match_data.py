"""Conditions on what was found in a request."""

from __future__ import annotations

import pytest

from llmproxyd.routing.match import Facts, compile_condition
from llmproxyd.values.plan import Question
from llmproxyd.values.privacy import NOTHING_FOUND, Finding, Found, Scan
from llmproxyd.values.snapshot import Holds, Not

CARD = Scan((Found("messages[0].content", Finding("payment_card", 0, 16, "finance")),))
SSN = Scan((Found("messages[0].content", Finding("national_id.us_ssn", 0, 11, "numbers")),))


@pytest.mark.parametrize(
    ("kinds", "scan", "expected"),
    [
        (("payment_card",), CARD, True),
        (("pii",), CARD, True),
        (("email", "hard"), CARD, True),
        (("email", "national_id"), CARD, False),
        (("national_id",), SSN, True),
        (("national_id.us_ssn",), SSN, True),
        (("national_id.uk_nhs",), SSN, False),
        (("pii",), NOTHING_FOUND, False),
        (("email",), Scan(failed="a detector broke"), True),
        (("email",), Scan(unscanned=frozenset({"image"})), False),
    ],
)
def test_data_of_one_of_the_kinds_was_found(kinds: tuple[str, ...], scan: Scan, expected: bool) -> None:
    facts = Facts(Question("auto", scan=scan), 1, "internal")
    assert compile_condition(Holds(kinds))(facts) is expected
    assert compile_condition(Not(Holds(kinds)))(facts) is not expected
