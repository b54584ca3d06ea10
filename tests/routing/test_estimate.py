from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxyd.routing.estimate import SAMPLED_ABOVE_CHARS, estimate_tokens

ENGLISH = (
    "The proxy keeps two files. One says which providers exist, the other says who may be asked, and in which order. "
    "When you save a change, it is checked as a whole and takes effect between two requests. A request that has begun "
    "is finished with the rules it began with, so nobody sees half a change. If the check finds a mistake, nothing "
    "changes at all: the old rules stay in force, and the message names the file, the line and the way to mend it."
)
GERMAN = (
    "Die Anfrage wird nur dann an einen externen Anbieter weitergeleitet, wenn die Einstufung es erlaubt. Andernfalls "
    "bleibt sie im eigenen Rechenzentrum, auch wenn die Antwort dadurch etwas länger dauert. Änderungen an den Regeln "
    "gelten sofort nach dem Speichern; laufende Übertragungen werden dabei nicht unterbrochen."
)
RUSSIAN = (
    "Запрос отправляется внешнему поставщику только тогда, когда это разрешено правилами. В остальных случаях он "
    "остаётся внутри компании, даже если ответ придётся ждать немного дольше. Изменения вступают в силу сразу."
)
CHINESE = "只有在规则允许的情况下，请求才会发送给外部供应商。否则它会留在公司内部，即使这样需要等待更长的时间。保存之后，新的规则立即生效。"
PYTHON = '''def pick(candidates: list[Candidate], limit: int = 3) -> Candidate | None:
    """Return the cheapest candidate that is not dropped."""
    best = None
    for candidate in candidates[:limit]:
        if candidate.dropped or candidate.price is None:
            continue
        if best is None or candidate.price < best.price:
            best = candidate
    return best
'''
JSON = (
    '{"id": "chatcmpl-9f31", "object": "chat.completion", "created": 1763683200, "model": "gpt-5.6-luna", '
    '"choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello there!"}, "finish_reason": "stop"}], '
    '"usage": {"prompt_tokens": 18, "completion_tokens": 3, "total_tokens": 21}}'
)


# The numbers were counted with the o200k vocabulary.
@pytest.mark.parametrize(
    ("text", "counted"),
    [(ENGLISH, 100), (GERMAN, 65), (RUSSIAN, 47), (CHINESE, 43), (PYTHON, 80), (JSON, 100)],
    ids=["english", "german", "russian", "chinese", "python", "json"],
)
def test_the_estimate_is_within_a_third_of_what_a_tokenizer_counts(text: str, counted: int) -> None:
    assert estimate_tokens(text) == pytest.approx(counted, rel=0.33)


def test_nothing_has_no_tokens_and_anything_has_one() -> None:
    assert estimate_tokens("") == 0
    assert estimate_tokens("a") == 1
    assert estimate_tokens("\ud800") == 1


@given(st.text(st.characters(), max_size=400))
def test_there_are_never_more_tokens_than_bytes(text: str) -> None:
    tokens = estimate_tokens(text)
    assert min(1, len(text)) <= tokens <= len(text.encode("utf-8", "replace"))


def test_a_long_text_is_judged_like_its_parts() -> None:
    repeated = ENGLISH * (4 * SAMPLED_ABOVE_CHARS // len(ENGLISH))
    assert len(repeated) > SAMPLED_ABOVE_CHARS
    parts = estimate_tokens(ENGLISH) * (4 * SAMPLED_ABOVE_CHARS // len(ENGLISH))
    assert estimate_tokens(repeated) == pytest.approx(parts, rel=0.02)


def test_a_long_text_of_two_kinds_is_sampled_all_over() -> None:
    half = 3 * SAMPLED_ABOVE_CHARS
    mixed = (CHINESE * (half // len(CHINESE))) + (ENGLISH * (half // len(ENGLISH)))
    chinese = estimate_tokens(CHINESE) * (half // len(CHINESE))
    english = estimate_tokens(ENGLISH) * (half // len(ENGLISH))
    assert estimate_tokens(mixed) == pytest.approx(chinese + english, rel=0.1)
