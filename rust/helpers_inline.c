// SPDX-License-Identifier: GPL-2.0
/*
 * The helpers that every bio passes. With CONFIG_RUST_INLINE_HELPERS they are
 * compiled to bitcode and inlined into the Rust code, otherwise they are called.
 */
#include <linux/blkdev.h>
#include <linux/topology.h>
#include <trace/events/block.h>

#include "helpers.h"

#ifdef CONFIG_RUST_INLINE_HELPERS
#define __mpath_inline __always_inline
#else
#define __mpath_inline
#endif

__mpath_inline
struct srcu_ctr __percpu *mpath_helper_srcu_read_lock(struct srcu_struct *ssp)
{
	return srcu_read_lock_fast(ssp);
}

__mpath_inline
void mpath_helper_srcu_read_unlock(struct srcu_struct *ssp,
				   struct srcu_ctr __percpu *scp)
{
	srcu_read_unlock_fast(ssp, scp);
}

__mpath_inline int mpath_helper_numa_node_id(void)
{
	return numa_node_id();
}

__mpath_inline u32 mpath_helper_cursor(struct mpath_cursor __percpu *cursors)
{
	return raw_cpu_read(cursors->next);
}

__mpath_inline
void mpath_helper_set_cursor(struct mpath_cursor __percpu *cursors, u32 next)
{
	raw_cpu_write(cursors->next, next);
}

__mpath_inline u32 mpath_helper_last_done(struct mpath_cursor __percpu *cursors)
{
	return raw_cpu_read(cursors->done);
}

#ifdef CONFIG_BLK_LOWER
__mpath_inline bool mpath_helper_enter_lower(struct block_device *bdev)
{
	return blk_enter_lower(bdev);
}
#endif

__mpath_inline u32 mpath_helper_depth(struct mpath_port_cpu __percpu *cpus)
{
	return (raw_cpu_read(cpus->active.counter) << MPATH_FRACTION_BITS) +
	       raw_cpu_read(cpus->others);
}

__mpath_inline
void mpath_helper_trace_bio_remap(struct bio *bio, struct mpath_head *from)
{
	if (trace_block_bio_remap_enabled())
		trace_block_bio_remap(bio, disk_devt(from->disk),
				      bio->bi_iter.bi_sector);
}
