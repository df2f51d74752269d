// SPDX-License-Identifier: GPL-2.0
/*
 * Wrappers of inline functions and macros for the Rust side. No logic.
 */
#include <linux/blk-mq.h>
#include <linux/compat.h>
#include <linux/device.h>
#include <linux/module.h>
#include <linux/highmem.h>
#include <linux/nodemask.h>
#include <linux/part_stat.h>
#include <linux/ratelimit.h>
#include <linux/rcupdate.h>
#include <linux/sysfs.h>
#include <linux/topology.h>

#include "helpers.h"

int mpath_helper_init_srcu(struct srcu_struct *ssp)
{
	return init_srcu_struct_fast(ssp);
}

bool mpath_helper_srcu_is_read(struct srcu_struct *ssp)
{
	return debug_lockdep_rcu_enabled() && srcu_read_lock_held(ssp);
}

void mpath_helper_synchronize_tasks(void)
{
	synchronize_rcu_tasks();
}

int mpath_helper_node_distance(int from, int to)
{
	return node_distance(from, to);
}

bool mpath_helper_node_possible(int node)
{
	return node_possible(node);
}

bool mpath_helper_node_online(int node)
{
	return node_online(node);
}

struct gendisk *mpath_helper_alloc_disk(struct queue_limits *lim, int node)
{
	return blk_alloc_disk(lim, node);
}

void mpath_helper_suppress_part_scan(struct gendisk *disk)
{
	set_bit(GD_SUPPRESS_PART_SCAN, &disk->state);
}

bool mpath_helper_allow_part_scan(struct gendisk *disk)
{
	return test_and_clear_bit(GD_SUPPRESS_PART_SCAN, &disk->state);
}

bool mpath_helper_disk_added(struct gendisk *disk)
{
	return test_bit(GD_ADDED, &disk->state);
}

bool mpath_helper_disk_polls(struct gendisk *disk)
{
	struct request_queue *q = disk->queue;

	if (!(q->limits.features & BLK_FEAT_POLL))
		return false;
	return !queue_is_mq(q) || q->tag_set->map[HCTX_TYPE_POLL].nr_queues;
}

u32 mpath_helper_disk_openers(struct gendisk *disk)
{
	return disk_openers(disk);
}

u32 mpath_helper_disk_in_flight(struct gendisk *disk)
{
	return bdev_count_inflight(disk->part0);
}

u64 mpath_helper_disk_ios(struct gendisk *disk, u32 group)
{
	return part_stat_read(disk->part0, ios[group]);
}

u64 mpath_helper_disk_sectors(struct gendisk *disk, u32 group)
{
	return part_stat_read(disk->part0, sectors[group]);
}

bool mpath_helper_get_module(struct module *module)
{
	return try_module_get(module);
}

void mpath_helper_put_module(struct module *module)
{
	module_put(module);
}

struct workqueue_struct *mpath_helper_alloc_workqueue(void)
{
	return alloc_workqueue("multipath", WQ_UNBOUND | WQ_MEM_RECLAIM, 0);
}

struct kmem_cache *mpath_helper_slab_create(const char *name,
					    unsigned int size,
					    unsigned int align)
{
	return kmem_cache_create(name, size, align, 0, NULL);
}

void *mpath_helper_slab_alloc(struct kmem_cache *slab)
{
	return kmem_cache_alloc(slab, GFP_KERNEL);
}

u64 mpath_helper_jiffies(void)
{
	return get_jiffies_64();
}

struct mpath_cursor __percpu *mpath_helper_alloc_cursors(void)
{
	struct mpath_cursor __percpu *cursors = alloc_percpu(struct mpath_cursor);
	int cpu;

	/*
	 * Neighbours begin at different paths, and so do every second ones,
	 * which on some machines are the threads of a core or the CPUs of a
	 * node.
	 */
	if (cursors)
		for_each_possible_cpu(cpu) {
			struct mpath_cursor *cursor = per_cpu_ptr(cursors, cpu);

			cursor->next = cpu + cpu / 2;
			cursor->done = cursor->next;
			cursor->tick = jiffies - 1;
		}
	return cursors;
}

void mpath_helper_free_cursors(struct mpath_cursor __percpu *cursors)
{
	free_percpu(cursors);
}

struct mpath_cursor *mpath_helper_cursor_of(struct mpath_cursor __percpu *cursors,
					u32 cpu)
{
	return per_cpu_ptr(cursors, cpu);
}

struct mpath_port_cpu __percpu *mpath_helper_alloc_port_cpus(void)
{
	return alloc_percpu(struct mpath_port_cpu);
}

void mpath_helper_free_port_cpus(struct mpath_port_cpu __percpu *cpus)
{
	free_percpu(cpus);
}

struct mpath_port_cpu *
mpath_helper_port_cpu(struct mpath_port_cpu __percpu *cpus, u32 cpu)
{
	return per_cpu_ptr(cpus, cpu);
}

u32 mpath_helper_cpu(void)
{
	return raw_smp_processor_id();
}

u32 mpath_helper_cpu_ids(void)
{
	return nr_cpu_ids;
}

u32 mpath_helper_next_cpu(int cpu)
{
	return cpumask_next(cpu, cpu_possible_mask);
}

void mpath_helper_init_mutex(struct mutex *mutex)
{
	mutex_init(mutex);
}

ssize_t mpath_helper_emit_nodes(char *buf, const nodemask_t *nodes)
{
	return sysfs_emit(buf, "%*pbl\n", nodemask_pr_args(nodes));
}

