# SPDX-License-Identifier: GPL-2.0
"""Suites: they run tests, each of its kind, and the demo."""
