"""The pages of providers: each says what is lost on the way there and how to test it, and what it says is so."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any

import pytest

from llmproxyd.adapters import ADAPTERS
from llmproxyd.config.presets import PRESETS, Preset
from llmproxyd.surfaces import SURFACES
from llmproxyd.values.contracts import BadRequest
from llmproxyd.values.request import Dialect, Overrides
from llmproxyd.values.secret import Secret
from llmproxyd.values.snapshot import Deployment, Provider, Zone
from tests.docs.markdown import ROOT, blocks

PAGES = ROOT / "docs" / "providers"
ROWS = {preset.name: preset for preset in PRESETS.values()}
LOST = "## What is lost on the way"
OPENAI, ANTHROPIC = "/v1/chat/completions", "/v1/messages"
FUNCTION = {"name": "f", "description": "d", "parameters": {"type": "object", "properties": {"a": {}}}}
ASKED = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}

# Each is one field that some provider cannot be given, as a client would send it.
FIELDS: dict[str, dict[str, Any]] = {
    "seed": {"seed": 7},
    "frequency_penalty": {"frequency_penalty": 0.5},
    "presence_penalty": {"presence_penalty": 0.5},
    "logit_bias": {"logit_bias": {"5": 1}},
    "logprobs": {"logprobs": True},
    "top_logprobs": {"logprobs": True, "top_logprobs": 2},
    "top_k": {"top_k": 5},
    "user": {"user": "u"},
    "metadata": {"metadata": {"a": "b"}},
    "service_tier": {"service_tier": "scale"},
    "parallel_tool_calls": {
        "tools": [{"type": "function", "function": FUNCTION}],
        "parallel_tool_calls": False,
    },
    "tools.strict": {"tools": [{"type": "function", "function": {**FUNCTION, "strict": True}}]},
    "tool_choice": {"tools": [{"type": "function", "function": FUNCTION}], "tool_choice": "required"},
    "messages.name": {"messages": [{"role": "user", "content": "hi", "name": "Ada"}]},
}
REFUSED: dict[str, dict[str, Any]] = {
    "n": {"n": 2},
    "stop": {"stop": ["a", "b", "c", "d", "e", "f"]},
    "response_format": {
        "response_format": {"type": "json_object"},
        "tools": [{"type": "function", "function": FUNCTION}],
    },
}


@cache
def page(name: str) -> str:
    return (PAGES / f"{name}.md").read_text(encoding="utf-8")


@cache
def lost(name: str) -> dict[str, str]:
    """The first table of the section, first cell -> second."""
    section = page(name).split(LOST)[1].split("\n## ")[0]
    table = section.split("|---|---|\n")[1].split("\n\n")[0]
    return {first.strip(): rest.strip() for first, rest in re.findall(r"^\| (.+?) \| (.+) \|$", table, re.M)}


def told_of(name: str, field: str) -> str | None:
    """What the page says of ``field``: by its name, with or without the place where it stands."""
    rows = lost(name).items()
    plain = field.rpartition(".")[2]
    wanted = re.compile(rf"`[^`]*\b{re.escape(plain)}\b[^`]*`")
    return next((rest for first, rest in rows if wanted.search(first)), None)


def call(preset: Preset, fields: dict[str, Any]) -> tuple[str, ...]:
    """The warnings for such a request of an OpenAI client. Raises BadRequest where it is refused."""
    provider = Provider(
        preset.name,
        preset.name,
        preset.dialect,
        preset.endpoint or "http://127.0.0.1:9",
        Zone.EXTERNAL,
        1,
        auth=preset.auth,
        secret=Secret("k"),
        quirks=preset.quirks,
    )
    deployment = Deployment(f"{preset.name}/m", provider, "m", "m")
    surface = SURFACES[OPENAI]
    request = surface.parse_request({}, json.dumps(ASKED | fields).encode(), OPENAI)
    adapter = ADAPTERS[preset.dialect]
    return adapter.format_call(request, surface.parse_content(request), deployment, Overrides()).warnings


@pytest.mark.parametrize("name", ROWS)
def test_every_page_says_what_is_lost_and_how_to_test_it(name: str) -> None:
    assert len(lost(name)) > 5
    assert "`x-llmproxyd-warnings`" in page(name)
    commands = [block.text for block in blocks(PAGES / f"{name}.md", "sh")]
    tested = [
        found[1] for text in commands if (found := re.fullmatch(r"llmproxyd providers test (\S+)\n", text))
    ]
    [first, *_] = blocks(PAGES / f"{name}.md", "yaml")
    assert len(tested) == 1
    assert f"  {tested[0]}:\n" in first.text, "the provider that is tested is the one of the first example"


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("preset", ROWS.values(), ids=lambda preset: preset.name)
def test_what_is_left_out_is_on_the_page(preset: Preset, field: str) -> None:
    warned = call(preset, FIELDS[field])
    told = told_of(preset.name, field)
    if warned:
        assert told is not None, f"{preset.name}.md does not say what becomes of `{field}`: {warned}"
    else:
        assert told != "left out", f"{preset.name}.md says that `{field}` is left out, but it is carried"


@pytest.mark.parametrize("field", REFUSED)
@pytest.mark.parametrize("preset", ROWS.values(), ids=lambda preset: preset.name)
def test_what_is_refused_is_on_the_page(preset: Preset, field: str) -> None:
    assert (told_of(preset.name, field) == "refused") is (field == refused_field(preset, REFUSED[field]))


def refused_field(preset: Preset, fields: dict[str, Any]) -> str | None:
    """The field that the refusal names, None if there is no refusal."""
    try:
        call(preset, fields)
    except BadRequest as refused:
        return refused.failure.param
    return None


def test_pages_name_the_dialects_that_pass_untouched() -> None:
    """Whoever has a way past translation says for whom."""
    for name, preset in ROWS.items():
        passes = ADAPTERS[preset.dialect].splice_call is not None and preset.quirks.verbatim
        assert (f"A client that speaks `{preset.dialect.value}` itself loses nothing" in page(name)) is passes
    assert ADAPTERS[Dialect.COHERE_CHAT].splice_call is None
