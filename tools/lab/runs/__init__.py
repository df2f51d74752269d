# SPDX-License-Identifier: GPL-2.0
"""Several suites in one run: `test`, `long`, one test of any suite, and the series of patches."""
