# SPDX-License-Identifier: GPL-2.0
"""The results of runs: counts, records, the results of the parts, and the documents' claims about them."""
