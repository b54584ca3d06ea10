"""The client's own body on its way to a provider of the same dialect: what has to change, and nothing else.

That is the model's name, what a rule sets, and the thoughts that an earlier answer of ours put under a seal: OpenAI's own
are taken out of it again, those of other providers are left out, since it would refuse them.
"""

from __future__ import annotations

from typing import Any

from llmproxyd import jsontext
from llmproxyd.adapters.carried import not_carried
from llmproxyd.adapters.responses_format import MIN_OUTPUT_TOKENS
from llmproxyd.values.replay import is_seal, unseal_thought
from llmproxyd.values.request import Dialect, Document, Operation, Overrides, Request
from llmproxyd.values.snapshot import Deployment

_DIALECT = Dialect.OPENAI_RESPONSES


def splice_body(
    request: Request, deployment: Deployment, overrides: Overrides
) -> tuple[bytes, tuple[str, ...]]:
    """-> (body, warnings)."""
    notes: list[str] = []
    fields: dict[str, Any] = {"model": deployment.upstream}
    items = _unsealed_items(request.document.get("input"))
    if items is not None:
        fields["input"], lost = items
        if lost:
            notes.append(not_carried("thinking", _DIALECT, "made by another provider"))
    fields |= _overridden(request, overrides)
    if overrides.seed is not None:
        notes.append(not_carried("seed", _DIALECT))
    spliced = {name: jsontext.encode(value) for name, value in fields.items()}
    return jsontext.splice(request.body, spliced), tuple(notes)


def _overridden(request: Request, overrides: Overrides) -> dict[str, Any]:
    wanted: dict[str, Any] = {}
    if request.operation is not Operation.COUNT_TOKENS:
        limit = overrides.max_tokens
        wanted = {
            "temperature": overrides.temperature,
            "top_p": overrides.top_p,
            "max_output_tokens": None if limit is None else max(limit, MIN_OUTPUT_TOKENS),
        }
    if overrides.effort is not None:
        given = request.document.get("reasoning")
        wanted["reasoning"] = {**(given if isinstance(given, dict) else {}), "effort": overrides.effort}
    return {name: value for name, value in wanted.items() if value is not None}


def _unsealed_items(given: Any) -> tuple[list[Any], bool] | None:
    """-> (the input without seals, whether a thought was lost); None where there is nothing to do."""
    if not isinstance(given, list) or not any(_is_sealed(item) for item in given):
        return None
    items = [_unsealed(item) if _is_sealed(item) else item for item in given]
    kept = [item for item in items if item is not None]
    return kept, len(kept) < len(items)


def _is_sealed(item: Any) -> bool:
    return (
        isinstance(item, dict) and item.get("type") == "reasoning" and is_seal(item.get("encrypted_content"))
    )


def _unsealed(item: Document) -> Document | None:
    thought = unseal_thought("", item["encrypted_content"])
    if thought.origin is not _DIALECT or thought.encrypted is None:
        return None
    # The id was ours: its maker wants its own, and takes none before one it never gave.
    own = {name: value for name, value in item.items() if name != "id"}
    known = {} if thought.item_id is None else {"id": thought.item_id}
    return own | known | {"encrypted_content": thought.encrypted}
