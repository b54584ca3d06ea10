from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llmproxyd.adapters.carried import MAX_TOLD, Losses, foreign_fields, not_carried
from llmproxyd.values.request import Chat, Dialect, Embed, Sampling

OWN = Dialect.ANTHROPIC_MESSAGES


def test_a_warning_names_field_target_and_reason() -> None:
    assert not_carried("seed", OWN) == "seed: not carried to anthropic-messages"
    assert not_carried("seed", OWN, "unknown") == "seed: not carried to anthropic-messages (unknown)"


@given(st.text(max_size=200), st.text(max_size=20))
def test_a_warning_is_always_one_line_of_ascii(field: str, why: str) -> None:
    text = not_carried(field, OWN, why)
    assert text.isascii()
    assert text.isprintable()
    assert len(text) < 150


def test_fields_of_the_targets_own_dialect_are_carried() -> None:
    chat = Chat(
        (),
        extras={OWN: {"speed": "fast"}, Dialect.OPENAI_CHAT: {"verbosity": "low", "audio": {"voice": "x"}}},
    )
    assert list(foreign_fields(chat, OWN)) == [
        "verbosity: not carried to anthropic-messages",
        "audio.voice: not carried to anthropic-messages",
    ]


def test_there_is_an_end_to_what_is_told() -> None:
    chat = Chat(
        (), extras={Dialect.OPENAI_CHAT: {f"x{n}": n for n in range(1000)}}, left_out=("document.context",)
    )
    told = list(foreign_fields(chat, OWN))
    assert len(told) == MAX_TOLD + 1
    assert told[-1] == "985 more fields: not carried to anthropic-messages"


def test_losses_are_told_once_in_the_order_met_after_what_is_foreign() -> None:
    losses = Losses(Embed(("a",), extras={Dialect.OPENAI_CHAT: {"truncate": "END"}}), OWN)
    losses.note("citations")
    losses.note_given(Sampling(seed=7, temperature=0), "seed", "logit_bias")
    losses.note("citations")
    assert [text.partition(":")[0] for text in losses.texts()] == ["truncate", "citations", "seed"]
