"""What some servers of OpenAI's dialect know beyond it, and others refuse or ignore. Data, and how to look it up."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from llmproxyd.values.snapshot import Deployment, Provider

_SIGNING_PRESETS = frozenset({"gemini", "openrouter"})
_SIGNING_HOSTS = ".googleapis.com"
_MARKING_PRESETS = frozenset({"openai", "azure"})
_FIRST_MARKED = (5, 6)
_GENERATION = re.compile(r"gpt-(\d{1,3})(?:\.(\d{1,3}))?(?!\d)", re.IGNORECASE)


def takes_signatures(provider: Provider) -> bool:
    """Whether ``extra_content.google.thought_signature`` means anything there: to Google, and to who passes it on."""
    if provider.preset in _SIGNING_PRESETS:
        return True
    return (urlsplit(provider.base_url).hostname or "").endswith(_SIGNING_HOSTS)


def takes_cache_marks(deployment: Deployment) -> bool:
    """Whether ``prompt_cache_breakpoint`` is known there: to OpenAI's models from gpt-5.6 on, wherever OpenAI or Azure
    serves them. Azure's names are the customer's own, so the plain one counts as well."""
    if deployment.provider.preset not in _MARKING_PRESETS:
        return False
    found = _GENERATION.search(deployment.upstream) or _GENERATION.search(deployment.model)
    return found is not None and (int(found[1]), int(found[2] or 0)) >= _FIRST_MARKED
