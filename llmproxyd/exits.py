"""What the exit status of the program means; the numbers are those of sysexits.h where it has one."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    OK = 0
    ERRORS = 1
    DIFFERENT = 2  # what was compared is not the same
    WARNINGS = 3  # only under --deny-warnings
    USAGE = 64
    MISSING = 66
    UNAVAILABLE = 69  # the daemon cannot be reached, or cannot bind
    TIMED_OUT = 75
    CONFIG = 78  # invalid configuration at start
    INTERRUPTED = 130
