"""What a test of a provider says to its operator: what came of it, and what to do. Pure; never shows a secret."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from msgspec.structs import replace

from llmproxyd.config.presets import PRESETS
from llmproxyd.exchange.probe import Asked
from llmproxyd.state.report import ProviderReport
from llmproxyd.values.contracts import Listed
from llmproxyd.values.failure import Failure, FailureKind
from llmproxyd.values.secret import Secret
from llmproxyd.values.snapshot import Deployment, Probe, Provider

VERSION: Final = 1
MAX_NAMES: Final = 20
"""Models named in one answer; the count says how many there are."""

_MAX_SAID: Final = 200
_UNANSWERED: Final = frozenset({FailureKind.TIMEOUT, FailureKind.UNREACHABLE})
_DENIED: Final = frozenset({401, 403})
# A list names dated versions of what may be asked for without a date, and the other way round.
_VERSION_TAIL: Final = re.compile(r"[-@](\d{8}|\d{4}-\d{2}-\d{2}|latest)$|:latest$")


def free_probes(provider: Provider) -> tuple[Probe, ...]:
    """What can be asked of ``provider`` without paying, in this order: its key is checked, its models are listed.

    One request where one does both. Empty for the built-in provider.
    """
    preset = PRESETS[provider.preset]
    if provider.probe is None or provider.probe not in (preset.probe, preset.listing):
        return () if provider.probe is None else (provider.probe,)
    known = [probe for probe in (preset.probe, preset.listing) if probe is not None]
    if len({probe.path.partition("?")[0] for probe in known}) == 1:
        return (known[-1],)
    return tuple(known)


def describe_idle(report: ProviderReport, provider: Provider) -> dict[str, Any]:
    """The test of a provider that cannot be asked, because it is disabled or something is missing."""
    if provider.enabled:
        problem, hint = "not_configured", f"{provider.reason} ({_place(provider)})"
    else:
        problem, hint = "disabled", f"delete `enabled: false` of `{provider.name}` ({_place(provider)})"
    document = _document(report, Asked(False), (), hint)
    return document | {"problem": problem, "reachable": None}


def describe_test(
    report: ProviderReport, provider: Provider, deployments: Iterable[Deployment], asked: Asked
) -> dict[str, Any]:
    """``{"version", "name", "state", "ok", "problem", "reachable", "authorised", "status", "duration_ms",
    "models_found": {"count", "names"} | null, "missing_models", "hint"}``.

    report: of after the test. ``problem``: null, or a word for what is wrong: ``disabled``, ``not_configured``,
    ``models_missing``, or the kind of the failure. ``authorised``: null where no answer tells. ``hint`` is empty when
    there is nothing to do.
    """
    missing = () if asked.models is None else missing_models(deployments, asked.models)
    # First of all, because what is cut later may end within a secret.
    asked = _scrubbed(asked, provider)
    hint = _hint(provider, asked, missing)
    return _document(report, asked, missing, hint) | {"authorised": _authorised(provider, asked)}


def missing_models(deployments: Iterable[Deployment], listed: Iterable[Listed]) -> tuple[str, ...]:
    """The names sent upstream that the server's list lacks; a date or `latest` at the end makes no other model."""
    known = {name for model in listed for name in (model.id, _plain(model.id))}
    wanted = (deployment.upstream for deployment in deployments)
    return tuple(dict.fromkeys(name for name in wanted if not {name, _plain(name)} & known))


def _plain(name: str) -> str:
    return _VERSION_TAIL.sub("", name)


def _document(report: ProviderReport, asked: Asked, missing: tuple[str, ...], hint: str) -> dict[str, Any]:
    models = asked.models
    return {
        "version": VERSION,
        "name": report.name,
        "state": report.state,
        "ok": asked.ok and not missing,
        "problem": _problem(asked, missing),
        "reachable": _reachable(asked),
        "authorised": None,
        "status": asked.status,
        "duration_ms": round(asked.duration_s * 1000, 1),
        "models_found": None
        if models is None
        else {"count": len(models), "names": [model.id for model in models[:MAX_NAMES]]},
        "missing_models": list(missing[:MAX_NAMES]),
        "hint": hint,
    }


def _problem(asked: Asked, missing: tuple[str, ...]) -> str | None:
    if asked.failure is not None:
        return asked.failure.kind.value
    if not asked.ok:
        return FailureKind.UNSUPPORTED.value
    return "models_missing" if missing else None


def _reachable(asked: Asked) -> bool | None:
    if asked.ok or asked.status is not None:
        return True
    return None if asked.failure is None else asked.failure.kind not in _UNANSWERED


def _authorised(provider: Provider, asked: Asked) -> bool | None:
    if _is_denied(asked):
        return False
    shown = any(isinstance(value, Secret) for value in (provider.secret, *provider.headers.values()))
    return True if shown and asked.status is not None and 200 <= asked.status < 300 else None


def _is_denied(asked: Asked) -> bool:
    """Also where the status says something else: some refuse a wrong key with 400."""
    denied = asked.failure is not None and asked.failure.kind is FailureKind.PROVIDER_DENIED
    return asked.status in _DENIED or denied


# --- words ------------------------------------------------------------------------------------------------------


