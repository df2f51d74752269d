/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The C declarations that the Rust side needs: the library's own interface, and
 * wrappers of inline functions and macros that bindgen cannot call. No logic.
 */
#ifndef _LIBMULTIPATH_HELPERS_H
#define _LIBMULTIPATH_HELPERS_H

#include <linux/bio-integrity.h>
#include <linux/blk-mq.h>
#include <linux/blk-cgroup.h>
#include <linux/io_uring/cmd.h>
#include <linux/multipath.h>
#include <linux/pr.h>
#include <linux/slab.h>
#include <linux/srcu.h>
#include <linux/workqueue.h>

int mpath_helper_init_srcu(struct srcu_struct *ssp);
struct srcu_ctr __percpu *mpath_helper_srcu_read_lock(struct srcu_struct *ssp);
void mpath_helper_srcu_read_unlock(struct srcu_struct *ssp,
				   struct srcu_ctr __percpu *scp);
bool mpath_helper_srcu_is_read(struct srcu_struct *ssp);
void mpath_helper_synchronize_tasks(void);

int mpath_helper_numa_node_id(void);
int mpath_helper_node_distance(int from, int to);
bool mpath_helper_node_possible(int node);
bool mpath_helper_node_online(int node);

u32 mpath_helper_cursor(struct mpath_cursor __percpu *cursors);
void mpath_helper_set_cursor(struct mpath_cursor __percpu *cursors, u32 next);
u32 mpath_helper_last_done(struct mpath_cursor __percpu *cursors);
struct mpath_cursor __percpu *mpath_helper_alloc_cursors(void);
void mpath_helper_free_cursors(struct mpath_cursor __percpu *cursors);
struct mpath_cursor *mpath_helper_cursor_of(struct mpath_cursor __percpu *cursors,
					u32 cpu);

u32 mpath_helper_depth(struct mpath_port_cpu __percpu *cpus);
struct mpath_port_cpu __percpu *mpath_helper_alloc_port_cpus(void);
void mpath_helper_free_port_cpus(struct mpath_port_cpu __percpu *cpus);
struct mpath_port_cpu *
mpath_helper_port_cpu(struct mpath_port_cpu __percpu *cpus, u32 cpu);
u32 mpath_helper_cpu(void);
u32 mpath_helper_cpu_ids(void);
u32 mpath_helper_next_cpu(int cpu);

#ifdef CONFIG_BLK_LOWER
bool mpath_helper_enter_lower(struct block_device *bdev);
#endif
void mpath_helper_trace_bio_remap(struct bio *bio, struct mpath_head *from);
struct gendisk *mpath_helper_alloc_disk(struct queue_limits *lim, int node);
void mpath_helper_suppress_part_scan(struct gendisk *disk);
bool mpath_helper_allow_part_scan(struct gendisk *disk);
bool mpath_helper_disk_added(struct gendisk *disk);
bool mpath_helper_disk_polls(struct gendisk *disk);
u32 mpath_helper_disk_openers(struct gendisk *disk);
u32 mpath_helper_disk_in_flight(struct gendisk *disk);
u64 mpath_helper_disk_ios(struct gendisk *disk, u32 group);
u64 mpath_helper_disk_sectors(struct gendisk *disk, u32 group);

bool mpath_helper_get_module(struct module *module);
void mpath_helper_put_module(struct module *module);
struct workqueue_struct *mpath_helper_alloc_workqueue(void);
struct kmem_cache *mpath_helper_slab_create(const char *name,
					    unsigned int size,
					    unsigned int align);
void *mpath_helper_slab_alloc(struct kmem_cache *slab);
u64 mpath_helper_jiffies(void);
void mpath_helper_init_mutex(struct mutex *mutex);
ssize_t mpath_helper_emit_nodes(char *buf, const nodemask_t *nodes);
unsigned long mpath_helper_compat_ptr(unsigned long arg);

/* Features of a disk, whose macros have casts that bindgen does not evaluate. */
enum mpath_helper_features {
	MPATH_FEAT_WRITE_CACHE	= (__force unsigned int)BLK_FEAT_WRITE_CACHE,
	MPATH_FEAT_FUA		= (__force unsigned int)BLK_FEAT_FUA,
	MPATH_FEAT_NOWAIT	= (__force unsigned int)BLK_FEAT_NOWAIT,
	MPATH_FEAT_ZONED	= (__force unsigned int)BLK_FEAT_ZONED,
	MPATH_FLAG_WRITE_CACHE_DISABLED =
		(__force unsigned int)BLK_FLAG_WRITE_CACHE_DISABLED,
};

