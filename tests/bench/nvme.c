// SPDX-License-Identifier: GPL-2.0
/*
 * Appended to a copy of drivers/nvme/host/multipath.c, the kernel's own, or of
 * our drivers/nvme/host/multipath_lib.c: chooses a path many times and nothing else.
 *
 *	echo "/dev/nvme0n1 1000 0" >/sys/module/nvme_core/parameters/bench
 *	cat /sys/module/nvme_core/parameters/bench
 *
 * says how many cycles 1000 choices took, each with its read-side section and a
 * call with the path, and as many such calls without a choice. The last number
 * sets the marks between which profile.c counts, if it is not 0. Then
 *
 *	cat /sys/module/nvme_core/parameters/bench_objects
 *
 * says where the head and its paths are in memory, and how large they are: the
 * kind of object, the address, the bytes.
 *
 *	echo /dev/nvme0n1 >/sys/module/nvme_core/parameters/bench_change
 *
 * has the first controller of the head's subsystem change its state, to the next
 * of those that a reset goes through; reading says how many changes there were.
 *
 *	echo /dev/nvme0n1 >/sys/module/nvme_core/parameters/bench_flight
 *	echo stop >/sys/module/nvme_core/parameters/bench_flight
 *	cat /sys/module/nvme_core/parameters/bench_flight
 *
 * counts from a timer, between the two writes, the requests in flight on the
 * paths whose controllers are live. Reading says how many looks there were. It
 * also says the sum of the differences between the most and the least on a path,
 * that of their squares, and the sums for each path. The paths must stay
 * meanwhile.
 */
#include <linux/hrtimer.h>
#include <linux/part_stat.h>
#include <linux/timex.h>

#include "marks.h"

/* Enough for a head with two paths, and for a part of those of one with more */
#define BENCH_OBJECTS	16

static struct bench_object {
	const char *what;
	void *at;
	size_t size;
} bench_objects[BENCH_OBJECTS];
static unsigned int bench_nr_objects;

static void bench_note(const char *what, void *at, size_t size)
{
	struct bench_object *object = &bench_objects[bench_nr_objects];

	if (bench_nr_objects == BENCH_OBJECTS)
		return;
	object->what = what;
	object->at = at;
	object->size = size;
	bench_nr_objects++;
}

static void bench_note_path(struct nvme_ns *ns)
{
	bench_note("path", ns, ksize(ns));
	bench_note("controller", ns->ctrl, sizeof(*ns->ctrl));
}

static int bench_use(struct nvme_ns *ns)
{
	OPTIMIZER_HIDE_VAR(ns);
	return ns ? 0 : -ENXIO;
}

#ifdef _LINUX_MULTIPATH_H

static struct nvme_ns_head *bench_head(struct gendisk *disk)
{
	return mpath_gendisk_to_head(disk)->drvdata;
}

/* The array of a shortlist of up to four paths, from kmalloc-64 */
#define BENCH_SHORTLIST	64

static int bench_note_library(struct mpath_device *device, void *data)
{
	struct mpath_device *other;

	bench_note("head of the library", device->head, ksize(device->head));
	bench_note("shortlist", NULL, BENCH_SHORTLIST +
		   num_possible_cpus() * sizeof(*device->cursors));
	bench_note_path(nvme_mpath_to_ns(device));
	list_for_each_entry(other, &device->siblings, siblings) {
		/* The list's own head is in the head */
		if ((void *)other < (void *)device->head ||
		    (void *)other >= (void *)device->head + ksize(device->head))
			bench_note_path(nvme_mpath_to_ns(other));
	}
	return 0;
}

static int bench_note_paths(struct nvme_ns_head *head)
{
	return mpath_call_for_device(head->mpath, bench_note_library, NULL);
}

static int bench_use_device(struct mpath_device *device, void *data)
{
	return bench_use(nvme_mpath_to_ns(device));
}

static int bench_choose(struct nvme_ns_head *head)
{
	return mpath_bench_choose(head->mpath, bench_use_device);
}

static noinline int bench_call(struct nvme_ns_head *head,
			       int (*use)(struct mpath_device *, void *))
{
	OPTIMIZER_HIDE_VAR(use);
	return use((void *)head, NULL);
}

static int bench_do_not_choose(struct nvme_ns_head *head)
{
	return bench_call(head, bench_use_device);
}

#else /* the kernel's own */

static struct nvme_ns_head *bench_head(struct gendisk *disk)
{
	return disk->private_data;
}

static int bench_note_paths(struct nvme_ns_head *head)
{
	struct nvme_ns *ns;
	int srcu_idx;

	srcu_idx = srcu_read_lock(&head->srcu);
	list_for_each_entry_srcu(ns, &head->list, siblings,
				 srcu_read_lock_held(&head->srcu))
		bench_note_path(ns);
	srcu_read_unlock(&head->srcu, srcu_idx);
	return 0;
}

