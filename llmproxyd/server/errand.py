"""What is kept of a request that is to be answered later: enough to ask again, and nothing that is secret."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterator, Mapping
from urllib.parse import parse_qsl, urlencode

from llmproxyd.server.intake import Visit
from llmproxyd.surfaces import anthropic_messages, openai_responses
from llmproxyd.surfaces.responses_object import RESOLVED
from llmproxyd.values.contracts import BadRequest
from llmproxyd.values.job import JobKind, Task
from llmproxyd.values.request import Priority, Request
from llmproxyd.values.snapshot import Absent, AllOf, AnyOf, Condition, Matches, Not, OneOf, Snapshot

_KEPT = frozenset(
    {
        "content-type", "idempotency-key", *anthropic_messages.FORWARDED_HEADERS,
        *openai_responses.FORWARDED_HEADERS,
    }
)  # fmt: skip
_SECRET = frozenset(
    {"authorization", "proxy-authorization", "x-api-key", "api-key", "x-goog-api-key", "cookie"}
)
_SECRET_FIELDS = frozenset({"key", "access_token"})
_OURS = "x-llmproxyd-"
_PRIORITY = "x-llmproxyd-priority"
_RANKS: Mapping[str, int] = {Priority.INTERACTIVE: 0, Priority.NORMAL: 1, Priority.BATCH: 2}
_KEY = re.compile(r"[\x20-\x7e]{1,255}")


def new_task(
    visit: Visit,
    request: Request,
    *,
    kind: JobKind,
    id_prefix: str,
    body: bytes,
    target: str,
    inherited: str | None,
    priority: Priority,
    created_s: float,
) -> Task:
    """request: the conversation it goes on from in front, as ``body`` has it. priority: where the client names none.

    created_s: Unix seconds. Raises BadRequest for an idempotency key that cannot be one.
    """
    headers = kept_headers(visit.headers, visit.generation.snapshot)
    headers.setdefault(_PRIORITY, priority.value)
    target = public_target(target)
    return Task(
        id=id_prefix + secrets.token_hex(16),
        kind=kind,
        owner=visit.owner,
        target=target,
        headers=headers,
        body=body,
        created_s=created_s,
        stream=request.stream,
        rank=_RANKS[headers[_PRIORITY].lower()],
        inherited=inherited,
        previous=request.document.get(RESOLVED),
        key=_read_key(visit.headers),
        key_id=visit.record.key_id,
        digest=hashlib.blake2b(target.encode() + b"\0" + body, digest_size=16).digest(),
    )


def kept_headers(headers: Mapping[str, str], snapshot: Snapshot) -> dict[str, str]:
    """Those that have a say: ours, the dialects', and what a rule asks about. Never a credential, whoever asks about it."""
    asked = {name for rule in snapshot.rules for name in _headers_in(rule.when)}
    named = {name.lower(): value for name, value in headers.items()}
    return {
        name: value
        for name, value in named.items()
        if name not in _SECRET and (name in _KEPT or name in asked or name.startswith(_OURS))
    }


def _headers_in(condition: Condition | None) -> Iterator[str]:
    match condition:
        case Not():
            yield from _headers_in(condition.condition)
        case AllOf() | AnyOf():
            for part in condition.conditions:
                yield from _headers_in(part)
        case OneOf() | Matches() | Absent() if condition.fact == "header":
            yield condition.key.lower()


def public_target(target: str) -> str:
    """Path and query without the key that some of Google's clients put there."""
    path, mark, query = target.partition("?")
    if not any(f"{name}=" in query for name in _SECRET_FIELDS):
        return target
    fields = [(name, value) for name, value in parse_qsl(query, True) if name not in _SECRET_FIELDS]
    return path + mark + urlencode(fields) if fields else path


def _read_key(headers: Mapping[str, str]) -> str | None:
    key = headers.get("Idempotency-Key")
    if key is not None and not _KEY.fullmatch(key):
        raise BadRequest(
            "The header Idempotency-Key must be 1 to 255 printable ASCII characters.", param="idempotency-key"
        )
    return key
