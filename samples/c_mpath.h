/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The sample drivers in C have this in common: a RAM disk, its head, the paths to it, and the files
 * in configfs, which rust_mpath_ram.rs describes. The file "failure" may know more names, "frozen"
 * freezes the queue of a path, and "events" counts the path's events. A user can load one driver of
 * samples/ at a time.
 *
 * The paths of a driver take bios (c_mpath_ram.c) or requests (c_mpath_mq.c). Before it includes
 * this, each driver defines struct ram_device, which is a part of a path, and the names
 * ram_failures[] and ram_event_names[]. Afterwards it defines the functions that this header
 * declares.
 */
#include <linux/blk-mq.h>
#include <linux/configfs.h>
#include <linux/module.h>
#include <linux/multipath.h>
#include <linux/vmalloc.h>

static unsigned int paths = 2;
module_param(paths, uint, 0444);
MODULE_PARM_DESC(paths, "Number of paths, 1 to 64");
static unsigned int size_mib = 64;
module_param(size_mib, uint, 0444);
MODULE_PARM_DESC(size_mib, "Size of the disk in MiB, 1 to 65536");

static const char * const ram_access_states[] = { "optimized", "non-optimized", "inaccessible" };

/* One way to the storage: its properties, and the path, while it is live. */
struct ram_path {
	struct config_group	group;
	unsigned int		latency_us, queue_depth, failure, access_state;
	int			numa_node;
	atomic64_t		ios, bytes, flushes, events[ARRAY_SIZE(ram_event_names)];
	struct ram_device	device;
	struct mpath_port	port;
	struct mutex		lock;		/* guards the next fields */
	struct gendisk		*disk;		/* NULL unless live */
	bool			frozen;
	struct mpath_head	*head;
	struct mpath_device	mpath;
};

static struct ram_path ram_paths[64];
static unsigned int ram_ports;			/* paths with a port */
static void *ram_memory;
static struct mpath_iopolicy ram_policy;
static unsigned int ram_removal_secs;
/* Guards ram_head, and is held while one goes: the next has the same name. */
static DEFINE_MUTEX(ram_lock);
static struct mpath_head *ram_head;

/* For each path when the module comes, and when it goes. */
static int __init ram_init_device(struct ram_path *path);
static void ram_exit_devices(void);
/* Makes a path's disk and has ram_add_path() add it; undoes that. Under the path's lock. */
static int ram_start_path(struct ram_path *path);
static void ram_stop_path(struct ram_path *path);

static const struct block_device_operations ram_head_ops = { MPATH_BDEV_OPS(THIS_MODULE) };
static const struct attribute_group *ram_head_groups[] = {
	&mpath_attr_group, &mpath_head_attr_group, NULL,
};

/* The driver keeps nothing for a head. */
static void ram_release_head(struct mpath_head *head)
{
}

/* Removes a head that has no path and does not wait for one. */
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
	struct queue_limits lim;
	int err;

	if (IS_ERR(head))
		return PTR_ERR(head);
	blk_set_stacking_limits(&lim);
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

/* The head's limits hold on every path. The library splits parked bios anew when they go on. */
static int ram_stack_limits(struct mpath_head *head, struct gendisk *disk)
{
	struct queue_limits lim = queue_limits_start_update(head->disk->queue);

	queue_limits_stack_bdev(&lim, disk->part0, 0, head->disk->disk_name);
	return queue_limits_commit_update_frozen(head->disk->queue, &lim);
}

static int ram_join_head(struct ram_path *path, struct gendisk *disk)
{
	int node = numa_valid_node(path->numa_node) ? path->numa_node : NUMA_NO_NODE;
	int err;

	guard(mutex)(&ram_lock);
	/* The last one went with its last path. */
	err = ram_head ? 0 : ram_alloc_head();
	if (err)
		return err;
	err = ram_stack_limits(ram_head, disk);
	err = err ?: mpath_add_device(&path->mpath, ram_head, disk, &path->port, node);
	mpath_get_head(ram_head);
	path->head = ram_head;
	return err;
}

