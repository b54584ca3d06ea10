"""Tokens as models count them: by their own vocabulary where it is public and loaded, else about."""

from __future__ import annotations

import sysconfig
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from splintr import Tokenizer

from llmproxyd.routing import vocabulary
from llmproxyd.routing.estimate import estimate_tokens
from llmproxyd.routing.vocabulary import EXACT_CHARS, Vocabularies, vocabulary_of

KNOWN = "hello world, how many tokens is this?"


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("gpt-4o-mini", "o200k_base"),
        ("gpt-4.1-2025-04-14", "o200k_base"),
        ("gpt-5.6-luna", "o200k_base"),
        ("openai/gpt-oss-120b", "o200k_base"),
        ("o3-mini", "o200k_base"),
        ("o1", "o200k_base"),
        ("gpt-4-turbo", "cl100k_base"),
        ("gpt-3.5-turbo-0125", "cl100k_base"),
        ("text-embedding-3-small", "cl100k_base"),
        ("llama3.2:3b", "llama3"),
        ("meta-llama/Llama-3.1-70B-Instruct", "llama3"),
        ("qwen2.5-coder:7b", "qwen2"),
        ("Qwen/Qwen3-32B", "qwen3"),
        ("deepseek-chat", "deepseek_v3"),
        ("mistral-small-latest", "mistral_v3"),
        ("gemma3:4b", "gemma3"),
        ("claude-sonnet-5", None),
        ("gemini-3-pro", None),
        ("command-a-03-2025", None),
        ("grok-4", None),
        ("oracle-1", None),
        ("", None),
    ],
)
def test_a_model_has_the_vocabulary_of_its_family(model: str, name: str | None) -> None:
    assert vocabulary_of(model) == name


@pytest.mark.parametrize(("_pattern", "name"), vocabulary._FAMILIES)
def test_every_vocabulary_is_one_that_the_library_has(_pattern: str, name: str) -> None:
    assert Tokenizer.from_pretrained(name).encode_ordinary("hello world")


class TestCounts:
    def test_are_exact_for_models_that_are_loaded(self) -> None:
        known = Vocabularies()
        known.load(["gpt-4o", "gpt-4", "claude-sonnet-5"])
        assert known.count("hello world", "gpt-4o") == len([24912, 2375])
        assert known.count("hello world", "gpt-4") == len([15339, 1917])
        assert known.count(KNOWN, "claude-sonnet-5") == estimate_tokens(KNOWN)
        assert known.count(KNOWN, "llama3") == estimate_tokens(KNOWN)

    def test_are_estimated_until_then_and_after_the_model_is_gone(self) -> None:
        text = "naïve façade " * 20
        known = Vocabularies()
        about = estimate_tokens(text)
        assert known.count(text, "gpt-4o") == about
        known.load(["gpt-4o"])
        assert known.count(text, "gpt-4o") != about
        known.load(["llama3"])
        assert known.count(text, "gpt-4o") == about

    def test_are_estimated_for_endless_texts(self) -> None:
        known = Vocabularies()
        known.load(["gpt-4o"])
        text = "naïve façade " * EXACT_CHARS
        assert known.count(text, "gpt-4o") == estimate_tokens(text)

    def test_take_control_tokens_for_text(self) -> None:
        known = Vocabularies()
        known.load(["gpt-4o"])
        assert known.count("<|endoftext|>", "gpt-4o") > 1

    @given(st.text(max_size=200))
    def test_exist_for_any_text(self, text: str) -> None:
        assert 0 <= LOADED.count(text, "gpt-4o") <= 4 * len(text)

    def test_exist_for_half_a_surrogate_pair(self) -> None:
        assert LOADED.count("a\ud800b", "gpt-4o") >= 1


LOADED = Vocabularies()
LOADED.load(["gpt-4o"])


class TestWithoutTheLibrary:
    def test_everything_is_estimated(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Vocabularies, "installed", staticmethod(lambda: False))
        known = Vocabularies()
        known.load(["gpt-4o"])
        assert known.count(KNOWN, "gpt-4o") == estimate_tokens(KNOWN)

    def test_a_library_that_fails_is_no_reason_to_fail(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def broken(name: str) -> Tokenizer:
            raise RuntimeError(name)

        monkeypatch.setattr(Tokenizer, "from_pretrained", broken)
        known = Vocabularies()
        known.load(["gpt-4o"])
        assert known.count(KNOWN, "gpt-4o") == estimate_tokens(KNOWN)


def test_the_estimate_is_as_near_as_it_says() -> None:
    """On sources it was not fitted to: half of the modules of the standard library, the first 8 KB of each."""
    directory = Path(sysconfig.get_path("stdlib"))
    pieces = [path.read_text(errors="replace")[:8000] for path in sorted(directory.glob("*.py"))[::2]]
    errors = [abs(estimate_tokens(piece) / LOADED.count(piece, "gpt-4o") - 1) for piece in pieces if piece]
    assert len(errors) > 50
    assert sum(errors) / len(errors) < 0.15
    assert sorted(errors)[int(0.95 * len(errors))] < 0.30
