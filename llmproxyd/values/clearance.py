"""Leave to send: proof that routing has found a request's label within a provider's clearance.

The door to providers opens for nobody without one. It is made where the decision is made, names one deployment and one
label, and cannot be made of text, copied onto another deployment, or raised. Probes carry nothing of any request, so they
have a leave of their own that can hold nothing of one.
"""

from __future__ import annotations

from dataclasses import InitVar, dataclass
from typing import NoReturn
from urllib.parse import urlsplit

from llmproxyd.values.contracts import Call
from llmproxyd.values.snapshot import Deployment, Provider

_MAKER = object()


class NotCleared(Exception):  # noqa: N818 - it says what the caller is, as the other outcomes do
    """Something was about to be sent to a provider that may not see it. Always a bug of ours: nothing was sent.
    ``deployment``: its name, where it is known."""

    def __init__(self, message: str, deployment: str = "") -> None:
        super().__init__(message)
        self.deployment = deployment


@dataclass(frozen=True, slots=True)
class Clearance:
    """Requests with a label of at most ``label_rank`` may go to the deployment of this ``Deployment.key``, whatever else
    becomes of them: a retry, a hedge and a continuation show the same one."""

    deployment: str
    label_rank: int
    maker: InitVar[object]

    def __post_init__(self, maker: object) -> None:
        if maker is not _MAKER:
            raise NotCleared("a clearance is made by the decision, and by nobody else")

    def __reduce__(self) -> NoReturn:
        raise NotCleared("a clearance is not written down, copied or sent elsewhere")


@dataclass(frozen=True, slots=True, eq=False)
class ConstantCall:
    """A call that holds nothing but what the files say: a GET without a body, to its own provider."""

    call: Call
    provider: str
    maker: InitVar[object]

    def __post_init__(self, maker: object) -> None:
        if maker is not _MAKER:
            raise NotCleared("a constant call is made by `constant_call`")


def grant(deployment: Deployment, label_rank: int) -> Clearance:
    """For the decision alone. Raises NotCleared where the provider may not see the label."""
    _compare(deployment, label_rank)
    return Clearance(deployment.key, label_rank, _MAKER)


def constant_call(call: Call, provider: Provider) -> ConstantCall:
    """For probes alone. Raises NotCleared for a call that could carry something of a client's."""
    if call.method != "GET" or call.body or call.stream:
        raise NotCleared(f"a probe of {provider.name} is a GET without a body, and this is not")
    if _place(call.url) != _place(provider.base_url):
        raise NotCleared(f"a probe of {provider.name} goes to its own address, and this does not")
    return ConstantCall(call, provider.identity, _MAKER)


def require(clearance: Clearance | None, deployment: Deployment) -> None:
    """Raises NotCleared unless ``clearance`` is for this very deployment, and its provider may see the label."""
    if not isinstance(clearance, Clearance):
        raise NotCleared(f"nobody has cleared a request for {deployment.name}")
    if clearance.deployment != deployment.key:
        raise NotCleared(f"what was cleared for another deployment was about to go to {deployment.name}")
    _compare(deployment, clearance.label_rank)


def _compare(deployment: Deployment, label_rank: int) -> None:
    allowed = deployment.provider.clearance
    if label_rank > allowed:
        message = f"{deployment.name} may see labels up to rank {allowed}, and this is rank {label_rank}"
        raise NotCleared(message, deployment.name)


def _place(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc
