# SPDX-License-Identifier: GPL-2.0
"""All end-to-end tests: those of every file beside this one that is called test_*.py."""

import importlib
from pathlib import Path

from tests.e2e.case import cases

for _file in sorted(Path(__file__).parent.glob("test_*.py")):
    importlib.import_module(f"{__package__}.{_file.stem}")

CASES = cases
#: The tests that run unless one asks for more.
SHORT = [name for name, case in cases.items() if not case.long]
#: The same, by function: one that is run over several transports, or with several drivers, is several tests.
VARIANTS = {}
for _name in SHORT:
    VARIANTS.setdefault(cases[_name].function, []).append(_name)


def file_of(name: str) -> str:
    """The file that a test is in, without its suffix."""
    return cases[name].function.__module__.rpartition(".")[2]


def has_every_test(names) -> bool:
    """Is every test that runs unless one asks for more among these, in one of its forms at least?"""
    return all(not set(variants).isdisjoint(names) for variants in VARIANTS.values())