static noinline int bench_call_for_path(struct nvme_ns_head *head,
					int (*use)(struct nvme_ns *))
{
	struct nvme_ns *ns;
	int srcu_idx, ret = -EWOULDBLOCK;

	OPTIMIZER_HIDE_VAR(use);
	srcu_idx = srcu_read_lock(&head->srcu);
	ns = nvme_find_path(head);
	if (ns)
		ret = use(ns);
	srcu_read_unlock(&head->srcu, srcu_idx);
	return ret;
}

static int bench_choose(struct nvme_ns_head *head)
{
	return bench_call_for_path(head, bench_use);
}

static noinline int bench_call(struct nvme_ns_head *head,
			       int (*use)(struct nvme_ns *))
{
	OPTIMIZER_HIDE_VAR(use);
	return use((void *)head);
}

static int bench_do_not_choose(struct nvme_ns_head *head)
{
	return bench_call(head, bench_use);
}

#endif /* _LINUX_MULTIPATH_H */

static u64 bench_choices;
static u64 bench_calls;

/* Without interrupts, so that nothing else is counted */
static int bench_run(struct nvme_ns_head *head, unsigned int count, bool mark)
{
	unsigned long flags;
	unsigned int i;
	int ret = 0;
	u64 start;

	local_irq_save(flags);
	if (mark)
		BENCH_MARK(BENCH_BEGIN);
	start = get_cycles();
	for (i = 0; i < count; i++)
		ret |= bench_choose(head);
	bench_choices = get_cycles() - start;
	if (mark)
		BENCH_MARK(BENCH_END);

	start = get_cycles();
	for (i = 0; i < count; i++)
		ret |= bench_do_not_choose(head);
	bench_calls = get_cycles() - start;
	local_irq_restore(flags);
	return ret ? -ENXIO : 0;
}

static int bench_note_all(struct nvme_ns_head *head)
{
	bench_nr_objects = 0;
	bench_note("head", head, ksize(head));
	bench_note("subsystem", head->subsys, sizeof(*head->subsys));
	bench_note("disk", head->disk, sizeof(*head->disk));
	bench_note("queue", head->disk->queue, sizeof(*head->disk->queue));
	bench_note("block device", head->disk->part0,
		   sizeof(*head->disk->part0));
	return bench_note_paths(head);
}

static int bench_set(const char *val, const struct kernel_param *kp)
{
	unsigned int count, mark;
	struct nvme_ns_head *head;
	struct file *file;
	char path[64];
	int ret;

	if (sscanf(val, "%63s %u %u", path, &count, &mark) != 3)
		return -EINVAL;
	file = bdev_file_open_by_path(path, BLK_OPEN_READ, NULL, NULL);
	if (IS_ERR(file))
		return PTR_ERR(file);
	head = bench_head(file_bdev(file)->bd_disk);
	ret = bench_run(head, count, mark);
	if (!ret)
		ret = bench_note_all(head);
	bdev_fput(file);
	return ret;
}

static int bench_get(char *buffer, const struct kernel_param *kp)
{
	return sysfs_emit(buffer, "%llu %llu\n", bench_choices, bench_calls);
}

static const struct kernel_param_ops bench_ops = {
	.set = bench_set,
	.get = bench_get,
};
module_param_cb(bench, &bench_ops, NULL, 0600);
MODULE_PARM_DESC(bench, "path of a head, count, mark");

static int bench_get_objects(char *buffer, const struct kernel_param *kp)
{
	const struct bench_object *object = bench_objects;
	int i, at = 0;

	for (i = 0; i < bench_nr_objects; i++, object++)
		at += sysfs_emit_at(buffer, at, "%lx %zu %s\n",
				    (unsigned long)object->at, object->size,
				    object->what);
	return at;
}

static const struct kernel_param_ops bench_objects_ops = {
	.get = bench_get_objects,
};
module_param_cb(bench_objects, &bench_objects_ops, NULL, 0400);
MODULE_PARM_DESC(bench_objects, "address, size and name of a head and its paths");

/* The head of a disk, which is open until bdev_fput() */
static struct nvme_ns_head *bench_open(const char *val, struct file **file)
{
	char path[64];

	if (sscanf(val, "%63s", path) != 1)
		return ERR_PTR(-EINVAL);
	*file = bdev_file_open_by_path(path, BLK_OPEN_READ, NULL, NULL);
	if (IS_ERR(*file))
		return ERR_CAST(*file);
	return bench_head(file_bdev(*file)->bd_disk);
}

static unsigned int bench_changes;

