"""For all tests: long forms run only when they are asked for, and properties are tried as often as the run has time."""

from __future__ import annotations

import gc
import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings

settings.register_profile("short", max_examples=40, deadline=None)
settings.register_profile("proof", max_examples=400, deadline=None)
settings.load_profile("short")

# A shell that starts the tests in the background ignores it, for all processes below them as well.
signal.signal(signal.SIGQUIT, signal.SIG_DFL)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """What is collected stays: nobody need look for garbage in it, now or later."""
    gc.disable()
    yield
    gc.freeze()
    gc.enable()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Whatever is marked ``proof`` takes minutes: it is left out unless ``-m`` speaks of it."""
    if "proof" in (config.option.markexpr or ""):
        return
    long_forms = [item for item in items if item.get_closest_marker("proof")]
    if long_forms:
        config.hook.pytest_deselected(items=long_forms)
        items[:] = [item for item in items if not item.get_closest_marker("proof")]
