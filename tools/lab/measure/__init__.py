# SPDX-License-Identifier: GPL-2.0
"""The cost of an I/O: the benchmarks, their tools and their pictures."""