static int bench_change(struct nvme_ctrl *ctrl)
{
	enum nvme_ctrl_state next;

	switch (nvme_ctrl_state(ctrl)) {
	case NVME_CTRL_LIVE:
		next = NVME_CTRL_RESETTING;
		break;
	case NVME_CTRL_RESETTING:
		next = NVME_CTRL_CONNECTING;
		break;
	default:
		next = NVME_CTRL_LIVE;
	}
	if (!nvme_change_ctrl_state(ctrl, next))
		return -EBUSY;
	bench_changes++;
	return 0;
}

static int bench_change_set(const char *val, const struct kernel_param *kp)
{
	struct nvme_ns_head *head;
	struct file *file;
	int ret;

	head = bench_open(val, &file);
	if (IS_ERR(head))
		return PTR_ERR(head);
	ret = bench_change(list_first_entry(&head->subsys->ctrls,
					    struct nvme_ctrl, subsys_entry));
	bdev_fput(file);
	return ret;
}

static int bench_change_get(char *buffer, const struct kernel_param *kp)
{
	return sysfs_emit(buffer, "%u\n", bench_changes);
}

static const struct kernel_param_ops bench_change_ops = {
	.set = bench_change_set,
	.get = bench_change_get,
};
module_param_cb(bench_change, &bench_change_ops, NULL, 0600);
MODULE_PARM_DESC(bench_change, "path of a head");

/* No divisor of the time that disks take */
#define BENCH_LOOK_NSEC		47000

static struct bench_flight {
	struct hrtimer timer;
	bool looking;
	u64 looks;
	u64 spread;
	u64 squares;
	unsigned int nr_paths;
	struct nvme_ns *paths[BENCH_OBJECTS];
	u64 on_path[BENCH_OBJECTS];
} bench_flight;

static void bench_look(void)
{
	unsigned int i, now, most = 0, least = UINT_MAX, live = 0;
	struct nvme_ns *ns;

	for (i = 0; i < bench_flight.nr_paths; i++) {
		ns = bench_flight.paths[i];
		if (nvme_ctrl_state(ns->ctrl) != NVME_CTRL_LIVE)
			continue;
		now = bdev_count_inflight(ns->disk->part0);
		bench_flight.on_path[i] += now;
		most = max(most, now);
		least = min(least, now);
		live++;
	}
	if (!live)
		return;
	bench_flight.looks++;
	bench_flight.spread += most - least;
	bench_flight.squares += (most - least) * (most - least);
}

static enum hrtimer_restart bench_flight_timer(struct hrtimer *timer)
{
	bench_look();
	hrtimer_forward_now(timer, ns_to_ktime(BENCH_LOOK_NSEC));
	return HRTIMER_RESTART;
}

static int bench_flight_begin(const char *val)
{
	struct nvme_ns_head *head;
	struct file *file;
	unsigned int i;
	int ret;

	head = bench_open(val, &file);
	if (IS_ERR(head))
		return PTR_ERR(head);
	ret = bench_note_all(head);
	bdev_fput(file);
	if (ret)
		return ret;
	memset(&bench_flight, 0, sizeof(bench_flight));
	for (i = 0; i < bench_nr_objects; i++) {
		if (!strcmp(bench_objects[i].what, "path"))
			bench_flight.paths[bench_flight.nr_paths++] =
				bench_objects[i].at;
	}
	hrtimer_setup(&bench_flight.timer, bench_flight_timer, CLOCK_MONOTONIC,
		      HRTIMER_MODE_REL_PINNED_HARD);
	bench_flight.looking = true;
	hrtimer_start(&bench_flight.timer, ns_to_ktime(BENCH_LOOK_NSEC),
		      HRTIMER_MODE_REL_PINNED_HARD);
	return 0;
}

static int bench_flight_set(const char *val, const struct kernel_param *kp)
{
	if (bench_flight.looking)
		hrtimer_cancel(&bench_flight.timer);
	bench_flight.looking = false;
	return sysfs_streq(val, "stop") ? 0 : bench_flight_begin(val);
}

static int bench_flight_get(char *buffer, const struct kernel_param *kp)
{
	unsigned int i;
	int at;

	at = sysfs_emit(buffer, "%llu %llu %llu", bench_flight.looks,
			bench_flight.spread, bench_flight.squares);
	for (i = 0; i < bench_flight.nr_paths; i++)
		at += sysfs_emit_at(buffer, at, " %llu",
				    bench_flight.on_path[i]);
	return at + sysfs_emit_at(buffer, at, "\n");
}

static const struct kernel_param_ops bench_flight_ops = {
	.set = bench_flight_set,
	.get = bench_flight_get,
};
module_param_cb(bench_flight, &bench_flight_ops, NULL, 0600);
MODULE_PARM_DESC(bench_flight, "path of a head, or stop");