def _hint(provider: Provider, asked: Asked, missing: tuple[str, ...]) -> str:
    if asked.ok:
        return _missing_hint(provider, missing) if missing else ""
    if asked.failure is None:
        return asked.detail
    if asked.status is None:
        return _silence_hint(provider, asked.failure)
    return _refusal_hint(provider, asked, asked.status)


def _missing_hint(provider: Provider, missing: tuple[str, ...]) -> str:
    names = ", ".join(f"`{name}`" for name in missing[:MAX_NAMES])
    return (
        f"the server does not list {names}: correct the names under `models`, or load the models there "
        f"({_place(provider)})"
    )


_NO_ANSWER: Final[tuple[tuple[str, str], ...]] = (
    ("refused", "nothing listens at {url}: is the server running? Start it, or correct {address}"),
    ("name resolution", "the host of {url} is not known: correct {address}, or look at this machine's DNS"),
    (
        "certificate",
        "the TLS certificate of {url} is not trusted ({detail}): correct {address}, or add its authority to the "
        "system's certificates (SSL_CERT_FILE)",
    ),
    (
        "ssl|tls",
        "{url} does not speak TLS as expected ({detail}): is it http:// or https://? Correct {address}",
    ),
)
"""What the transport said -> what to do."""


def _silence_hint(provider: Provider, failure: Failure) -> str:
    """No HTTP answer came."""
    said = failure.detail or failure.said or failure.message
    words = {"url": provider.base_url, "address": _address(provider), "detail": said}
    if failure.kind is FailureKind.TIMEOUT:
        return "{url} did not answer in time ({detail}): is it up and not blocked by a firewall?".format(
            **words
        )
    if failure.kind is FailureKind.BAD_ANSWER:
        return "what answers at {url} is no such server ({detail}): correct {address}".format(**words)
    for pattern, text in _NO_ANSWER:
        if re.search(pattern, said, re.IGNORECASE):
            return text.format(**words)
    return "{url} cannot be reached ({detail}): look at the network, or correct {address}".format(**words)


def _refusal_hint(provider: Provider, asked: Asked, status: int) -> str:
    said = (asked.failure.said if asked.failure else "")[:_MAX_SAID]
    tail = f'; it said: "{said}"' if said else ""
    if 200 <= status < 300:
        return f"{asked.detail}: is this the right server? Correct {_address(provider)}"
    if _is_denied(asked):
        return _denied_hint(provider, status) + tail
    return _STATUS_HINTS.get(_status_class(status), _other_hint)(provider, status) + tail


def _denied_hint(provider: Provider, status: int) -> str:
    if provider.secret is None:
        return f"the server wants a key (status {status}): set {_key(provider)}"
    if status == 403:
        return f"the key may not do this (status 403): give it the permission, or set another by {_key(provider)}"
    return f"the key was refused (status {status}): set {_key(provider)} to one that is valid"


def _missing_path_hint(provider: Provider, status: int) -> str:
    return (
        f"nothing is served at that path of {provider.base_url} (status {status}): correct {_address(provider)}; "
        "it ends where the API begins, as in https://HOST/v1"
    )


def _limit_hint(_: Provider, status: int) -> str:
    return f"the account has reached a limit (status {status}): wait, or look at its quota and billing"


def _server_hint(_: Provider, status: int) -> str:
    return f"the server is there, but fails or is still loading (status {status}): look at its log, or wait"


def _moved_hint(provider: Provider, status: int) -> str:
    return f"the server sends us elsewhere (status {status}): write its final address as {_address(provider)}"


def _other_hint(provider: Provider, status: int) -> str:
    return f"the server refused a plain request (status {status}): is {_address(provider)} the right one?"


_STATUS_HINTS: Final[Mapping[int, Callable[[Provider, int], str]]] = {
    300: _moved_hint,
    402: _limit_hint,
    404: _missing_path_hint,
    405: _missing_path_hint,
    429: _limit_hint,
    500: _server_hint,
}


def _status_class(status: int) -> int:
    return status if status in _STATUS_HINTS else status // 100 * 100


def _key(provider: Provider) -> str:
    names = [*PRESETS[provider.preset].key_env, "`api_key`"]
    return f"{' or '.join(names)} ({_place(provider)})"


def _address(provider: Provider) -> str:
    names = [*PRESETS[provider.preset].endpoint_env, "`endpoint`"]
    return f"{' or '.join(names)} ({_place(provider)})"


def _place(provider: Provider) -> str:
    return str(provider.place) if provider.place.file else f"provider `{provider.name}`"


def _scrubbed(asked: Asked, provider: Provider) -> Asked:
    """A server may repeat what it was shown."""
    failure = asked.failure
    if failure is not None:
        failure = replace(
            failure, detail=_scrub(failure.detail, provider), said=_scrub(failure.said, provider)
        )
    return replace(asked, detail=_scrub(asked.detail, provider), failure=failure)


def _scrub(text: str, provider: Provider) -> str:
    for secret in _secrets(provider):
        text = text.replace(secret, "***")
    return text


def _secrets(provider: Provider) -> Iterator[str]:
    keys = (credential.secret for credential in provider.credentials)
    for value in (provider.secret, *keys, *provider.headers.values()):
        if isinstance(value, Secret) and value.reveal():
            yield value.reveal()
