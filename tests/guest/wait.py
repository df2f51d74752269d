# SPDX-License-Identifier: GPL-2.0
"""Waiting: for a condition, by asking again until a deadline."""

import os
import time

#: By what factor this guest is slower than those that the time limits are for.
SLOWNESS = float(os.environ.get("SLOWNESS", 1))


class Late(AssertionError):
    """The condition did not come true in time."""


def until(condition, what, seconds=30, interval=0.02):
    """Returns the first true value of `condition()`; `what` completes "gave up waiting for ..."."""
    deadline = time.monotonic() + seconds * SLOWNESS
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise Late(f"gave up waiting for {what} after {seconds * SLOWNESS:g} s")
        time.sleep(interval * SLOWNESS)