unsigned long mpath_helper_compat_ptr(unsigned long arg)
{
#ifdef CONFIG_COMPAT
	return (unsigned long)compat_ptr(arg);
#else
	return arg;
#endif
}

struct gendisk *mpath_helper_alloc_path_disk(struct queue_limits *lim, int node)
{
	return blk_alloc_disk(lim, node);
}

void mpath_helper_bio_enter_again(struct bio *bio)
{
	percpu_ref_get(&bdev_get_queue(bio->bi_bdev)->q_usage_counter);
}

u16 mpath_helper_request_start(struct mpath_device *dev)
{
	return mpath_request_start(dev);
}

void mpath_helper_request_done(struct mpath_device *dev, u16 counted)
{
	mpath_request_done(dev, counted);
}

void mpath_helper_disk_leave(struct gendisk *disk)
{
	percpu_ref_put(&disk->queue->q_usage_counter);
}

bool mpath_helper_bio_segment(const struct bio *bio, struct bvec_iter *iter,
			      struct bio_vec *bv)
{
	if (!iter->bi_size)
		return false;
	*bv = bio_iter_iovec(bio, *iter);
	bio_advance_iter_single(bio, iter, bv->bv_len);
	return true;
}

void mpath_helper_fill_segment(const struct bio_vec *bv, const char *from)
{
	memcpy_to_page(bv->bv_page, bv->bv_offset, from, bv->bv_len);
}

void mpath_helper_zero_segment(const struct bio_vec *bv)
{
	memzero_page(bv->bv_page, bv->bv_offset, bv->bv_len);
}

void mpath_helper_store_segment(const struct bio_vec *bv, char *to)
{
	memcpy_from_page(to, bv->bv_page, bv->bv_offset, bv->bv_len);
}

struct gendisk *mpath_helper_alloc_request_disk(struct blk_mq_tag_set *set,
						struct queue_limits *lim)
{
	return blk_mq_alloc_disk(set, lim, NULL);
}

bool mpath_helper_queue_enter(struct request_queue *q)
{
	return percpu_ref_tryget(&q->q_usage_counter);
}

void mpath_helper_queue_enter_again(struct request_queue *q)
{
	percpu_ref_get(&q->q_usage_counter);
}

void mpath_helper_queue_leave(struct request_queue *q)
{
	percpu_ref_put(&q->q_usage_counter);
}

void mpath_helper_request_requeue(struct request *rq, unsigned int msecs)
{
	struct request_queue *q = rq->q;

	/* Another context may end the request as soon as it is in the list. */
	percpu_ref_get(&q->q_usage_counter);
	blk_mq_requeue_request(rq, false);
	blk_mq_delay_kick_requeue_list(q, msecs);
	percpu_ref_put(&q->q_usage_counter);
}

bool mpath_helper_batch_add(struct io_comp_batch *batch, struct request *rq)
{
	return blk_mq_add_to_batch(rq, batch, false, blk_mq_end_request_batch);
}

int mpath_helper_stack_limits(struct gendisk *disk, struct block_device *lower)
{
	struct queue_limits lim = queue_limits_start_update(disk->queue);

	queue_limits_stack_bdev(&lim, lower, 0, disk->disk_name);
	return queue_limits_commit_update_frozen(disk->queue, &lim);
}

struct bio *mpath_helper_clone_bio(struct block_device *lower, struct bio *bio,
				   struct bio_set *bs)
{
	return mpath_clone_bio(lower, bio, GFP_NOIO, bs);
}

bool mpath_helper_path_error(u8 status)
{
	return mpath_path_error((__force blk_status_t)status);
}

void mpath_helper_warn_requeuing(struct gendisk *disk)
{
	dev_warn_ratelimited(disk_to_dev(disk),
			     "no usable path - requeuing I/O\n");
}

void mpath_helper_warn_failing(struct gendisk *disk)
{
	dev_warn_ratelimited(disk_to_dev(disk),
			     "no available path - failing I/O\n");
}

bool mpath_helper_warn_path_fails(struct gendisk *disk, struct gendisk *path,
				  u64 failures)
{
	static DEFINE_RATELIMIT_STATE(limit, DEFAULT_RATELIMIT_INTERVAL,
				      DEFAULT_RATELIMIT_BURST);

	if (!__ratelimit(&limit))
		return false;
	dev_warn(disk_to_dev(disk), "path %s fails I/O, %llu times up to now\n",
		 path->disk_name, failures);
	return true;
}

void mpath_helper_info_path_works(struct gendisk *disk, struct gendisk *path,
				  u64 failures)
{
	dev_info(disk_to_dev(disk),
		 "path %s works again, it has failed I/O %llu times up to now\n",
		 path->disk_name, failures);
}

void mpath_helper_err_link(struct gendisk *disk, struct gendisk *path)
{
	dev_err(disk_to_dev(disk), "failed to create link to %s\n",
		dev_name(disk_to_dev(path)));
}

#ifdef MPATH_BEFORE_7_3
/* The KUnit suites call them. The compiler of C does not hear of CONFIG_LIBMULTIPATH_KUNIT_TEST. */
unsigned long mpath_helper_irq_save(void)
{
	unsigned long flags;

	local_irq_save(flags);
	return flags;
}

void mpath_helper_irq_restore(unsigned long flags)
{
	local_irq_restore(flags);
}

#ifndef MODULE
/* Not exported: a driver in Rust that is a module has no use for it. */
const u8 mpath_rust_driver_is_built_in = 1;
#endif
#endif
