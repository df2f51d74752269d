#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""The lab's command line: `tools/lab.py <command>`. The Makefile is a shell over it."""

import sys

sys.dont_write_bytecode = True

from lab import commands

if __name__ == "__main__":
    sys.exit(commands.main(sys.argv[1:]))
