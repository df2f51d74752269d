# SPDX-License-Identifier: GPL-2.0
"""What a test raises that cannot be done in this kernel, or with this driver."""


class Skip(Exception):
    """Why a test could not be done."""
