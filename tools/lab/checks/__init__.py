# SPDX-License-Identifier: GPL-2.0
"""Checks that run no test: of the source, the documents and the lab itself."""
