# SPDX-License-Identifier: GPL-2.0
"""The base that tests run on: packages, compilers, sources, kernels, modules, the crate, its documentation."""
