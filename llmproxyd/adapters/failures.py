"""What a refused call means, for every provider that answers errors in JSON.

Codes decide where a provider gives a telling one, then the status; text is searched only where neither settles it.
Covers the shapes ``{"error": {...}}``, ``{"error": "text"}``, ``{"code", "error": "text"}``, ``{"message"}``,
``{"detail"}`` and, from proxies in between, HTML or nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from llmproxyd import jsontext
from llmproxyd.adapters.scrub import scrub_message, scrub_secrets
from llmproxyd.adapters.waiting import find_retry_after_s
from llmproxyd.values.contracts import Headers
from llmproxyd.values.failure import Failure
from llmproxyd.values.failure import FailureKind as Kind

_READ_BYTES = 256 * 1024
"""More than this of an error body is not looked at."""
_READ_CHARS = 4096


class Meaning(msgspec.Struct, frozen=True):
    """``retryable`` False: the same deployment will say the same again."""

    kind: Kind
    retryable: bool = True


_SPENT = Meaning(Kind.RATE_LIMITED, retryable=False)

# Codes that say more than the status they come with.
_TELLING: Mapping[str, Meaning] = {
    **dict.fromkeys(
        (
            "insufficient_quota", "credit_balance_exhausted", "organization_spend_limit_exceeded",
            "project_spend_limit_exceeded", "organization_usage_limit_exceeded", "billing_hard_limit_reached",
            "billing_not_active", "billing_error", "payment_required", "insufficient_credits",
        ),
        _SPENT,
    ),
    **dict.fromkeys(
        (
            "context_length_exceeded", "exceed_context_size_error", "token_limit_exceeded", "max_tokens_exceeded",
            "payload_too_large", "request_too_large",
        ),
        Meaning(Kind.TOO_LARGE),
    ),
    **dict.fromkeys(
        (
            "content_filter", "content_policy_violation", "responsibleaipolicyviolation", "moderation_blocked",
            "refusal",
        ),
        Meaning(Kind.CONTENT_REFUSED),
    ),
    **dict.fromkeys(
        ("model_not_found", "deploymentnotfound", "model_not_available", "model_deprecated"),
        Meaning(Kind.MODEL_UNAVAILABLE),
    ),
    **dict.fromkeys(
        ("invalid_api_key", "api_key_invalid", "authentication", "authentication_error", "invalid_authentication"),
        Meaning(Kind.PROVIDER_DENIED),
    ),
    **dict.fromkeys(("string_above_max_length",), Meaning(Kind.BAD_REQUEST)),
}  # fmt: skip

# Codes that only repeat a status: read where there is none, as inside a stream.
_REPEATING: Mapping[str, Meaning] = {
    **dict.fromkeys(
        ("rate_limit_exceeded", "rate_limit_error", "slow_down", "resource_exhausted"), Meaning(Kind.RATE_LIMITED)
    ),
    **dict.fromkeys(
        (
            "server_is_overloaded", "overloaded_error", "provider_overloaded", "provider_unavailable", "unavailable",
            "unavailable_error", "server_error", "internal_server_error", "internal_error", "server", "overloaded",
        ),
        Meaning(Kind.OVERLOADED),
    ),
    **dict.fromkeys(("timeout", "timeout_error", "deadline_exceeded"), Meaning(Kind.TIMEOUT)),
    **dict.fromkeys(("permission_denied", "permission_error"), Meaning(Kind.PROVIDER_DENIED)),
    **dict.fromkeys(
        ("invalid_request_error", "invalid_request", "badrequesterror", "invalid_prompt"), Meaning(Kind.BAD_REQUEST)
    ),
}  # fmt: skip

_STATUSES: Mapping[int, Meaning] = {
    400: Meaning(Kind.BAD_REQUEST),
    401: Meaning(Kind.PROVIDER_DENIED),
    402: _SPENT,
    403: Meaning(Kind.PROVIDER_DENIED),
    404: Meaning(Kind.MODEL_UNAVAILABLE),
    408: Meaning(Kind.TIMEOUT),
    409: Meaning(Kind.OVERLOADED),  # a lock or a loading model, not a conflict of ours
    410: Meaning(Kind.MODEL_UNAVAILABLE),
    413: Meaning(Kind.TOO_LARGE),
    417: Meaning(Kind.OVERLOADED),  # LightLLM: any exception at all
    424: Meaning(Kind.OVERLOADED),  # TGI: the generation broke
    429: Meaning(Kind.RATE_LIMITED),
    499: Meaning(Kind.OVERLOADED),
    504: Meaning(Kind.TIMEOUT),
    524: Meaning(Kind.TIMEOUT),
}

# Only for errors whose codes and status say no more than "bad request" or "server error".
_TEXTS: tuple[tuple[re.Pattern[str], Meaning], ...] = (
    (
        re.compile(
            r"maximum context length|exceeds? (?:the )?(?:available )?context (?:size|limit|length|window)"
            r"|prompt is too long|too many tokens|exceeds the maximum number of tokens"
            r"|`inputs` tokens \+ `max_new_tokens` must be|input length exceeds",
            re.IGNORECASE,
        ),
        Meaning(Kind.TOO_LARGE),
    ),
    (re.compile(r"(?:incorrect|invalid) api[ _-]?key|api key not valid", re.IGNORECASE), Meaning(Kind.PROVIDER_DENIED)),
    (
        re.compile(
            r"model\b.{0,200}\b(?:not found|does not exist|is not available)"
            r"|does not support (?:tools|thinking|vision|images?|chat|generate|completion|embeddings?)\b",
            re.IGNORECASE,
        ),
        Meaning(Kind.MODEL_UNAVAILABLE),
    ),
)  # fmt: skip
_UNSETTLED = frozenset({Kind.BAD_REQUEST, Kind.OVERLOADED, Kind.BAD_ANSWER})
_DAILY = re.compile(r"per ?day|daily|monthly|credit balance|spend(?:ing)? limit|billing", re.IGNORECASE)

# What the client reads. Kinds that are left out repeat the provider's words: they are about the client's input.
_PHRASES: Mapping[Kind, str] = {
    Kind.RATE_LIMITED: "The provider's rate limit is reached.",
    Kind.OVERLOADED: "The provider is overloaded or has an internal fault.",
    Kind.TIMEOUT: "The provider took too long.",
    Kind.PROVIDER_DENIED: "The provider refused the proxy's credentials or permissions; its operator can see why.",
    Kind.MODEL_UNAVAILABLE: "The provider does not serve this model, or not for what the request needs.",
    Kind.BAD_ANSWER: "The provider's answer could not be used.",
}
_FALLBACK_PHRASES: Mapping[Kind, str] = {
    Kind.BAD_REQUEST: "The provider refused the request as invalid.",
    Kind.TOO_LARGE: "The request is too large for the model.",
    Kind.CONTENT_REFUSED: "The provider's content filter refused the request.",
}


def parse_failure(status: int, headers: Headers, body: bytes) -> Failure:
    """Say what a refused call means.

    body: JSON in any of the shapes above; may be HTML from a proxy, or empty. Raises nothing: what cannot be read is
    judged by its status alone. ``retry_after_s`` is set when the provider names a delay.
    """
    try:
        document = jsontext.decode(body[:_READ_BYTES])
    except jsontext.JSONError:
        document = None
    facts = _read_facts(document)
    text = facts.message or ("" if document is not None else body[:_READ_CHARS].decode("utf-8", "replace"))
    return _failure(facts, text, status, find_retry_after_s(headers, document, facts.message))


def failure_of_error(error: Any) -> Failure:
    """Say what an ``error`` means that came inside a 200: in a stream, or instead of an answer."""
    facts = _read_facts({"error": error})
    status = next((int(code) for code in facts.codes if code.isdigit() and 400 <= int(code) < 600), None)
    return _failure(facts, facts.message, status, find_retry_after_s({}, {"error": error}, facts.message))


def bad_answer(detail: str, said: object = "") -> Failure:
    """What came back with a good status is no answer. ``detail``: our own words for the operator's log, without any of the
    answer; ``said``: what may quote it."""
    return Failure(
        Kind.BAD_ANSWER,
        _PHRASES[Kind.BAD_ANSWER],
        detail=scrub_secrets(detail),
        said=scrub_secrets(str(said)),
    )


class _Facts(msgspec.Struct, frozen=True):
    """``codes`` in lower case, the most telling first."""

    message: str = ""
    codes: tuple[str, ...] = ()
    param: str | None = None


def _failure(facts: _Facts, text: str, status: int | None, retry_after_s: float | None) -> Failure:
    meaning = _judge(facts, text, status)
    retryable = meaning.retryable
    if meaning.kind is Kind.RATE_LIMITED and retry_after_s is None and _DAILY.search(text):
        retryable = False
    code = facts.codes[0] if facts.codes else None
    return Failure(
        kind=meaning.kind,
        message=_client_message(meaning.kind, facts.message),
        said=scrub_secrets(" ".join(filter(None, (f"[{code}]" if code else "", text)))),
        status=status,
        code=code,
        param=facts.param,
        retry_after_s=retry_after_s,
        retryable=retryable,
    )


def _judge(facts: _Facts, text: str, status: int | None) -> Meaning:
    for code in facts.codes:
        if code in _TELLING:
            return _TELLING[code]
    meaning = _by_status(status) if status is not None else _by_repeating_code(facts.codes)
    if meaning.kind in _UNSETTLED:
        for pattern, better in _TEXTS:
            if pattern.search(text):
                return better
    return meaning


def _by_status(status: int) -> Meaning:
    if status in _STATUSES:
        return _STATUSES[status]
    if status >= 500:
        return Meaning(Kind.OVERLOADED)
    return Meaning(Kind.BAD_REQUEST if status >= 400 else Kind.BAD_ANSWER)


def _by_repeating_code(codes: tuple[str, ...]) -> Meaning:
    return next((_REPEATING[code] for code in codes if code in _REPEATING), Meaning(Kind.BAD_ANSWER))


def _client_message(kind: Kind, message: str) -> str:
    return _PHRASES.get(kind) or scrub_message(message) or _FALLBACK_PHRASES[kind]


def _read_facts(document: Any) -> _Facts:
    if not isinstance(document, dict):
        return _Facts()
    error = document.get("error")
    source = error if isinstance(error, dict) else document
    message = (
        error if isinstance(error, str) else _first_text(source, ("message", "detail", "error_description"))
    )
    param = source.get("param")
    return _Facts(
        message=message[:_READ_CHARS],
        codes=tuple(dict.fromkeys(_codes(source))),
        param=param if isinstance(param, str) else None,
    )


def _first_text(source: Mapping[str, Any], names: tuple[str, ...]) -> str:
    return next((source[name] for name in names if isinstance(source.get(name), str)), "")


def _codes(source: Mapping[str, Any]) -> Iterator[str]:
    for nested, names in (("innererror", ("code",)), ("metadata", ("error_type",))):
        inner = source.get(nested)
        if isinstance(inner, dict):
            yield from _own_codes(inner, names)
            if (
                "flagged_input" in inner
            ):  # OpenRouter's 403 by moderation looks like one for a bad key otherwise
                yield "moderation_blocked"
    yield from _own_codes(source, ("code", "type", "status", "error_type"))


def _own_codes(source: Mapping[str, Any], names: tuple[str, ...]) -> Iterator[str]:
    for name in names:
        value = source.get(name)
        if isinstance(value, str) and value:
            yield value.lower()
        elif isinstance(value, int) and not isinstance(value, bool):
            yield str(value)
