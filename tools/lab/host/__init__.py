# SPDX-License-Identifier: GPL-2.0
"""The lab's needs of the machine that it runs on: where things are, processes, guests."""
