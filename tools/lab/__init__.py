# SPDX-License-Identifier: GPL-2.0
"""The lab: gets a kernel and its tools, builds, boots, reports.

One module a noun, in packages. Each package uses those above it only, and `make check` finds circles:

    host      where things are, the user, child processes, guests
    builds    the base that tests run on; each `ensure()` there makes only missing parts
    verdicts  the results of runs, and the documents' claims about them
    measure   the cost of an I/O
    suites    the programs that run tests, each of its kind
    checks    the checks that run no test
    runs      several suites in one run

`commands` has the function of each `make` target.
"""

import sys
from pathlib import Path

#: The project's own tree: the lab also reads the packages of `tests`.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
