"""Names for requests: unique, sortable within one run of the daemon, no secret."""

from __future__ import annotations

import itertools
import os

_boot = os.urandom(5).hex()
_count = itertools.count(1)


def new_request_id() -> str:
    return f"req_{_boot}{next(_count):08x}"