/* After the path has left the head: the head goes unless it has other paths. */
static void ram_leave_head(struct ram_path *path)
{
	ram_remove_head(path->head);
	mpath_put_head(path->head);
	path->head = NULL;
}

/* Adds a path, and has it carry I/O. Only the head uses the path's disk. */
static int ram_add_path(struct ram_path *path, struct gendisk *disk)
{
	int err;

	disk->flags |= GENHD_FL_HIDDEN;
	sprintf(disk->disk_name, "mpram0c%td", path - ram_paths);
	set_capacity(disk, size_mib * (SZ_1M / SECTOR_SIZE));
	err = add_disk(disk);
	if (err)
		return err;
	err = ram_join_head(path, disk);
	if (err)
		goto leave;
	err = mpath_start_device(&path->mpath, path->access_state);
	if (err)
		goto remove;
	path->disk = disk;
	return 0;

remove:
	mpath_remove_device(&path->mpath, NULL);
leave:
	if (path->head)
		ram_leave_head(path);
	del_gendisk(disk);
	return err;
}

/* Freezes the queue of a path's disk, for which bios wait then, or unfreezes it. */
static int ram_freeze(struct ram_path *path, bool frozen)
{
	if (!path->disk)
		return -ENODEV;
	if (frozen && !path->frozen)
		blk_freeze_queue_start_non_owner(path->disk->queue);
	if (!frozen && path->frozen)
		blk_mq_unfreeze_queue_non_owner(path->disk->queue);
	path->frozen = frozen;
	return 0;
}

/* Takes a path away; @stop ends its I/O, when no bio comes to it any more. */
static void ram_remove_path(struct ram_path *path, void (*stop)(struct mpath_device *dev))
{
	/* No bio finds the path any more; those that wait for its queue go elsewhere. */
	mpath_quiesce_device(&path->mpath);
	ram_freeze(path, false);
	mpath_remove_device(&path->mpath, stop);
	del_gendisk(path->disk);
	put_disk(path->disk);
	path->disk = NULL;
	ram_leave_head(path);
}

static struct ram_path *to_path(struct config_item *item)
{
	return container_of(item, struct ram_path, group.cg_item);
}

