"""The client's own body on its way to a provider of the same dialect: what has to change, and nothing else.

Three things may have to. The model's name, and what a rule sets. Messages that we ourselves made unfit: thoughts of
other providers that a client hands back, and the empty text that an empty answer needs. And, only where the client
meant another generation of models than it gets, the fields that this one refuses.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec.structs import replace

from llmproxyd import jsontext
from llmproxyd.adapters.anthropic_format import SAMPLING, facts_of_deployment, takes_sampling
from llmproxyd.adapters.anthropic_models import facts_of
from llmproxyd.adapters.anthropic_thinking import Circumstances, fit_thinking, read_wish
from llmproxyd.adapters.anthropic_tools import is_forced
from llmproxyd.adapters.carried import not_carried
from llmproxyd.values.replay import is_seal
from llmproxyd.values.request import Dialect, Document, Operation, Overrides, Request
from llmproxyd.values.snapshot import Deployment

_DIALECT = Dialect.ANTHROPIC_MESSAGES


def splice_body(
    request: Request, deployment: Deployment, overrides: Overrides, *, version: str
) -> tuple[bytes, tuple[str, ...]]:
    """-> (body, warnings). ``version``: the API version by which the provider will read it."""
    splice = _Splice(request, deployment, overrides, version)
    fields = splice.fields()
    spliced = {name: None if value is None else jsontext.encode(value) for name, value in fields.items()}
    return jsontext.splice(request.body, spliced), tuple(splice.notes)


class _Splice:
    """``notes`` collects the warnings."""

    def __init__(self, request: Request, deployment: Deployment, overrides: Overrides, version: str) -> None:
        self._document = request.document
        self._upstream = deployment.upstream
        self._generates = request.operation is not Operation.COUNT_TOKENS
        self._overrides = (
            overrides
            if self._generates
            else replace(overrides, temperature=None, top_p=None, max_tokens=None)
        )
        self._facts = facts_of_deployment(deployment)
        self._meant_other = facts_of(request.model) != self._facts
        self._samples = takes_sampling(self._facts, version)
        self.notes: list[str] = []

    def fields(self) -> dict[str, Any]:
        """Name -> value to put in, None to take it out."""
        messages = _repaired_messages(self._document)
        fields: dict[str, Any] = {"model": self._upstream}
        if messages is not None:
            fields["messages"] = messages
        fields |= dict(self._sampling())
        if self._overrides.max_tokens is not None:
            fields["max_tokens"] = self._overrides.max_tokens
        if self._overrides.seed is not None:
            self._note("seed")
        return fields | self._thinking(unsigned=messages is not None and _is_unsigned(messages))

    def _sampling(self) -> Iterator[tuple[str, Any]]:
        thinks = read_wish(self._document).on and "thinking" in self._document
        for name in SAMPLING:
            wanted = getattr(self._overrides, name, None)
            if wanted is not None and self._samples and not thinks:
                yield name, min(wanted, 1.0)
            elif wanted is not None:
                self._note(name, "thinking rules it out" if self._samples else "refused by this model")
            elif self._meant_other and not self._samples and name in self._document:
                self._note(name, "refused by this model")
                yield name, None

    def _thinking(self, *, unsigned: bool) -> dict[str, Any]:
        document, effort = self._document, self._overrides.effort
        if effort is None and not self._meant_other and not unsigned:
            return {}
        wish = read_wish(document)
        if effort is not None:
            wish = replace(wish, kind=None, budget=None, effort=effort)
        thought = fit_thinking(wish, self._facts, self._circumstances(unsigned))
        if effort is None and wish.kind is None:
            # An effort by itself steers the answer, and does not ask for thought.
            return self._output_config(thought.effort)
        for field, why in thought.problems:
            self._note(field, why)
        return {"thinking": thought.thinking, **self._output_config(thought.effort)}

    def _circumstances(self, unsigned: bool) -> Circumstances:
        limit = self._overrides.max_tokens or self._document.get("max_tokens")
        choice = self._document.get("tool_choice")
        return Circumstances(
            max_tokens=limit if isinstance(limit, int) else 0,
            forced=is_forced(choice if isinstance(choice, dict) else None),
            unsigned=unsigned,
        )

    def _output_config(self, effort: str | None) -> dict[str, Any]:
        given = self._document.get("output_config")
        config = dict(given) if isinstance(given, dict) else {}
        if effort is not None:
            config["effort"] = effort
        elif not self._facts.efforts and config.pop("effort", None) is not None:
            self._note("output_config.effort", "unknown to this model")
        return {} if config == (given or {}) else {"output_config": config or None}

    def _note(self, field: str, why: str = "") -> None:
        self.notes.append(not_carried(field, _DIALECT, why))


def _repaired_messages(document: Document) -> list[Document] | None:
    """The messages without the blocks that only make sense to us; None where there are none."""
    messages = document["messages"]
    if not any(_offends(message) for message in messages):
        return None
    return [_repaired(message) if _offends(message) else message for message in messages]


def _is_unsigned(messages: list[Document]) -> bool:
    """Whether the assistant's last turn, now without its thought, is one that thinking would have to go on from."""
    last = next((message for message in reversed(messages) if message.get("role") == "assistant"), {})
    content = last.get("content")
    blocks = content if isinstance(content, list) else []
    kinds = [block.get("type") for block in blocks if isinstance(block, dict)]
    return "tool_use" in kinds and kinds[0] not in ("thinking", "redacted_thinking")


def _offends(message: Mapping[str, Any]) -> bool:
    content = message.get("content")
    if message.get("role") != "assistant" or not isinstance(content, list):
        return False
    return any(_is_ours(block) for block in content)


def _is_ours(block: Any) -> bool:
    if not isinstance(block, dict):
        return False
    match block.get("type"):
        case "text":
            return block.get("text") == ""
        case "thinking":
            return is_seal(block.get("signature"))
        case _:
            return False


def _repaired(message: Mapping[str, Any]) -> dict[str, Any]:
    return {**message, "content": [block for block in message["content"] if not _is_ours(block)]}
