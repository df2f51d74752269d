// SPDX-License-Identifier: GPL-2.0
/*
 * A RAM disk behind several paths that take bios. c_mpath.h has the head, the paths and configfs.
 *
 * A bio can fail in part: a path that fails has carried out one half of it. So
 * a path works on a clone. The head's bio stays as it was, and the driver gives
 * it back whole when the path is to blame.
 */
#include <linux/blkdev.h>
#include <linux/hrtimer.h>

static const char * const ram_failures[] = { "none", "path", "medium" };
static const blk_status_t ram_statuses[] = { BLK_STS_OK, BLK_STS_TRANSPORT, BLK_STS_MEDIUM };
static const char * const ram_event_names[] = { "failed-over" };

struct ram_device {
	atomic_t	in_flight;
};

#include "c_mpath.h"

/* A bio of the head on its way through a path. */
struct ram_io {
	struct bio	*bio;
	struct ram_path	*path;
	struct hrtimer	timer;
	u16		counted;
	struct bio	clone;
};

static struct bio_set ram_ios;

/* Carries a clone out, or its first half when @failure says that it fails. */
static blk_status_t ram_carry_out(struct bio *clone, unsigned int failure)
{
	unsigned int left = failure ? clone->bi_iter.bi_size / 2 : 0;

	while (clone->bi_iter.bi_size > left) {
		struct bio_vec bv = bio_iter_iovec(clone, clone->bi_iter);
		void *at = ram_memory + (clone->bi_iter.bi_sector << SECTOR_SHIFT);

		if (op_is_write(bio_op(clone)))
			memcpy_from_bvec(at, &bv);
		else
			memcpy_to_bvec(&bv, at);
		bio_advance_iter_single(clone, &clone->bi_iter, bv.bv_len);
	}
	return ram_statuses[failure];
}

static void ram_end_clone(struct bio *clone)
{
	struct ram_io *io = container_of(clone, struct ram_io, clone);
	struct bio_list bios = BIO_EMPTY_LIST;
	blk_status_t status = clone->bi_status;
	struct ram_path *path = io->path;
	struct bio *bio = io->bio;

	atomic_dec(&path->device.in_flight);
	mpath_request_done(&path->mpath, io->counted);
	bio_put(clone);
	if (mpath_path_error(status)) {
		atomic64_inc(&path->events[0]);
		bio_list_add(&bios, bio);
		mpath_failover(&path->mpath, &bios);
	} else {
		atomic64_inc(&path->ios);
		atomic64_add(bio->bi_iter.bi_size, &path->bytes);
		atomic64_add(!bio->bi_iter.bi_size, &path->flushes);
		if (status)
			bio->bi_status = status;
		bio_endio(bio);
	}
	/* The path may go. */
	mpath_leave_device(&path->mpath);
}

static enum hrtimer_restart ram_end_late(struct hrtimer *timer)
{
	bio_endio(&container_of(timer, struct ram_io, timer)->clone);
	return HRTIMER_NORESTART;
}

static void ram_submit_bio(struct bio *bio)
{
	struct bio *clone = mpath_clone_bio(bio->bi_bdev, bio, GFP_NOIO, &ram_ios);
	struct ram_io *io = container_of(clone, struct ram_io, clone);
	struct ram_path *path = bio->bi_bdev->bd_disk->private_data;
	unsigned int depth = max(READ_ONCE(path->queue_depth), 1U);
	u64 delay_us;

	/* A path that goes waits for its bios in del_gendisk(). */
	mpath_enter_device(&path->mpath);
	io->bio = bio;
	io->path = path;
	io->counted = mpath_request_start(&path->mpath);
	clone->bi_end_io = ram_end_clone;
	clone->bi_status = ram_carry_out(clone, READ_ONCE(path->failure));
	/* As many bios as the queue is deep take one turn together, those behind them the next. */
	delay_us = (u64)READ_ONCE(path->latency_us) *
		   ((atomic_inc_return(&path->device.in_flight) - 1) / depth + 1);
	if (!delay_us)
		return bio_endio(clone);
	hrtimer_setup(&io->timer, ram_end_late, CLOCK_MONOTONIC, HRTIMER_MODE_REL_SOFT);
	hrtimer_start(&io->timer, us_to_ktime(delay_us), HRTIMER_MODE_REL_SOFT);
}

static const struct block_device_operations ram_path_ops = { .submit_bio = ram_submit_bio };

static int ram_start_path(struct ram_path *path)
{
	struct queue_limits lim = { .features = BLK_FEAT_WRITE_CACHE };
	struct gendisk *disk = blk_alloc_disk(&lim, NUMA_NO_NODE);
	int err;

	if (IS_ERR(disk))
		return PTR_ERR(disk);
	disk->fops = &ram_path_ops;
	disk->private_data = path;
	err = ram_add_path(path, disk);
	if (err)
		put_disk(disk);
	return err;
}

static void ram_stop_path(struct ram_path *path)
{
	ram_remove_path(path, NULL);
}

static int __init ram_init_device(struct ram_path *path)
{
	return bioset_initialized(&ram_ios) ? 0 :
	       bioset_init(&ram_ios, BIO_POOL_SIZE, offsetof(struct ram_io, clone), 0);
}

static void ram_exit_devices(void)
{
	bioset_exit(&ram_ios);
}
