// SPDX-License-Identifier: GPL-2.0
/*
 * A RAM disk behind several paths: rust_mpath_ram.rs once more, for those who write drivers in C.
 * What is in configfs is said there; only one of the two can be loaded.
 *
 * A bio can fail in part: a path that fails has carried out one half of it. So a path works on a
 * clone, and the head's bio stays as it was and is handed back whole when the path is to blame.
 */
#include <linux/blkdev.h>
#include <linux/configfs.h>
#include <linux/hrtimer.h>
#include <linux/module.h>
#include <linux/multipath.h>
#include <linux/vmalloc.h>

static unsigned int paths = 2;
module_param(paths, uint, 0444);
MODULE_PARM_DESC(paths, "Number of paths, 1 to 64");
static unsigned int size_mib = 64;
module_param(size_mib, uint, 0444);
MODULE_PARM_DESC(size_mib, "Size of the disk in MiB, 1 to 65536");

static const char * const ram_failures[] = { "none", "path", "medium" };
static const blk_status_t ram_statuses[] = { BLK_STS_OK, BLK_STS_TRANSPORT, BLK_STS_MEDIUM };
static const char * const ram_access_states[] = { "optimized", "non-optimized", "inaccessible" };

/* One way to the storage: what it is like, and the path, while it is live. */
struct ram_path {
	struct config_group	group;
	unsigned int		latency_us, queue_depth, failure, access_state;
	int			numa_node;
	atomic_t		in_flight;
	atomic64_t		ios, bytes, flushes;
	struct mpath_port	port;
	struct mutex		lock;		/* guards what follows */
	struct gendisk		*disk;		/* NULL unless live */
	struct mpath_head	*head;
	struct mpath_device	mpath;
};

/* A bio of the head on its way through a path. */
struct ram_io {
	struct bio	*bio;
	struct hrtimer	timer;
	u16		counted;
	struct bio	clone;
};

static struct ram_path ram_paths[64];
static unsigned int ram_ports;			/* so many have a port */
static void *ram_memory;
static struct bio_set ram_ios;
static struct mpath_iopolicy ram_policy;
static unsigned int ram_removal_secs;
/* Guards ram_head, and is held while one goes: the next has the same name. */
static DEFINE_MUTEX(ram_lock);
static struct mpath_head *ram_head;

/* Carries a clone out, or the first half of it when it is to fail. */
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
	struct bio *bio = io->bio;
	struct gendisk *disk = clone->bi_bdev->bd_disk;
	struct ram_path *path = disk->private_data;
	struct bio_list bios = BIO_EMPTY_LIST;
	blk_status_t status = clone->bi_status;

	atomic_dec(&path->in_flight);
	mpath_request_done(&path->mpath, io->counted);
	bio_put(clone);
	if (mpath_path_error(status)) {
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
	percpu_ref_put(&disk->queue->q_usage_counter);
}

static enum hrtimer_restart ram_end_late(struct hrtimer *timer)
{
	bio_endio(&container_of(timer, struct ram_io, timer)->clone);
	return HRTIMER_NORESTART;
}

static void ram_submit_bio(struct bio *bio)
{
	struct bio *clone = bio_alloc_clone(bio->bi_bdev, bio, GFP_NOIO, &ram_ios);
	struct ram_io *io = container_of(clone, struct ram_io, clone);
	struct gendisk *disk = bio->bi_bdev->bd_disk;
	struct ram_path *path = disk->private_data;
	unsigned int depth = max(READ_ONCE(path->queue_depth), 1U);
	u64 delay_us;

	/* A path that goes waits for its bios in del_gendisk(). */
	percpu_ref_get(&disk->queue->q_usage_counter);
	io->bio = bio;
	io->counted = mpath_request_start(&path->mpath);
	/* A clone that goes on, to a device of another driver, must not have the head's mark. */
	clone->bi_opf &= ~REQ_MPATH;
	clone->bi_end_io = ram_end_clone;
	clone->bi_status = ram_carry_out(clone, READ_ONCE(path->failure));
	/* As many as the queue is deep take one turn together, those behind them the next. */
	delay_us = (u64)READ_ONCE(path->latency_us) *
		   ((atomic_inc_return(&path->in_flight) - 1) / depth + 1);
	if (!delay_us)
		return bio_endio(clone);
	hrtimer_setup(&io->timer, ram_end_late, CLOCK_MONOTONIC, HRTIMER_MODE_REL_SOFT);
	hrtimer_start(&io->timer, us_to_ktime(delay_us), HRTIMER_MODE_REL_SOFT);
}

static const struct block_device_operations ram_head_ops = { MPATH_BDEV_OPS(THIS_MODULE) };
static const struct block_device_operations ram_path_ops = { .submit_bio = ram_submit_bio };
static const struct attribute_group *ram_head_groups[] = { &mpath_attr_group, NULL };

/* Nothing is kept for a head. */
static void ram_release_head(struct mpath_head *head)
{
}

