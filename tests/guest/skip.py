# SPDX-License-Identifier: GPL-2.0
"""The exception of a test that this kernel, or this driver, cannot do."""


class Skip(Exception):
    """The reason why a test could not be done."""
