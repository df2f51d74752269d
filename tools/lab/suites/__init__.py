# SPDX-License-Identifier: GPL-2.0
"""What runs tests, each of its kind, and the demo."""
