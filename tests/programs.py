"""Programs that tests call, and versions they need: skipped for the want of one on a laptop, never in CI."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest


def program(name: str, package: str) -> str:
    """Where it is. ``package``: the Debian package that brings it."""
    return shutil.which(name) or skip(f"{name} is missing: install it with `apt-get install {package}`")


def skip(reason: str) -> NoReturn:
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
