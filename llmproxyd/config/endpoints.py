"""An endpoint as people write it -> a base URL, and where it stands as far as the address itself says so."""

from __future__ import annotations

import ipaddress
from typing import Final
from urllib.parse import SplitResult, urlsplit, urlunsplit

from llmproxyd.config.presets import Preset
from llmproxyd.values.request import Dialect
from llmproxyd.values.snapshot import Zone

_AZURE_ROOT: Final = "/openai"
_OPENAI_VERSION: Final = "/v1"


def parse_endpoint(endpoint: str, preset: Preset, api_version: str | None) -> str:
    """``http://localhost:8000`` -> ``http://localhost:8000/v1``: the base URL, without a trailing slash.

    A path that is written stays; otherwise the preset's is added. Raises ValueError with a sentence for the operator.
    """
    parts = _split(endpoint)
    path = _path(parts.path.rstrip("/"), preset, api_version)
    return urlunsplit((parts.scheme.lower(), parts.netloc.lower(), path, "", ""))


def default_zone(base_url: str) -> Zone:
    """``local`` for loopback addresses and the built-in provider, else ``external``. Names are never resolved."""
    parts = urlsplit(base_url)
    return Zone.LOCAL if parts.scheme == "mock" or is_loopback(parts.hostname or "") else Zone.EXTERNAL


def is_date(api_version: str | None) -> bool:
    """Whether an Azure ``api_version`` asks for the older paths by deployment: ``2024-10-21``, not ``v1``."""
    return api_version is not None and api_version[:4].isdecimal()


def _split(endpoint: str) -> SplitResult:
    if "://" not in endpoint:
        raise ValueError("an endpoint begins with http:// or https://")
    if any(char.isspace() or not char.isprintable() for char in endpoint):
        raise ValueError("an endpoint holds no blanks or control characters")
    try:
        parts = urlsplit(endpoint)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"this is not a URL: {error}") from None
    if parts.scheme.lower() not in ("http", "https"):
        raise ValueError(f"the scheme `{parts.scheme}` is not supported: use http or https")
    if parts.username is not None or parts.password is not None:
        raise ValueError("credentials do not belong into an endpoint: use `api_key` or `headers`")
    if parts.query or parts.fragment or endpoint.endswith(("?", "#")):
        raise ValueError("an endpoint has no query and no fragment: write the URL up to its path")
    if not parts.hostname or port == 0:
        raise ValueError("an endpoint needs a host, such as http://localhost:8000")
    return parts


def _path(path: str, preset: Preset, api_version: str | None) -> str:
    if preset.dialect is Dialect.OLLAMA_CHAT:
        return path.removesuffix(_OPENAI_VERSION)
    if preset.name == "azure" and is_date(api_version):
        return path.removesuffix(_OPENAI_VERSION).removesuffix(_AZURE_ROOT)
    return path or preset.path


def is_loopback(host: str) -> bool:
    """Whether a host of a URL is this machine, by its address or a name that always means it."""
    name = host.rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback
