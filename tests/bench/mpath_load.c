// SPDX-License-Identifier: GPL-2.0
/*
 * The load of `make bench`: a kernel thread that reads a block device, some bios
 * at a time. It says how many cycles that took. With flag 4 it also says how long
 * the longest bio took, and how many there were. With QEMU's icount the cycle
 * counter counts instructions, or nanoseconds while there is nothing to execute.
 *
 *	echo "/dev/nvme0n1 4096 0 1024 32 0" >/sys/module/mpath_load/parameters/run
 *	cat /sys/module/mpath_load/parameters/run
 *
 * reads 4096 bytes at a time, from 0 sectors after each multiple of that, 1024
 * times, 32 at a time. The last number has flags:
 *
 * Flag 1 returns as soon as the first bios were submitted. The next run, or the
 * word "wait", waits until all have ended; "stop" submits no more of them.
 *
 * Flag 2 sets the marks between which profile.c counts.
 *
 * Flag 4 submits a bio whenever one has ended, instead of the next 32 when 32
 * have, and sets the marks that longest.c looks for.
 */
#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/completion.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/timex.h>

#include "marks.h"

#define LOAD_HOLD	BIT(0)
#define LOAD_MARK	BIT(1)
#define LOAD_STREAM	BIT(2)

struct load_bio {
	struct bio bio;
	struct bio_vec vec;
	u64 begun;
	bool busy;
};

static struct load {
	struct file *file;
	struct block_device *bdev;
	struct page *page;
	struct load_bio *bios;
	unsigned int bytes;
	unsigned int offset;
	unsigned int count;
	unsigned int depth;
	unsigned int flags;
	sector_t sectors;
	atomic_t running;
	struct completion batch;
	struct completion submitted;
	struct completion ended;
	blk_status_t status;
	bool stop;
	unsigned int done;
	u64 longest;
	u64 cycles;
} load;

static u64 load_longest_ever;
static bool load_pending;
static DEFINE_MUTEX(load_lock);

static void load_end_of_stream_io(struct load_bio *one)
{
	u64 cycles = get_cycles() - one->begun;

	if (cycles > READ_ONCE(load.longest))
		WRITE_ONCE(load.longest, cycles);
	if (cycles > READ_ONCE(load_longest_ever)) {
		WRITE_ONCE(load_longest_ever, cycles);
		BENCH_MARK(BENCH_LONGEST);
	}
	/* Pairs with load_idle_bio(): the bio is used no more */
	smp_store_release(&one->busy, false);
	complete(&load.batch);
}

static void load_end_io(struct bio *bio)
{
	if (bio->bi_status)
		load.status = bio->bi_status;
	if (load.flags & LOAD_STREAM)
		load_end_of_stream_io(container_of(bio, struct load_bio, bio));
	else if (atomic_dec_and_test(&load.running))
		complete(&load.batch);
}

static void load_submit(struct load_bio *one, unsigned int number)
{
	sector_t step = load.bytes >> SECTOR_SHIFT;
	u64 slots = div64_u64(load.sectors - load.offset, step);

	bio_init(&one->bio, load.bdev, &one->vec, 1, REQ_OP_READ);
	__bio_add_page(&one->bio, load.page, load.bytes, 0);
	one->bio.bi_iter.bi_sector = load.offset + number % slots * step;
	one->bio.bi_end_io = load_end_io;
	submit_bio(&one->bio);
}

static void load_batches(void)
{
	unsigned int i;

	for (; load.done < load.count; load.done += load.depth) {
		atomic_set(&load.running, load.depth);
		for (i = 0; i < load.depth; i++)
			load_submit(&load.bios[i], load.done + i);
		complete(&load.submitted);
		wait_for_completion(&load.batch);
	}
}

static struct load_bio *load_idle_bio(void)
{
	struct load_bio *one = load.bios;

	/* Pairs with load_end_of_stream_io() */
	while (smp_load_acquire(&one->busy))
		one++;
	return one;
}

