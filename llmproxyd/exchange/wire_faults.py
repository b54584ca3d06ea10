"""What a transport exception means: the Failure it is, and words from which an operator can mend it."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
from collections.abc import Mapping
from typing import TypeAlias

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError

from llmproxyd.values.failure import Failure, FailureKind
from llmproxyd.values.snapshot import Provider

WIRE_ERRORS = (aiohttp.ClientError, HttpProcessingError, OSError, ValueError)
"""Whatever of a wire can break raises one of these."""

_QUOTING = (aiohttp.ClientPayloadError, aiohttp.ClientResponseError, HttpProcessingError, ValueError)
"""Their texts hold what came, and a provider may have put some of the request there."""

# We ran out, not the provider: it must not be held against it.
_OUT_OF = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}

_Fault: TypeAlias = tuple[str, str]
_UNKNOWN_ISSUER: _Fault = (
    "certificate_untrusted",
    "certificate of an unknown authority: if it is your own, name its certificate in SSL_CERT_FILE",
)
_WRONG_NAME: _Fault = (
    "certificate_wrong_name",
    "certificate for another name: check the host in the provider's address",
)
# X509_V_ERR_* of OpenSSL -> code, words.
_CERTIFICATE_FAULTS: Mapping[int, _Fault] = {
    9: ("certificate_not_yet_valid", "certificate not yet valid: check this machine's clock"),
    10: (
        "certificate_expired",
        "certificate expired: the provider must renew it, unless this machine's clock is wrong",
    ),
    18: _UNKNOWN_ISSUER,
    19: _UNKNOWN_ISSUER,
    20: _UNKNOWN_ISSUER,
    21: _UNKNOWN_ISSUER,
    62: _WRONG_NAME,
    64: _WRONG_NAME,
}


def unreachable(error: BaseException, provider: Provider) -> Failure:
    """No usable head came back: refused, not found, reset, no TLS, or connecting took too long."""
    if isinstance(error, (aiohttp.ConnectionTimeoutError, asyncio.TimeoutError)):
        return Failure(
            FailureKind.TIMEOUT,
            f"{provider.name} did not accept a connection in time",
            detail=f"no connection within {provider.timeouts.connect_s:g} s",
            code="connect_timeout",
        )
    if isinstance(error, (aiohttp.ClientPayloadError, HttpProcessingError)):
        return cut(error, provider)
    cause = _cause_of(error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return _distrusted(cause, provider)
    if isinstance(cause, OSError) and cause.errno in _OUT_OF and not isinstance(cause, socket.gaierror):
        return Failure(
            FailureKind.SATURATED,
            "llmproxyd cannot open another connection now",
            detail=f"{os.strerror(cause.errno or 0)}: raise LimitNOFILE= of the service (ulimit -n)",
            code="out_of_descriptors",
            retry_after_s=1.0,
        )
    return Failure(
        FailureKind.UNREACHABLE, f"{provider.name} cannot be reached", detail=_describe(error, cause)
    )


def cut(error: BaseException, provider: Provider) -> Failure:
    """The answer broke off, or is no HTTP."""
    return Failure(
        FailureKind.BAD_ANSWER,
        f"the answer of {provider.name} broke off",
        detail=_describe(error, _cause_of(error)),
    )


def too_long(provider: Provider, limit_bytes: int) -> Failure:
    return Failure(
        FailureKind.BAD_ANSWER,
        f"the answer of {provider.name} is too long",
        detail=f"more than {limit_bytes} bytes",
    )


def _distrusted(error: ssl.SSLCertVerificationError, provider: Provider) -> Failure:
    """No retry: a certificate does not mend within seconds. Others may be asked."""
    rejected = ("certificate_rejected", f"certificate rejected: {error.verify_message}"[:200])
    code, detail = _CERTIFICATE_FAULTS.get(error.verify_code, rejected)
    return Failure(
        FailureKind.UNREACHABLE,
        f"{provider.name} cannot be reached safely",
        detail=detail,
        code=code,
        retryable=False,
    )


def _cause_of(error: BaseException) -> BaseException:
    """What aiohttp has wrapped."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return error.certificate_error
    if isinstance(error, aiohttp.ClientConnectorError):
        return error.os_error
    return error


def _describe(error: BaseException, cause: BaseException) -> str:
    """For the operator's log: the kind of error and its reason, without the request."""
    if isinstance(cause, socket.gaierror):
        return f"name resolution failed: {cause.strerror}"
    if isinstance(cause, ssl.SSLError):
        return f"no TLS: {cause.reason or cause.strerror or cause}"[:300]
    if isinstance(cause, ConnectionError) and cause.errno:
        return f"{type(error).__name__}: {os.strerror(cause.errno)}"  # asyncio's own text is but an address
    if isinstance(cause, OSError) and cause.strerror:
        return f"{type(error).__name__}: {cause.strerror}"
    if isinstance(cause, _QUOTING):
        return type(cause).__name__
    # A server that hangs up during the handshake leaves an exception without a word.
    return f"{type(error).__name__}: {str(cause) or type(cause).__name__}"[:300]