/* The groups of I/O that a disk counts apart. */
enum mpath_helper_groups {
	MPATH_STAT_READ		= STAT_READ,
	MPATH_STAT_WRITE	= STAT_WRITE,
	MPATH_STAT_DISCARD	= STAT_DISCARD,
	MPATH_STAT_FLUSH	= STAT_FLUSH,
};

/* The reason why a bio waits, for trace events. */
enum mpath_helper_parked {
	MPATH_PARKED_NO_PATH,
	MPATH_PARKED_FAILOVER,
	MPATH_PARKED_PAUSE,
	MPATH_PARKED_MEMORY,
	MPATH_PARKED_FENCE,
};

/* A path's state, for trace events. */
struct mpath_traced_state {
	u32	access;
	u32	reasons;
	u32	trust;
};

void mpath_helper_trace_park(struct gendisk *head, struct bio *bio, u32 why,
			     u32 waiting);
void mpath_helper_trace_resubmit(struct gendisk *head, struct bio *bio,
				 u32 waiting);
void mpath_helper_trace_failover(struct gendisk *head, struct gendisk *path,
				 struct bio *bio, u32 status, bool fenced);
void mpath_helper_trace_path_state(struct gendisk *head, struct gendisk *path,
				   const struct mpath_traced_state *old,
				   const struct mpath_traced_state *new);
void mpath_helper_trace_port_state(const char *port, u32 old, u32 new);
void mpath_helper_trace_retry(struct gendisk *head, struct gendisk *path,
			      u32 pause_ms);
void mpath_helper_trace_head_state(struct gendisk *head, u32 old, u32 new);

/* Exported: the Rust face calls it from within the drivers' modules. */
struct gendisk *mpath_helper_alloc_path_disk(struct queue_limits *lim, int node);
void mpath_helper_bio_enter_again(struct bio *bio);
u16 mpath_helper_request_start(struct mpath_device *dev);
void mpath_helper_request_done(struct mpath_device *dev, u16 counted);
void mpath_helper_disk_leave(struct gendisk *disk);
bool mpath_helper_bio_segment(const struct bio *bio, struct bvec_iter *iter,
			      struct bio_vec *bv);
void mpath_helper_fill_segment(const struct bio_vec *bv, const char *from);
void mpath_helper_zero_segment(const struct bio_vec *bv);
void mpath_helper_store_segment(const struct bio_vec *bv, char *to);
struct gendisk *mpath_helper_alloc_request_disk(struct blk_mq_tag_set *set,
						struct queue_limits *lim);
bool mpath_helper_queue_enter(struct request_queue *q);
void mpath_helper_queue_enter_again(struct request_queue *q);
void mpath_helper_queue_leave(struct request_queue *q);
void mpath_helper_request_requeue(struct request *rq, unsigned int msecs);
bool mpath_helper_batch_add(struct io_comp_batch *batch, struct request *rq);
int mpath_helper_stack_limits(struct gendisk *disk, struct block_device *lower);
struct bio *mpath_helper_clone_bio(struct block_device *lower, struct bio *bio,
				   struct bio_set *bs);
bool mpath_helper_path_error(u8 status);

void mpath_helper_warn_requeuing(struct gendisk *disk);
void mpath_helper_warn_failing(struct gendisk *disk);
bool mpath_helper_warn_path_fails(struct gendisk *disk, struct gendisk *path,
				  u64 failures);
void mpath_helper_info_path_works(struct gendisk *disk, struct gendisk *path,
				  u64 failures);
void mpath_helper_err_link(struct gendisk *disk, struct gendisk *path);

/* For older kernels, which lack something: rust/compat.rs. */
#ifdef MPATH_BEFORE_7_3
unsigned long mpath_helper_irq_save(void);
void mpath_helper_irq_restore(unsigned long flags);
extern const u8 mpath_rust_driver_is_built_in;
#endif

#endif /* _LIBMULTIPATH_HELPERS_H */