static void load_stream(void)
{
	struct load_bio *one;
	unsigned int left;

	for (; load.done < load.count && !READ_ONCE(load.stop); load.done++) {
		if (load.done == load.depth)
			complete(&load.submitted);
		if (load.done >= load.depth)
			wait_for_completion(&load.batch);
		one = load_idle_bio();
		one->busy = true;
		BENCH_MARK(BENCH_SUBMIT);
		one->begun = get_cycles();
		load_submit(one, load.done);
	}
	complete(&load.submitted);
	for (left = min(load.done, load.depth); left; left--)
		wait_for_completion(&load.batch);
}

static int load_thread(void *unused)
{
	u64 start;

	if (load.flags & LOAD_MARK)
		BENCH_MARK(BENCH_BEGIN);
	start = get_cycles();
	if (load.flags & LOAD_STREAM)
		load_stream();
	else
		load_batches();
	load.cycles = get_cycles() - start;
	if (load.flags & LOAD_MARK)
		BENCH_MARK(BENCH_END);
	kthread_complete_and_exit(&load.ended, 0);
}

static int load_begin(const char *path)
{
	struct task_struct *thread;
	int ret = -ENOMEM;

	init_completion(&load.batch);
	init_completion(&load.submitted);
	init_completion(&load.ended);
	load.status = BLK_STS_OK;
	load.stop = false;
	load.done = 0;
	load.longest = 0;

	load.file = bdev_file_open_by_path(path, BLK_OPEN_READ, NULL, NULL);
	if (IS_ERR(load.file))
		return PTR_ERR(load.file);
	load.bdev = file_bdev(load.file);
	load.sectors = bdev_nr_sectors(load.bdev);

	load.page = alloc_pages(GFP_KERNEL | __GFP_COMP, get_order(load.bytes));
	if (!load.page)
		goto out_close;
	load.bios = kvcalloc(load.depth, sizeof(*load.bios), GFP_KERNEL);
	if (!load.bios)
		goto out_free_page;

	thread = kthread_run(load_thread, NULL, "mpath_load");
	if (!IS_ERR(thread))
		return 0;

	ret = PTR_ERR(thread);
	kvfree(load.bios);
out_free_page:
	__free_pages(load.page, get_order(load.bytes));
out_close:
	bdev_fput(load.file);
	return ret;
}

static int load_finish(void)
{
	wait_for_completion(&load.ended);
	kvfree(load.bios);
	__free_pages(load.page, get_order(load.bytes));
	bdev_fput(load.file);
	return blk_status_to_errno(load.status);
}

static int load_finish_pending(void)
{
	if (!load_pending)
		return 0;
	load_pending = false;
	return load_finish();
}

static int load_run(const char *path)
{
	int ret;

	if (load.bytes < SECTOR_SIZE || load.bytes % SECTOR_SIZE ||
	    !load.depth || load.count % load.depth)
		return -EINVAL;
	ret = load_begin(path);
	if (ret)
		return ret;
	if (!(load.flags & LOAD_HOLD))
		return load_finish();
	wait_for_completion(&load.submitted);
	load_pending = true;
	return 0;
}

static int load_set(const char *val, const struct kernel_param *kp)
{
	char path[64];
	int words, ret;

	mutex_lock(&load_lock);
	if (sysfs_streq(val, "stop"))
		WRITE_ONCE(load.stop, true);
	ret = load_finish_pending();
	if (ret || sysfs_streq(val, "wait") || sysfs_streq(val, "stop"))
		goto out_unlock;
	words = sscanf(val, "%63s %u %u %u %u %u", path, &load.bytes,
		       &load.offset, &load.count, &load.depth, &load.flags);
	ret = words == 6 ? load_run(path) : -EINVAL;
out_unlock:
	mutex_unlock(&load_lock);
	return ret;
}

static int load_get(char *buffer, const struct kernel_param *kp)
{
	return sysfs_emit(buffer, "%llu %llu %u\n", load.cycles, load.longest,
			  load.done);
}

static const struct kernel_param_ops load_ops = {
	.set = load_set,
	.get = load_get,
};
module_param_cb(run, &load_ops, NULL, 0600);
MODULE_PARM_DESC(run, "path, bytes, offset in sectors, count, depth, flags");

static int __init load_init(void)
{
	return 0;
}
module_init(load_init);

static void __exit load_exit(void)
{
	load_finish_pending();
}
module_exit(load_exit);

MODULE_DESCRIPTION("Load on a block device, counted in cycles");
MODULE_LICENSE("GPL");
