# SPDX-License-Identifier: GPL-2.0
"""The sanitizers, by the options that they are configured with, and how a guest sees that they are at work.

Those of Rust are compiled in: tools/lab/suites/sanitize.py looks at the flags that the compiler got.
"""

import re
from dataclasses import dataclass
from functools import cache as once
from pathlib import Path
from collections.abc import Callable


def _said(text) -> Callable:
    """Checks that the kernel said so when it booted."""
    return lambda boot: text in boot


def _locks(boot) -> bool:
    """Lockdep switches itself off with its first report, or when one of its tables is full."""
    return re.search(r"debug_locks: +1$", Path("/proc/lockdep_stats").read_text(), re.MULTILINE) is not None


def _locks_and_said(text) -> Callable:
    return lambda boot: _locks(boot) and text in boot


@once
def _symbols() -> set:
    return {line.split()[2] for line in Path("/proc/kallsyms").read_text().splitlines()}


def _has(symbol) -> Callable:
    """Checks that the running kernel has the symbol that the option brings."""
    return lambda boot: symbol in _symbols()


def _tracks(symbol) -> Callable:
    """Checks that objects are tracked, and these are among them."""
    return lambda boot: Path("/sys/kernel/debug/debug_objects/stats").exists() and symbol in _symbols()


def _scans(boot) -> bool:
    """Checks that kmemleak scans; it refuses once it has switched itself off."""
    try:
        Path("/sys/kernel/debug/kmemleak").write_text("clear")
    except OSError:
        return False
    return True


#: The option that a kernel can be booted without.
LEAKS = "CONFIG_DEBUG_KMEMLEAK"


@dataclass(frozen=True)
class Sanitizer:
    option: str
    #: The faults that it finds.
    finds: str
    #: Whether the guest can tell that it is at work, given the kernel's log of its boot.
    is_at_work: Callable


SANITIZERS = (
    Sanitizer("CONFIG_KASAN_GENERIC", "use after free, access out of bounds",
              _said("KernelAddressSanitizer initialized (generic)")),
    Sanitizer("CONFIG_PROVE_LOCKING", "locks out of order, or from a wrong context", _locks),
    Sanitizer("CONFIG_PROVE_RCU", "use of what RCU or SRCU protects, outside of a section",
              _locks_and_said("RCU lockdep checking is enabled")),
    Sanitizer("CONFIG_DEBUG_ATOMIC_SLEEP", "sleeping where it is not allowed", _has("__might_sleep")),
    Sanitizer("CONFIG_DEBUG_OBJECTS_TIMERS", "timers freed while armed, or not initialised",
              _tracks("timer_debug_descr")),
    Sanitizer("CONFIG_DEBUG_OBJECTS_WORK", "work freed while queued, or not initialised",
              _tracks("work_debug_descr")),
    Sanitizer("CONFIG_DEBUG_OBJECTS_RCU_HEAD", "RCU heads queued twice",
              _tracks("rcuhead_debug_descr")),
    Sanitizer("CONFIG_DEBUG_LIST", "lists that are corrupt", _has("__list_add_valid_or_report")),
    Sanitizer(LEAKS, "memory that is lost", _scans),
)