static int ram_store_name(struct ram_path *path, const char *page, const char * const *names,
			  size_t count, unsigned int *number)
{
	int value = __sysfs_match_string(names, count, page);

	if (value < 0)
		return value;
	guard(mutex)(&path->lock);
	WRITE_ONCE(*number, value);
	/* After any change the head may try the path again. */
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

static int ram_store_frozen(struct ram_path *path, const char *page)
{
	bool frozen;
	int err = kstrtobool(page, &frozen);

	guard(mutex)(&path->lock);
	return err ?: ram_freeze(path, frozen);
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

static ssize_t ram_show_events(struct ram_path *path, char *page)
{
	ssize_t length = 0;

	for (size_t event = 0; event < ARRAY_SIZE(path->events); event++)
		length += sysfs_emit_at(page, length, "%s %lld\n", ram_event_names[event],
					atomic64_read(&path->events[event]));
	return length;
}

/* An attribute in configfs: how to store a user's value, and how to show it. */
#define RAM_ATTR(name, store, ...)								\
static ssize_t ram_##name##_show(struct config_item *item, char *page)				\
{												\
	return __VA_ARGS__;									\
}												\
static ssize_t ram_##name##_store(struct config_item *item, const char *page, size_t count)	\
{												\
	int err = store;									\
												\
	return err < 0 ? err : count;								\
}												\
CONFIGFS_ATTR(ram_, name)

RAM_ATTR(policy, mpath_iopolicy_set(&ram_policy, mpath_iopolicy_parse(page)),
	 sysfs_emit(page, "%s\n", mpath_iopolicy_name(mpath_iopolicy_read(&ram_policy))));
RAM_ATTR(delayed_removal_secs, ram_store_removal_secs(page),
	 sysfs_emit(page, "%u\n", ram_removal_secs));
RAM_ATTR(parked, -EPERM, sysfs_emit(page, "%ld\n", ram_parked()));

static struct configfs_attribute *ram_attrs[] = {
	&ram_attr_policy, &ram_attr_delayed_removal_secs, &ram_attr_parked, NULL,
};

RAM_ATTR(latency_us, kstrtouint(page, 0, &to_path(item)->latency_us),
	 sysfs_emit(page, "%u\n", to_path(item)->latency_us));
RAM_ATTR(queue_depth, kstrtouint(page, 0, &to_path(item)->queue_depth),
	 sysfs_emit(page, "%u\n", to_path(item)->queue_depth));
RAM_ATTR(numa_node, kstrtoint(page, 0, &to_path(item)->numa_node),
	 sysfs_emit(page, "%d\n", to_path(item)->numa_node));
RAM_ATTR(failure, ram_store_name(to_path(item), page, ram_failures, ARRAY_SIZE(ram_failures),
				 &to_path(item)->failure),
	 sysfs_emit(page, "%s\n", ram_failures[to_path(item)->failure]));
RAM_ATTR(access_state, ram_store_name(to_path(item), page, ram_access_states,
				      ARRAY_SIZE(ram_access_states), &to_path(item)->access_state),
	 sysfs_emit(page, "%s\n", ram_access_states[to_path(item)->access_state]));
RAM_ATTR(live, ram_store_live(to_path(item), page),
	 sysfs_emit(page, "%d\n", !!to_path(item)->disk));
RAM_ATTR(frozen, ram_store_frozen(to_path(item), page),
	 sysfs_emit(page, "%d\n", to_path(item)->frozen));
RAM_ATTR(carried, -EPERM, sysfs_emit(page, "%lld %lld %lld\n", atomic64_read(&to_path(item)->ios),
				     atomic64_read(&to_path(item)->bytes),
				     atomic64_read(&to_path(item)->flushes)));
RAM_ATTR(events, -EPERM, ram_show_events(to_path(item), page));

static struct configfs_attribute *ram_path_attrs[] = {
	&ram_attr_latency_us, &ram_attr_queue_depth, &ram_attr_numa_node, &ram_attr_failure,
	&ram_attr_access_state, &ram_attr_live, &ram_attr_frozen, &ram_attr_carried,
	&ram_attr_events, NULL,
};

static const struct config_item_type ram_path_type = {
	.ct_owner = THIS_MODULE, .ct_attrs = ram_path_attrs,
};

static struct config_group *ram_make_group(struct config_group *group, const char *name)
{
	unsigned int number;

	/* Each path has one name: neither +1 nor 01. */
	if (kstrtouint(name, 10, &number) || number >= paths || strlen(name) > 1 + number / 10)
		return ERR_PTR(-EINVAL);
	/* Nobody refers to it after rmdir, not even an opener of one of its files. */
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

static int __init ram_check(const char *name, unsigned int value, unsigned int most)
{
	if (value && value <= most)
		return 0;
	pr_err(KBUILD_MODNAME ": %s=%u is not a number from 1 to %u\n", name, value, most);
	return -EINVAL;
}

static void ram_free(void)
{
	while (ram_ports)
		mpath_port_exit(&ram_paths[--ram_ports].port);
	ram_exit_devices();
	vfree(ram_memory);
}

static int __init ram_init(void)
{
	int err = ram_check("paths", paths, ARRAY_SIZE(ram_paths)) ?:
		  ram_check("size_mib", size_mib, 65536);

	if (err)
		return err;
	ram_memory = vzalloc((size_t)size_mib << 20);
	if (!ram_memory)
		return -ENOMEM;
	mpath_iopolicy_init(&ram_policy, MPATH_IOPOLICY_NUMA, BIT(MPATH_IOPOLICY_NUMA) |
			    BIT(MPATH_IOPOLICY_RR) | BIT(MPATH_IOPOLICY_QD));
	config_group_init(&ram_subsystem.su_group);
	for (unsigned int number = 0; !err && number < paths; number++) {
		struct ram_path *path = &ram_paths[number];

		path->queue_depth = UINT_MAX;
		path->numa_node = NUMA_NO_NODE;
		mutex_init(&path->lock);
		err = ram_init_device(path) ?: mpath_port_init(&path->port);
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
