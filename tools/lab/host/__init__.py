# SPDX-License-Identifier: GPL-2.0
"""Where things are, processes, guests: what the lab needs of the machine that it runs on."""
