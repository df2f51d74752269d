// SPDX-License-Identifier: GPL-2.0
/* Appended to a copy of rust/exports.c, as choose.rs is to rust/ffi.rs. */
EXPORT_SYMBOL_GPL(mpath_bench_choose);
