"""What may be kept of a provider's refusal: it may quote the request, so its own words go to nobody but the client.

For the log, the status and everybody else there remain the status, and a code that looks like one and does not stand in
what was sent.
"""

from __future__ import annotations

import re

from msgspec.structs import replace

from llmproxyd.values.contracts import Call
from llmproxyd.values.failure import Failure

_CODE = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_ESCAPED = re.compile(rb"\\u00([0-7][0-9a-f])")
_MANY_BYTES = 1 << 20
"""A body beyond this is not searched: then no code is told."""


def without_quotes(failure: Failure, call: Call) -> Failure:
    """``failure`` of this call, with a ``detail`` that may be shown to anybody: it keeps one of our own words."""
    return failure if failure.detail else replace(failure, detail=_sign(failure, call))


def _sign(failure: Failure, call: Call) -> str:
    status = "" if failure.status is None else f"status {failure.status}"
    code = "" if failure.code is None or not _is_own(failure.code, call) else f"code {failure.code}"
    return ", ".join(part for part in (status, code) if part) or "an error without a status"


def _is_own(code: str, call: Call) -> bool:
    """Whether it is the provider's own word, as far as can be seen."""
    if not _CODE.fullmatch(code) or len(call.body) > _MANY_BYTES:
        return False
    sent = call.body.lower()
    if b"\\u" in sent:
        sent = _ESCAPED.sub(lambda found: bytes((int(found[1], 16),)), sent).lower()
    wanted = code.lower()
    return wanted.encode() not in sent and wanted not in call.url.lower()
