# SPDX-License-Identifier: GPL-2.0
"""Where everything is: the project, its builds, and the user's cache."""

import os
from pathlib import Path

#: The project's own tree.
ROOT = Path(__file__).resolve().parents[3]
#: Everything built for this tree; `make clean` removes it.
BUILD = ROOT / "build"
LOGS = BUILD / "logs"
REPORTS = BUILD / "reports"
CARGO = BUILD / "cargo"
#: Sources, tools and kernel images, shared by all trees of one user; `make distclean` removes it.
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "libmultipath"
#: The kernel configurations, one fragment each.
CONFIGS = ROOT / "tools" / "kernel"