/* Removes a head that has no path, and no time to wait for one. */
static void ram_remove_head(struct mpath_head *head)
{
	guard(mutex)(&ram_lock);
	if (mpath_try_remove_head(head)) {
		ram_head = NULL;
		mpath_remove_head(head);
		mpath_put_head(head);
	}
}

static const struct mpath_head_template ram_template = {
	.owner = THIS_MODULE, .fops = &ram_head_ops, .disk_groups = ram_head_groups,
	.release = ram_release_head, .remove_head = ram_remove_head,
};

static int ram_alloc_head(void)
{
	struct mpath_head *head = mpath_alloc_head(&ram_template, &ram_policy, NULL);
	struct queue_limits lim = { .features = BLK_FEAT_WRITE_CACHE };
	int err;

	if (IS_ERR(head))
		return PTR_ERR(head);
	err = mpath_alloc_head_disk(head, &lim, NULL, NUMA_NO_NODE);
	if (err) {
		mpath_put_head(head);
		return err;
	}
	strscpy(head->disk->disk_name, "mpram0");
	set_capacity(head->disk, size_mib * (SZ_1M / SECTOR_SIZE));
	mpath_set_delayed_removal_secs(head, ram_removal_secs);
	ram_head = head;
	return 0;
}

static int ram_add_path(struct ram_path *path, struct gendisk *disk)
{
	int node = numa_valid_node(path->numa_node) ? path->numa_node : NUMA_NO_NODE;
	int err;

	guard(mutex)(&ram_lock);
	/* The last one went with its last path. */
	err = ram_head ? 0 : ram_alloc_head();
	err = err ?: mpath_add_device(&path->mpath, ram_head, disk, &path->port, node);
	if (!err) {
		mpath_get_head(ram_head);
		path->head = ram_head;
		path->disk = disk;
	}
	return err;
}

static int ram_start_path(struct ram_path *path)
{
	struct queue_limits lim = { .features = BLK_FEAT_WRITE_CACHE };
	struct gendisk *disk = blk_alloc_disk(&lim, NUMA_NO_NODE);
	int err;

	if (IS_ERR(disk))
		return PTR_ERR(disk);
	disk->fops = &ram_path_ops;
	disk->flags |= GENHD_FL_HIDDEN;
	disk->private_data = path;
	sprintf(disk->disk_name, "mpram0c%td", path - ram_paths);
	set_capacity(disk, size_mib * (SZ_1M / SECTOR_SIZE));
	err = add_disk(disk);
	if (!err) {
		err = ram_add_path(path, disk);
		if (err)
			del_gendisk(disk);
	}
	if (err) {
		put_disk(disk);
		return err;
	}
	mpath_device_set_access_state(&path->mpath, path->access_state);
	mpath_enable_device(&path->mpath, MPATH_DISABLE_NOT_READY);
	mpath_device_set_live(&path->mpath);
	return 0;
}

static void ram_stop_path(struct ram_path *path)
{
	mpath_remove_device(&path->mpath, NULL);
	del_gendisk(path->disk);
	put_disk(path->disk);
	path->disk = NULL;
	ram_remove_head(path->head);
	mpath_put_head(path->head);
}

static struct ram_path *to_path(struct config_item *item)
{
	return container_of(item, struct ram_path, group.cg_item);
}

static int ram_store_name(struct ram_path *path, const char *page, const char * const *names,
			  unsigned int *number)
{
	int value = __sysfs_match_string(names, 3, page);

	if (value < 0)
		return value;
	guard(mutex)(&path->lock);
	WRITE_ONCE(*number, value);
	/* Whatever has changed, the path may be tried again. */
	if (path->disk)
		mpath_device_set_access_state(&path->mpath, path->access_state);
	return 0;
}

static int ram_store_live(struct ram_path *path, const char *page)
{
	bool live;
	int err = kstrtobool(page, &live);

	guard(mutex)(&path->lock);
	if (!err && live && !path->disk)
		err = ram_start_path(path);
	if (!err && !live && path->disk)
		ram_stop_path(path);
	return err;
}

static int ram_store_removal_secs(const char *page)
{
	guard(mutex)(&ram_lock);
	int err = kstrtouint(page, 0, &ram_removal_secs);

	if (!err && ram_head)
		mpath_set_delayed_removal_secs(ram_head, ram_removal_secs);
	return err;
}

static long ram_parked(void)
{
	guard(mutex)(&ram_lock);
	return ram_head ? atomic_long_read(mpath_requeue_count(ram_head)) : 0;
}

/* An attribute in configfs: what is done with what is stored, and how it is shown. */
#define RAM_ATTR(name, store, ...)								\
static ssize_t ram_##name##_show(struct config_item *item, char *page)				\
{												\
	return sysfs_emit(page, __VA_ARGS__);							\
}												\
static ssize_t ram_##name##_store(struct config_item *item, const char *page, size_t count)	\
{												\
	int err = store;									\
												\
	return err < 0 ? err : count;								\
}												\
CONFIGFS_ATTR(ram_, name)

RAM_ATTR(policy, mpath_iopolicy_set(&ram_policy, mpath_iopolicy_parse(page)),
	 "%s\n", mpath_iopolicy_name(mpath_iopolicy_read(&ram_policy)));
