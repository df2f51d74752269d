# SPDX-License-Identifier: GPL-2.0
"""What is checked without running: the source, the documents and the lab itself."""
