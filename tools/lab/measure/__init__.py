# SPDX-License-Identifier: GPL-2.0
"""What an I/O costs: the benchmarks, their tools and their pictures."""
