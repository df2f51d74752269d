// SPDX-License-Identifier: GPL-2.0
/*
 * Reads the first block of a head, and dawdles between the head and the path. The head has chosen a
 * path, and its ->submit_bio has returned. The bio has not entered the queue of the path's disk. A
 * task that is preempted just there is in the same state. That is rare; this module makes it at
 * will.
 *
 *	modprobe hold_bio disk=/dev/nvme0n1
 *	cd /sys/kernel/debug/hold_bio
 *	echo 1 >read &
 *	cat held
 *	echo N >hold
 *
 * The echo to "read" ends with the result of the read. "held" says Y when the task is there. N in
 * "hold" lets the task go on.
 *
 * The task does not sleep, but may be preempted. It goes on by itself after HOLD_SECONDS.
 *
 * With mark=1 the disk need not be a head's, and nothing is held. The bio then bears the mark that
 * a head sets on bios for its paths, as if a path's driver passed on a bio of the head.
 */
#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/completion.h>
#include <linux/debugfs.h>
#include <linux/gfp.h>
#include <linux/jiffies.h>
#include <linux/module.h>

#define HOLD_SECONDS	60

static char *disk;
module_param(disk, charp, 0444);
MODULE_PARM_DESC(disk, "The block device of the head");

static bool mark;
module_param(mark, bool, 0444);
MODULE_PARM_DESC(mark, "Read with the mark of a head, and hold nothing");

static struct dentry *hold_directory;
static bool hold = true;
static bool held;

/*
 * Submits a bio as the block layer does for a disk that has ->submit_bio, with those that it
 * submits.
 */
static void hold_submit(struct bio *bio)
{
	struct bio_list lists[2] = { };
	struct gendisk *head = bio->bi_bdev->bd_disk;
	unsigned long end = jiffies + HOLD_SECONDS * HZ;

	percpu_ref_get(&head->queue->q_usage_counter);
	current->bio_list = lists;
	head->fops->submit_bio(bio);
	current->bio_list = NULL;
	percpu_ref_put(&head->queue->q_usage_counter);

	WRITE_ONCE(held, true);
	while (READ_ONCE(hold) && time_before(jiffies, end))
		cpu_relax();

	while ((bio = bio_list_pop(&lists[0])))
		submit_bio_noacct(bio);
}

static void hold_end_io(struct bio *bio)
{
	complete(bio->bi_private);
}

static ssize_t hold_read(struct file *control, const char __user *buf, size_t count, loff_t *pos)
{
	DECLARE_COMPLETION_ONSTACK(done);
	struct file *file = bdev_file_open_by_path(disk ?: "", BLK_OPEN_READ, NULL, NULL);
	struct page *page;
	struct bio *bio;
	int err = -ENOMEM;

	if (IS_ERR(file))
		return PTR_ERR(file);
	page = alloc_page(GFP_KERNEL);
	if (!page)
		goto out_close;
	bio = bio_alloc(file_bdev(file), 1, REQ_OP_READ | (mark ? REQ_DRV : 0), GFP_KERNEL);
	__bio_add_page(bio, page, PAGE_SIZE, 0);
	bio->bi_end_io = hold_end_io;
	bio->bi_private = &done;
	if (mark)
		submit_bio(bio);
	else
		hold_submit(bio);
	wait_for_completion_io(&done);
	err = blk_status_to_errno(bio->bi_status);
	bio_put(bio);
	__free_page(page);
out_close:
	bdev_fput(file);
	return err ?: count;
}

static const struct file_operations hold_read_fops = {
	.owner	= THIS_MODULE,
	.open	= simple_open,
	.write	= hold_read,
};

static int __init hold_init(void)
{
	hold_directory = debugfs_create_dir("hold_bio", NULL);
	debugfs_create_file("read", 0200, hold_directory, NULL, &hold_read_fops);
	debugfs_create_bool("hold", 0600, hold_directory, &hold);
	debugfs_create_bool("held", 0400, hold_directory, &held);
	return 0;
}
module_init(hold_init);

static void __exit hold_exit(void)
{
	debugfs_remove(hold_directory);
}
module_exit(hold_exit);

MODULE_DESCRIPTION("Holds a bio on its way to a path");
MODULE_LICENSE("GPL");
