/* SPDX-License-Identifier: GPL-2.0 */
/* Appended to a copy of include/linux/multipath.h, as choose.rs is to rust/ffi.rs. */
int mpath_bench_choose(struct mpath_head *head,
		       int (*cb)(struct mpath_device *dev, void *data));
