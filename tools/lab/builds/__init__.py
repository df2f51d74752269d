# SPDX-License-Identifier: GPL-2.0
"""What tests run on: packages, compilers, sources, kernels, modules, the crate, its documentation."""
