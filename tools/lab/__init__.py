# SPDX-License-Identifier: GPL-2.0
"""The lab: gets a kernel and its tools, builds, boots, reports.

One module a noun. `paths` says where things are, `log` talks to the user, `process` runs
children, `cache` keeps what was expensive. On these stand `apt`, `toolchain`, `source`, `setup`,
`kernel` and `modules`, which make what the tests run on; each has an `ensure()` that does only
what is missing.
"""

import sys
from pathlib import Path

#: The project's own tree: the lab also reads the packages of `tests`.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
