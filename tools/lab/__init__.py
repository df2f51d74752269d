# SPDX-License-Identifier: GPL-2.0
"""The lab: gets a kernel and its tools, builds, boots, reports.

One module a noun, in packages. Each package uses those above it only, and `make check` finds circles:

    host      where things are, the user, child processes, guests
    builds    what tests run on; each `ensure()` there does only what is missing
    verdicts  what runs have come to, and what the documents claim of it
    measure   what an I/O costs
    suites    what runs tests, each of its kind
    checks    what is checked without running
    runs      several suites in one run

`commands` has what each `make` target does.
"""

import sys
from pathlib import Path

#: The project's own tree: the lab also reads the packages of `tests`.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