RAM_ATTR(delayed_removal_secs, ram_store_removal_secs(page), "%u\n", ram_removal_secs);
RAM_ATTR(parked, -EPERM, "%ld\n", ram_parked());

static struct configfs_attribute *ram_attrs[] = {
	&ram_attr_policy, &ram_attr_delayed_removal_secs, &ram_attr_parked, NULL,
};

RAM_ATTR(latency_us, kstrtouint(page, 0, &to_path(item)->latency_us), "%u\n",
	 to_path(item)->latency_us);
RAM_ATTR(queue_depth, kstrtouint(page, 0, &to_path(item)->queue_depth), "%u\n",
	 to_path(item)->queue_depth);
RAM_ATTR(failure, ram_store_name(to_path(item), page, ram_failures, &to_path(item)->failure),
	 "%s\n", ram_failures[to_path(item)->failure]);
RAM_ATTR(access_state, ram_store_name(to_path(item), page, ram_access_states,
				      &to_path(item)->access_state),
	 "%s\n", ram_access_states[to_path(item)->access_state]);
RAM_ATTR(numa_node, kstrtoint(page, 0, &to_path(item)->numa_node), "%d\n",
	 to_path(item)->numa_node);
RAM_ATTR(live, ram_store_live(to_path(item), page), "%d\n", !!to_path(item)->disk);
RAM_ATTR(carried, -EPERM, "%lld %lld %lld\n", atomic64_read(&to_path(item)->ios),
	 atomic64_read(&to_path(item)->bytes), atomic64_read(&to_path(item)->flushes));

static struct configfs_attribute *ram_path_attrs[] = {
	&ram_attr_latency_us, &ram_attr_queue_depth, &ram_attr_failure, &ram_attr_access_state,
	&ram_attr_numa_node, &ram_attr_live, &ram_attr_carried, NULL,
};

static const struct config_item_type ram_path_type = {
	.ct_owner = THIS_MODULE, .ct_attrs = ram_path_attrs,
};

static struct config_group *ram_make_group(struct config_group *group, const char *name)
{
	unsigned int number;

	/* One name for each: neither +1 nor 01. */
	if (kstrtouint(name, 10, &number) || number >= paths || strlen(name) > 1 + number / 10)
		return ERR_PTR(-EINVAL);
	/* Nobody refers to it after rmdir, not even who has one of its files open. */
	config_group_init_type_name(&ram_paths[number].group, name, &ram_path_type);
	return &ram_paths[number].group;
}

static const struct configfs_group_operations ram_group_ops = { .make_group = ram_make_group };
static const struct config_item_type ram_type = {
	.ct_owner = THIS_MODULE, .ct_group_ops = &ram_group_ops, .ct_attrs = ram_attrs,
};

static struct configfs_subsystem ram_subsystem = {
	.su_mutex = __MUTEX_INITIALIZER(ram_subsystem.su_mutex),
	.su_group.cg_item = { .ci_namebuf = "mpath_ram", .ci_type = &ram_type },
};

static void ram_free(void)
{
	while (ram_ports)
		mpath_port_exit(&ram_paths[--ram_ports].port);
	bioset_exit(&ram_ios);
	vfree(ram_memory);
}

static int __init ram_init(void)
{
	int err;

	paths = clamp(paths, 1U, ARRAY_SIZE(ram_paths));
	size_mib = clamp(size_mib, 1U, 65536U);
	ram_memory = vzalloc((size_t)size_mib << 20);
	if (!ram_memory)
		return -ENOMEM;
	mpath_iopolicy_init(&ram_policy, MPATH_IOPOLICY_NUMA, BIT(MPATH_IOPOLICY_NUMA) |
			    BIT(MPATH_IOPOLICY_RR) | BIT(MPATH_IOPOLICY_QD));
	config_group_init(&ram_subsystem.su_group);
	err = bioset_init(&ram_ios, BIO_POOL_SIZE, offsetof(struct ram_io, clone), 0);
	for (unsigned int number = 0; !err && number < paths; number++) {
		struct ram_path *path = &ram_paths[number];

		path->queue_depth = UINT_MAX;
		path->numa_node = NUMA_NO_NODE;
		mutex_init(&path->lock);
		err = mpath_port_init(&path->port);
		if (err)
			break;
		mpath_port_set_state(&path->port, MPATH_PORT_LIVE);
		ram_ports++;
	}
	err = err ?: configfs_register_subsystem(&ram_subsystem);
	if (err)
		ram_free();
	/* Once the disk may be open, nothing fails: "live" tells of a path that did not start. */
	for (unsigned int number = 0; !err && number < paths; number++)
		ram_store_live(&ram_paths[number], "1");
	return err;
}
module_init(ram_init);

static void __exit ram_exit(void)
{
	configfs_unregister_subsystem(&ram_subsystem);
	for (unsigned int number = 0; number < paths; number++)
		ram_store_live(&ram_paths[number], "0");
	ram_free();
}
module_exit(ram_exit);

MODULE_DESCRIPTION("RAM disk behind several paths");
MODULE_LICENSE("GPL");
