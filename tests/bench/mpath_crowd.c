// SPDX-License-Identifier: GPL-2.0
/*
 * The load of flight.py: kernel threads that read a block device, each on a CPU of
 * its own and with so many bios at a time. A thread submits a bio whenever one of
 * its own has ended.
 *
 *	echo "/dev/nvme0n1 0:32 1:1" >/sys/module/mpath_crowd/parameters/run
 *	echo stop >/sys/module/mpath_crowd/parameters/run
 *	cat /sys/module/mpath_crowd/parameters/run
 *
 * has CPU 0 read with 32 bios and CPU 1 with one, until "stop". Reading says how
 * many bios have ended, how many of them on another CPU than they were submitted
 * on, and how many with an error. A thread whose CPU goes offline goes on
 * elsewhere, and comes back with its CPU.
 */
#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/completion.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/slab.h>

#define CROWD_THREADS	8

struct crowd_bio {
	struct bio bio;
	struct bio_vec vec;
	struct crowd_thread *of;
	int cpu;
	bool busy;
};

struct crowd_thread {
	struct task_struct *task;
	struct crowd_bio *bios;
	struct completion ended;
	unsigned int cpu;
	unsigned int depth;
	unsigned int sent;
};

static struct crowd {
	struct file *file;
	struct page *page;
	struct crowd_thread threads[CROWD_THREADS];
	unsigned int nr_threads;
	u64 slots;
	bool running;
	bool stop;
	atomic_t done;
	atomic_t elsewhere;
	atomic_t failed;
} crowd;

static DEFINE_MUTEX(crowd_lock);

static void crowd_end_io(struct bio *bio)
{
	struct crowd_bio *one = container_of(bio, struct crowd_bio, bio);
	struct crowd_thread *thread = one->of;

	atomic_inc(&crowd.done);
	if (bio->bi_status)
		atomic_inc(&crowd.failed);
	if (one->cpu != raw_smp_processor_id())
		atomic_inc(&crowd.elsewhere);
	/* Pairs with crowd_idle_bio(): the bio is used no more */
	smp_store_release(&one->busy, false);
	complete(&thread->ended);
}

static struct crowd_bio *crowd_idle_bio(struct crowd_thread *thread)
{
	struct crowd_bio *one = thread->bios;

	/* Pairs with crowd_end_io() */
	while (smp_load_acquire(&one->busy))
		one++;
	return one;
}

static void crowd_submit(struct crowd_thread *thread)
{
	struct crowd_bio *one = crowd_idle_bio(thread);
	u64 slot;

	div64_u64_rem(thread->sent++, crowd.slots, &slot);
	bio_init(&one->bio, file_bdev(crowd.file), &one->vec, 1, REQ_OP_READ);
	__bio_add_page(&one->bio, crowd.page, PAGE_SIZE, 0);
	one->bio.bi_iter.bi_sector = slot << (PAGE_SHIFT - SECTOR_SHIFT);
	one->bio.bi_end_io = crowd_end_io;
	one->of = thread;
	one->busy = true;
	one->cpu = raw_smp_processor_id();
	submit_bio(&one->bio);
}

/* Fails while the CPU is offline */
static void crowd_go_home(struct crowd_thread *thread)
{
	if (raw_smp_processor_id() != thread->cpu)
		set_cpus_allowed_ptr(current, cpumask_of(thread->cpu));
}

static int crowd_thread(void *data)
{
	struct crowd_thread *thread = data;
	unsigned int left = thread->depth;

	while (left--) {
		crowd_go_home(thread);
		crowd_submit(thread);
	}
	while (!READ_ONCE(crowd.stop)) {
		wait_for_completion(&thread->ended);
		crowd_go_home(thread);
		crowd_submit(thread);
	}
	for (left = thread->depth; left; left--)
		wait_for_completion(&thread->ended);
	while (!kthread_should_stop())
		schedule_timeout_interruptible(1);
	return 0;
}

static int crowd_begin_thread(const char *word)
{
	struct crowd_thread *thread = &crowd.threads[crowd.nr_threads];

	if (crowd.nr_threads == CROWD_THREADS ||
	    sscanf(word, "%u:%u", &thread->cpu, &thread->depth) != 2 ||
	    thread->cpu >= nr_cpu_ids || !thread->depth)
		return -EINVAL;
	thread->sent = 0;
	init_completion(&thread->ended);
	thread->bios = kvcalloc(thread->depth, sizeof(*thread->bios),
				GFP_KERNEL);
	if (!thread->bios)
		return -ENOMEM;
	thread->task = kthread_run(crowd_thread, thread, "mpath_crowd/%u",
				   thread->cpu);
	if (IS_ERR(thread->task)) {
		kvfree(thread->bios);
		return PTR_ERR(thread->task);
	}
	crowd.nr_threads++;
	return 0;
}

static void crowd_end(void)
{
	struct crowd_thread *thread;

	if (!crowd.running)
		return;
	WRITE_ONCE(crowd.stop, true);
	while (crowd.nr_threads) {
		thread = &crowd.threads[--crowd.nr_threads];
		kthread_stop(thread->task);
		kvfree(thread->bios);
	}
	__free_page(crowd.page);
	bdev_fput(crowd.file);
	crowd.running = false;
}

static int crowd_begin(char *words)
{
	char *word = strsep(&words, " ");
	int ret = 0;

	crowd.page = alloc_page(GFP_KERNEL);
	if (!crowd.page)
		return -ENOMEM;
	crowd.file = bdev_file_open_by_path(word, BLK_OPEN_READ, NULL, NULL);
	if (IS_ERR(crowd.file)) {
		__free_page(crowd.page);
		return PTR_ERR(crowd.file);
	}
	crowd.slots = bdev_nr_bytes(file_bdev(crowd.file)) >> PAGE_SHIFT;
	atomic_set(&crowd.done, 0);
	atomic_set(&crowd.elsewhere, 0);
	atomic_set(&crowd.failed, 0);
	crowd.stop = false;
	crowd.running = true;
	while (!ret && (word = strsep(&words, " ")))
		ret = crowd_begin_thread(word);
	if (ret)
		crowd_end();
	return ret;
}

static int crowd_set(const char *val, const struct kernel_param *kp)
{
	char *words;
	int ret = 0;

	words = kstrdup(val, GFP_KERNEL);
	if (!words)
		return -ENOMEM;
	mutex_lock(&crowd_lock);
	crowd_end();
	if (!sysfs_streq(val, "stop"))
		ret = crowd_begin(strim(words));
	mutex_unlock(&crowd_lock);
	kfree(words);
	return ret;
}

static int crowd_get(char *buffer, const struct kernel_param *kp)
{
	return sysfs_emit(buffer, "%d %d %d\n", atomic_read(&crowd.done),
			  atomic_read(&crowd.elsewhere),
			  atomic_read(&crowd.failed));
}

static const struct kernel_param_ops crowd_ops = {
	.set = crowd_set,
	.get = crowd_get,
};
module_param_cb(run, &crowd_ops, NULL, 0600);
MODULE_PARM_DESC(run, "path, CPU:depth of each thread");

static int __init crowd_init(void)
{
	return 0;
}
module_init(crowd_init);

static void __exit crowd_exit(void)
{
	crowd_end();
}
module_exit(crowd_exit);

MODULE_DESCRIPTION("Load of several CPUs on a block device");
MODULE_LICENSE("GPL");
