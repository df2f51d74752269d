# SPDX-License-Identifier: GPL-2.0
"""What runs have come to: counts, records, the results of the parts, and what the documents claim of them."""
