// SPDX-License-Identifier: GPL-2.0
/*
 * A driver that does wrong what multipath.h says must be done right: one mistake each time that the
 * user writes the name of one to mpath_bad/do in debugfs. The write returns the library's answer.
 * Then the driver takes everything apart again in the right way. So unloading the module shows
 * whatever a mistake has left behind.
 *
 * Heads are mpbad0 and mpbad1, each over one path or none. A path ends its bios at once, or keeps
 * one for the driver to do wrong with. Or it sends clones of them on to another disk, whose name
 * stands behind the mistake.
 */
#include <linux/blkdev.h>
#include <linux/debugfs.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/multipath.h>

#define BAD_SECTORS	(SZ_1M / SECTOR_SIZE)
#define BAD_POLICIES	(BIT(MPATH_IOPOLICY_NUMA) | BIT(MPATH_IOPOLICY_RR) | BIT(MPATH_IOPOLICY_QD))

/* A head and its one path, as far as there are any. */
struct bad {
	struct mpath_iopolicy	policy;
	struct mpath_port	port;
	struct mpath_head	*head;
	struct mpath_device	dev;
	struct gendisk		*disk;		/* the path's */
	bool			listed;		/* is the path on the head? */
	bool			holding;	/* does the path keep the next bio? */
	struct bio		*held;
	int			result;		/* the result of a callback */
};

static struct bad bad_first, bad_second;
static const char *bad_argument;		/* the word behind the name of a mistake */
static struct block_device *bad_lower;		/* where paths send clones to, if anywhere */
static bool bad_marks;				/* do clones keep REQ_MPATH? */
static void (*bad_on_release)(struct mpath_head *head);
static int (*bad_on_add_cdev)(struct mpath_head *head);

static struct bad *to_bad(struct mpath_head *head)
{
	return head->drvdata;
}

/* Everything in order */

static void bad_end_clone(struct bio *clone)
{
	struct bio *bio = clone->bi_private;
	struct bad *bad = bio->bi_bdev->bd_disk->private_data;
	struct bio_list bios = BIO_EMPTY_LIST;

	bio->bi_status = clone->bi_status;
	bio_put(clone);
	if (!mpath_path_error(bio->bi_status)) {
		bio_endio(bio);
		return;
	}
	bio_list_add(&bios, bio);
	mpath_failover(&bad->dev, &bios);
}

static void bad_send_on(struct bio *bio)
{
	struct bio *clone = bio_alloc_clone(bad_lower, bio, GFP_NOIO, &fs_bio_set);

	if (!bad_marks)
		clone->bi_opf &= ~REQ_MPATH;
	clone->bi_end_io = bad_end_clone;
	clone->bi_private = bio;
	submit_bio_noacct(clone);
}

static void bad_submit_bio(struct bio *bio)
{
	struct bad *bad = bio->bi_bdev->bd_disk->private_data;

	if (bad_lower) {
		bad_send_on(bio);
		return;
	}
	if (bad->holding) {
		bad->holding = false;
		bad->held = bio;
		return;
	}
	if (!op_is_write(bio_op(bio)))
		zero_fill_bio(bio);
	bio_endio(bio);
}

static void bad_release(struct mpath_head *head)
{
	if (bad_on_release)
		bad_on_release(head);
}

static void bad_remove_head(struct mpath_head *head)
{
	if (mpath_try_remove_head(head)) {
		to_bad(head)->head = NULL;
		mpath_remove_head(head);
		mpath_put_head(head);
	}
}

static int bad_add_cdev(struct mpath_head *head)
{
	return bad_on_add_cdev ? bad_on_add_cdev(head) : 0;
}

static void bad_del_cdev(struct mpath_head *head)
{
}

static void *bad_ioctl_begin(struct mpath_device *dev, unsigned int cmd)
{
	return NULL;
}

static int bad_ioctl_handle(void *handle, bool open_for_write, unsigned int cmd, unsigned long arg)
{
	return 0;
}

static const struct block_device_operations bad_head_ops = { MPATH_BDEV_OPS(THIS_MODULE) };
static const struct block_device_operations bad_path_ops = {
	.owner = THIS_MODULE, .submit_bio = bad_submit_bio,
};
static const struct attribute_group *bad_groups[] = { &mpath_attr_group, NULL };

#define BAD_TEMPLATE								\
	.owner = THIS_MODULE, .fops = &bad_head_ops, .disk_groups = bad_groups,	\
	.release = bad_release, .remove_head = bad_remove_head,			\
	.add_cdev = bad_add_cdev, .del_cdev = bad_del_cdev,			\
	.ioctl_begin = bad_ioctl_begin, .ioctl_handle = bad_ioctl_handle

static const struct mpath_head_template bad_template = { BAD_TEMPLATE };

static int bad_alloc_head(struct bad *bad, const struct mpath_head_template *template)
{
	struct mpath_head *head = mpath_alloc_head(template, &bad->policy, bad);

	if (IS_ERR(head))
		return PTR_ERR(head);
	bad->head = head;
	return 0;
}

static int bad_alloc_head_disk(struct bad *bad)
{
	struct queue_limits lim = {};
	int err = mpath_alloc_head_disk(bad->head, &lim, NULL, NUMA_NO_NODE);

	if (!err) {
		sprintf(bad->head->disk->disk_name, "mpbad%d", bad == &bad_second);
		set_capacity(bad->head->disk, BAD_SECTORS);
		bad->head->disk->flags |= GENHD_FL_NO_PART;
	}
	return err;
}

static int bad_alloc(struct bad *bad, const struct mpath_head_template *template)
{
	return bad_alloc_head(bad, template) ?: bad_alloc_head_disk(bad);
}

static int bad_alloc_path(struct bad *bad)
{
	struct queue_limits lim = {};
	struct gendisk *disk = blk_alloc_disk(&lim, NUMA_NO_NODE);
	int err;

	if (IS_ERR(disk))
		return PTR_ERR(disk);
	disk->fops = &bad_path_ops;
	disk->flags |= GENHD_FL_HIDDEN;
	disk->private_data = bad;
	sprintf(disk->disk_name, "mpbad%dc0", bad == &bad_second);
	set_capacity(disk, BAD_SECTORS);
	err = add_disk(disk);
	if (err)
		put_disk(disk);
	else
		bad->disk = disk;
	return err;
}

static int bad_add_path_to(struct bad *bad, struct mpath_head *head)
{
	int err = mpath_add_device(&bad->dev, head, bad->disk, &bad->port, NUMA_NO_NODE);

	bad->listed |= !err;
	return err;
}

static int bad_add_path(struct bad *bad)
{
	return bad_add_path_to(bad, bad->head);
}

static int bad_set_live(struct bad *bad)
{
	mpath_device_set_access_state(&bad->dev, MPATH_STATE_OPTIMIZED);
	mpath_enable_device(&bad->dev, MPATH_DISABLE_NOT_READY);
	return mpath_device_set_live(&bad->dev);
}

/* A head with a path that is live. */
static int bad_start(struct bad *bad)
{
	return bad_alloc(bad, &bad_template) ?: bad_alloc_path(bad) ?: bad_add_path(bad) ?:
	       bad_set_live(bad);
}

static void bad_remove_path(struct bad *bad)
{
	mpath_quiesce_device(&bad->dev);
	mpath_delete_device(&bad->dev);
	mpath_synchronize(bad->dev.head);
	mpath_remove_sysfs_link(&bad->dev);
	bad->listed = false;
}

static void bad_stop_path(struct bad *bad)
{
	if (bad->listed)
		bad_remove_path(bad);
	if (bad->disk) {
		del_gendisk(bad->disk);
		put_disk(bad->disk);
	}
	memset(&bad->dev, 0, sizeof(bad->dev));
	bad->disk = NULL;
	bad->held = NULL;
	bad->holding = false;
}

/* Takes the head and the path apart, as far as there are any. */
static void bad_stop(struct bad *bad)
{
	bad_stop_path(bad);
	if (bad->head)
		bad_remove_head(bad->head);
}

/* A path may be on the other's head. */
static void bad_stop_both(void)
{
	bad_stop_path(&bad_second);
	bad_stop_path(&bad_first);
	bad_stop(&bad_second);
	bad_stop(&bad_first);
}

/* Calls @cb inside a read-side section of the head. */
static int bad_in_section(struct bad *bad, int (*cb)(struct mpath_device *dev, void *data))
{
	return bad_start(bad) ?: mpath_call_for_device(bad->head, cb, bad);
}

/* Mistakes with paths */

static int bad_add_twice(struct bad *bad)
{
	return bad_start(bad) ?: bad_add_path(bad);
}

static int bad_add_to_two_heads(struct bad *bad)
{
	return bad_start(bad) ?: bad_alloc(&bad_second, &bad_template) ?:
	       mpath_add_device(&bad->dev, bad_second.head, bad->disk, &bad->port, NUMA_NO_NODE);
}

/* Moves a path to the other head, and waits for the readers of the one that it leaves, or not. */
static int bad_move(struct bad *bad, bool wait)
{
	int err = bad_start(bad) ?: bad_alloc(&bad_second, &bad_template);

	if (err)
		return err;
	mpath_quiesce_device(&bad->dev);
	mpath_remove_sysfs_link(&bad->dev);
	mpath_delete_device(&bad->dev);
	bad->listed = false;
	if (wait)
		mpath_synchronize(bad->head);
	return bad_add_path_to(bad, bad_second.head);
}

static int bad_add_elsewhere_at_once(struct bad *bad)
{
	return bad_move(bad, false);
}

static int bad_add_elsewhere(struct bad *bad)
{
	return bad_move(bad, true);
}

static int bad_add_on_no_node(struct bad *bad)
{
	return bad_alloc(bad, &bad_template) ?: bad_alloc_path(bad) ?:
	       mpath_add_device(&bad->dev, bad->head, bad->disk, &bad->port, MAX_NUMNODES);
}

static int bad_add_without_disk(struct bad *bad)
{
	return bad_alloc(bad, &bad_template) ?:
	       mpath_add_device(&bad->dev, bad->head, NULL, &bad->port, NUMA_NO_NODE);
}

static int bad_add_without_port(struct bad *bad)
{
	return bad_alloc(bad, &bad_template) ?: bad_alloc_path(bad) ?:
	       mpath_add_device(&bad->dev, bad->head, bad->disk, NULL, NUMA_NO_NODE);
}

static int bad_add_the_head_itself(struct bad *bad)
{
	return bad_alloc(bad, &bad_template) ?:
	       mpath_add_device(&bad->dev, bad->head, bad->head->disk, &bad->port, NUMA_NO_NODE);
}

static int bad_add_to_a_dying_head(struct bad *bad)
{
	int err = bad_alloc(bad, &bad_template) ?: bad_alloc_path(bad);

	if (err || !mpath_try_remove_head(bad->head))
		return err ?: -EBUSY;
	err = bad_add_path(bad);
	mpath_remove_head(bad->head);
	mpath_put_head(bad->head);
	bad->head = NULL;
	return err;
}

static int bad_use_unadded(struct bad *bad)
{
	struct bio_list bios = BIO_EMPTY_LIST;

	memset(&bad->dev, 0x5a, sizeof(bad->dev));
	mpath_enable_device(&bad->dev, MPATH_DISABLE_NOT_READY);
	mpath_disable_device(&bad->dev, MPATH_DISABLE_NOT_READY);
	mpath_device_set_access_state(&bad->dev, MPATH_STATE_OPTIMIZED);
	mpath_failover(&bad->dev, &bios);
	mpath_quiesce_device(&bad->dev);
	mpath_remove_sysfs_link(&bad->dev);
	return mpath_clear_current_path(&bad->dev) ? 0 : mpath_device_set_live(&bad->dev);
}

static int bad_delete_unadded(struct bad *bad)
{
	int err = bad_alloc(bad, &bad_template);

	mpath_delete_device(&bad->dev);
	return err;
}

static int bad_remove_unadded(struct bad *bad)
{
	return mpath_remove_device(&bad->dev, NULL) ? -EIO : 0;
}

static void bad_on_stop(struct mpath_device *dev)
{
	container_of(dev, struct bad, dev)->result++;
}

/* Not a mistake */
static int bad_remove_in_one_step(struct bad *bad)
{
	int err = bad_start(bad);

	if (err)
		return err;
	bad->result = 0;
	if (!mpath_remove_device(&bad->dev, bad_on_stop) || bad->result != 1)
		return -EIO;
	bad->listed = false;
	/* Nobody sees the path any more, so that the memory may be used for anything. */
	memset(&bad->dev, 0x6b, sizeof(bad->dev));
	return mpath_head_devices_empty(bad->head) ? bad_add_path(bad) : -EIO;
}

static int bad_move_to_no_node(struct bad *bad)
{
	int err = bad_start(bad);

	if (!err)
		mpath_device_set_numa_node(&bad->dev, MAX_NUMNODES);
	return err;
}

static int bad_delete_twice(struct bad *bad)
{
	int err = bad_start(bad);

	if (!err) {
		bad_remove_path(bad);
		mpath_delete_device(&bad->dev);
	}
	return err;
}

static int bad_delete_unquiesced(struct bad *bad)
{
	int err = bad_start(bad);

	if (!err) {
		mpath_delete_device(&bad->dev);
		bad->listed = false;
	}
	return err;
}

static int bad_live_without_disk(struct bad *bad)
{
	return bad_alloc_head(bad, &bad_template) ?: bad_alloc_path(bad) ?: bad_add_path(bad) ?:
	       bad_set_live(bad);
}

static int bad_live_without_name(struct bad *bad)
{
	int err = bad_alloc(bad, &bad_template) ?: bad_alloc_path(bad) ?: bad_add_path(bad);

	if (err)
		return err;
	bad->head->disk->disk_name[0] = '\0';
	return bad_set_live(bad);
}

static int bad_live_after_removal(struct bad *bad)
{
	int err = bad_alloc(bad, &bad_template) ?: bad_alloc_path(bad) ?: bad_add_path(bad);

	if (err)
		return err;
	bad_remove_path(bad);
	return bad_set_live(bad);
}

static int bad_live_on_a_dead_head(struct bad *bad)
{
	struct mpath_head *head;
	int err = bad_start(bad);

	if (err)
		return err;
	head = bad->head;
	mpath_get_head(head);
	bad_remove_path(bad);
	bad_remove_head(head);
	err = bad_set_live(bad);
	mpath_put_head(head);
	return err;
}

/* A path goes live, and the driver has left out one of the other three calls. */
static int bad_live_without_enabling(struct bad *bad)
{
	int err = bad_alloc(bad, &bad_template) ?: bad_alloc_path(bad) ?: bad_add_path(bad);

	if (err)
		return err;
	mpath_device_set_access_state(&bad->dev, MPATH_STATE_OPTIMIZED);
	return mpath_device_set_live(&bad->dev);
}

static int bad_live_without_access_state(struct bad *bad)
{
	int err = bad_alloc(bad, &bad_template) ?: bad_alloc_path(bad) ?: bad_add_path(bad);

	if (err)
		return err;
	mpath_enable_device(&bad->dev, MPATH_DISABLE_NOT_READY);
	return mpath_device_set_live(&bad->dev);
}

static int bad_live_on_a_dead_port(struct bad *bad)
{
	int err = bad_alloc(bad, &bad_template) ?: bad_alloc_path(bad) ?: bad_add_path(bad);

	if (err)
		return err;
	mpath_port_set_state(&bad->port, MPATH_PORT_DEAD);
	err = mpath_start_device(&bad->dev, MPATH_STATE_OPTIMIZED);
	mpath_port_set_state(&bad->port, MPATH_PORT_LIVE);
	return err;
}

/* The driver leaves nothing out. */
static int bad_live(struct bad *bad)
{
	return bad_alloc(bad, &bad_template) ?: bad_alloc_path(bad) ?: bad_add_path(bad) ?:
	       mpath_start_device(&bad->dev, MPATH_STATE_OPTIMIZED);
}

static int bad_add_with_a_port_that_is_not_initialised(struct bad *bad)
{
	struct mpath_port port = { .state = MPATH_PORT_LIVE };

	return bad_alloc(bad, &bad_template) ?: bad_alloc_path(bad) ?:
	       mpath_add_device(&bad->dev, bad->head, bad->disk, &port, NUMA_NO_NODE);
}

static int bad_give_a_port_up_too_early(struct bad *bad)
{
	int err = bad_start(bad);
	u16 counted;

	if (err)
		return err;
	counted = mpath_request_start(&bad->dev);
	mpath_port_exit(&bad->port);
	mpath_request_done(&bad->dev, counted);
	return mpath_port_in_flight(&bad->port) ? -EBUSY : 0;
}

static int bad_give_a_port_up_twice(struct bad *bad)
{
	struct mpath_port port;
	int err = mpath_port_init(&port);

	if (err)
		return err;
	mpath_port_exit(&port);
	mpath_port_exit(&port);
	return 0;
}

static int bad_unknown_states(struct bad *bad)
{
	int err = bad_start(bad);

	if (err)
		return err;
	mpath_port_set_state(&bad->port, MPATH_PORT_LIVE + 1);
	mpath_port_set_state(&bad->port, MPATH_PORT_LIVE);
	mpath_device_set_access_state(&bad->dev, MPATH_STATE_OTHER + 1);
	mpath_disable_device(&bad->dev, BIT(7));
	mpath_enable_device(&bad->dev, BIT(7));
	return 0;
}

/* Mistakes in callbacks */

static int bad_set_live_cb(struct mpath_device *dev, void *data)
{
	return mpath_device_set_live(dev);
}

static int bad_live_in_section(struct bad *bad)
{
	return bad_in_section(bad, bad_set_live_cb);
}

static int bad_quiesce_cb(struct mpath_device *dev, void *data)
{
	mpath_quiesce_device(dev);
	return 0;
}

static int bad_quiesce_in_section(struct bad *bad)
{
	return bad_in_section(bad, bad_quiesce_cb);
}

static int bad_delete_cb(struct mpath_device *dev, void *data)
{
	mpath_delete_device(dev);
	return 0;
}

static int bad_delete_in_section(struct bad *bad)
{
	return bad_in_section(bad, bad_delete_cb);
}

/* A callback may do once more a step that has not happened, as bad_stop() does. */
static int bad_remove_cb(struct mpath_device *dev, void *data)
{
	return mpath_remove_device(dev, NULL) ? -EIO : 0;
}

static int bad_remove_in_section(struct bad *bad)
{
	int err = bad_in_section(bad, bad_remove_cb);

	return err ?: mpath_head_devices_empty(bad->head) ? -EIO : 0;
}

static int bad_synchronize_cb(struct mpath_device *dev, void *data)
{
	mpath_synchronize(dev->head);
	return 0;
}

static int bad_synchronize_in_section(struct bad *bad)
{
	return bad_in_section(bad, bad_synchronize_cb);
}

static int bad_links_cb(struct mpath_device *dev, void *data)
{
	mpath_add_sysfs_links(dev->head);
	mpath_remove_sysfs_link(dev);
	return 0;
}

static int bad_links_in_section(struct bad *bad)
{
	return bad_in_section(bad, bad_links_cb);
}

static int bad_put_cb(struct mpath_device *dev, void *data)
{
	mpath_put_head(dev->head);
	return 0;
}

static int bad_put_in_section(struct bad *bad)
{
	return bad_in_section(bad, bad_put_cb);
}

static int bad_live_on_add_cdev(struct mpath_head *head)
{
	to_bad(head)->result = mpath_device_set_live(&to_bad(head)->dev);
	return 0;
}

static int bad_live_in_add_cdev(struct bad *bad)
{
	int err;

	bad_on_add_cdev = bad_live_on_add_cdev;
	err = bad_start(bad) ?: bad->result;
	bad_on_add_cdev = NULL;
	return err;
}

static int bad_call_nothing(struct bad *bad)
{
	return bad_in_section(bad, NULL);
}

/* Mistakes with templates; one member of each is another than in bad_template. */

#define BAD_TEMPLATE_BUT(name, member, value)						\
static int bad_##name(struct bad *bad)							\
{											\
	static struct mpath_head_template template = { BAD_TEMPLATE };			\
	static const struct block_device_operations __maybe_unused foreign_ops = {	\
		MPATH_BDEV_OPS(NULL),							\
	};										\
											\
	template.member = value;							\
	return bad_alloc(bad, &template);						\
}

BAD_TEMPLATE_BUT(no_release, release, NULL)
BAD_TEMPLATE_BUT(no_add_cdev, add_cdev, NULL)
BAD_TEMPLATE_BUT(no_del_cdev, del_cdev, NULL)
BAD_TEMPLATE_BUT(no_ioctl_begin, ioctl_begin, NULL)
BAD_TEMPLATE_BUT(no_ioctl_handle, ioctl_handle, NULL)
BAD_TEMPLATE_BUT(no_fops, fops, NULL)
BAD_TEMPLATE_BUT(other_fops, fops, &bad_path_ops)
BAD_TEMPLATE_BUT(foreign_fops, fops, &foreign_ops)

static int bad_no_template(struct bad *bad)
{
	return bad_alloc(bad, NULL);
}

static const struct mpath_head_template bad_template_that_stays = {
	.owner = THIS_MODULE, .fops = &bad_head_ops, .release = bad_release,
};

static int bad_delay_without_remove_head(struct bad *bad)
{
	int err = bad_alloc(bad, &bad_template_that_stays);

	if (err)
		return err;
	mpath_set_delayed_removal_secs(bad->head, 60);
	if (mpath_head_queue_if_no_path(bad->head))
		return -EBUSY;
	return mpath_delayed_removal_secs_store(bad->head, "60\n", 3);
}

/* None of these is a mistake, nor is there anything to be said about them. */

static int bad_no_links(struct bad *bad)
{
	static struct mpath_head_template template = { BAD_TEMPLATE };

	template.disk_groups = NULL;
	return bad_alloc(bad, &template) ?: bad_alloc_path(bad) ?: bad_add_path(bad) ?:
	       bad_set_live(bad) ?: bad_alloc_path(&bad_second) ?:
	       bad_add_path_to(&bad_second, bad->head) ?: bad_set_live(&bad_second);
}

#define BAD_SECONDS	5

static int bad_read_nodes(void *data)
{
	struct bad *bad = data;
	char *page = (char *)__get_free_page(GFP_KERNEL);

	while (!kthread_should_stop()) {
		if (page)
			mpath_numa_nodes_show(&bad->dev, page);
		cond_resched();
	}
	free_page((unsigned long)page);
	return 0;
}

/* Paths of a head without a disk come and go, as they should, while a reader looks at them. */
static int bad_watch_without_disk(struct bad *bad)
{
	unsigned long end = jiffies + BAD_SECONDS * HZ;
	struct task_struct *reader;
	int err = bad_alloc_head(bad, &bad_template) ?: bad_alloc_path(bad) ?: bad_add_path(bad);

	if (err)
		return err;
	mpath_iopolicy_set(&bad->policy, MPATH_IOPOLICY_NUMA);
	reader = kthread_run(bad_read_nodes, bad, "bad_reader");
	if (IS_ERR(reader))
		return PTR_ERR(reader);
	while (!err && time_before(jiffies, end)) {
		struct mpath_device *dev = kzalloc(sizeof(*dev), GFP_KERNEL);

		if (!dev)
			break;
		err = mpath_add_device(dev, bad->head, bad->disk, &bad->port, 0);
		if (!err) {
			mpath_device_set_access_state(dev, MPATH_STATE_OPTIMIZED);
			mpath_enable_device(dev, MPATH_DISABLE_NOT_READY);
			mpath_quiesce_device(dev);
			mpath_delete_device(dev);
			mpath_synchronize(bad->head);
		}
		/* A path that is gone looks so at once. */
		memset(dev, 0x6b, sizeof(*dev));
		kfree(dev);
	}
	kthread_stop(reader);
	mpath_iopolicy_set(&bad->policy, MPATH_IOPOLICY_RR);
	return err;
}

/* Mistakes with policies */

static int bad_unknown_policy(struct bad *bad)
{
	struct mpath_iopolicy policy;

	return mpath_iopolicy_init(&policy, MPATH_IOPOLICY_QD + 1, BAD_POLICIES);
}

static int bad_unknown_policies(struct bad *bad)
{
	struct mpath_iopolicy policy;

	return mpath_iopolicy_init(&policy, MPATH_IOPOLICY_NUMA, BAD_POLICIES | BIT(7));
}

static int bad_policy_left_out(struct bad *bad)
{
	struct mpath_iopolicy policy;

	return mpath_iopolicy_init(&policy, MPATH_IOPOLICY_NUMA, BIT(MPATH_IOPOLICY_RR));
}

static int bad_set_unknown_policy(struct bad *bad)
{
	return mpath_iopolicy_set(&bad->policy, MPATH_IOPOLICY_QD + 1);
}

static int bad_set_uninitialised_policy(struct bad *bad)
{
	struct mpath_iopolicy policy = {};

	return mpath_iopolicy_set(&policy, MPATH_IOPOLICY_RR);
}

static int bad_follow_uninitialised_policy(struct bad *bad)
{
	struct mpath_iopolicy policy = {};
	struct mpath_head *head = mpath_alloc_head(&bad_template, &policy, bad);

	return PTR_ERR_OR_ZERO(head);
}

static int bad_follow_no_policy(struct bad *bad)
{
	return PTR_ERR_OR_ZERO(mpath_alloc_head(&bad_template, NULL, bad));
}

static int bad_initialise_policy_in_use(struct bad *bad)
{
	return bad_start(bad) ?:
	       mpath_iopolicy_init(&bad->policy, MPATH_IOPOLICY_NUMA, BAD_POLICIES);
}

/* Mistakes with heads */

static int bad_two_disks(struct bad *bad)
{
	return bad_alloc(bad, &bad_template) ?: bad_alloc_head_disk(bad);
}

static int bad_disk_on_no_node(struct bad *bad)
{
	struct queue_limits lim = {};

	return bad_alloc_head(bad, &bad_template) ?:
	       mpath_alloc_head_disk(bad->head, &lim, NULL, MAX_NUMNODES);
}

static int bad_ioctl_without_disk(struct bad *bad)
{
	int err = bad_alloc_head(bad, &bad_template) ?: bad_alloc_path(bad) ?: bad_add_path(bad);

	if (err)
		return err;
	bad_set_live(bad);
	return mpath_cdev_ioctl(bad->head, false, 0, 0);
}

static int bad_remove_undecided(struct bad *bad)
{
	int err = bad_start(bad);

	if (!err)
		mpath_remove_head(bad->head);
	return err;
}

static int bad_remove_twice(struct bad *bad)
{
	struct mpath_head *head;
	int err = bad_start(bad);

	if (err)
		return err;
	head = bad->head;
	mpath_get_head(head);
	bad_remove_path(bad);
	bad_remove_head(head);
	mpath_remove_head(head);
	mpath_put_head(head);
	return 0;
}

static int bad_put_with_paths(struct bad *bad)
{
	int err = bad_start(bad);

	if (!err)
		mpath_put_head(bad->head);
	return err;
}

static int bad_put_unremoved(struct bad *bad)
{
	int err = bad_start(bad);

	if (err)
		return err;
	bad_remove_path(bad);
	mpath_put_head(bad->head);
	bad->head = NULL;
	return 0;
}

/* The disk stays open, so that there is a head to drop a reference of. */
static int bad_put_too_often(struct bad *bad)
{
	struct mpath_head *head;
	struct file *opener;
	int err = bad_start(bad);

	if (err)
		return err;
	head = bad->head;
	opener = bdev_file_open_by_dev(disk_devt(head->disk), BLK_OPEN_READ, NULL, NULL);
	if (IS_ERR(opener))
		return PTR_ERR(opener);
	bad_remove_path(bad);
	bad_remove_head(head);
	mpath_put_head(head);
	bdev_fput(opener);
	return 0;
}

static void bad_put_on_release(struct mpath_head *head)
{
	mpath_put_head(head);
}

static void bad_get_on_release(struct mpath_head *head)
{
	mpath_get_head(head);
}

static int bad_do_on_release(struct bad *bad, void (*mistake)(struct mpath_head *head))
{
	int err = bad_start(bad);

	bad_on_release = mistake;
	bad_stop(bad);
	bad_on_release = NULL;
	return err;
}

static int bad_put_in_release(struct bad *bad)
{
	return bad_do_on_release(bad, bad_put_on_release);
}

static int bad_get_in_release(struct bad *bad)
{
	return bad_do_on_release(bad, bad_get_on_release);
}

/* Mistakes with bios */

struct bad_io {
	struct bio		bio;
	struct bio_vec		vec;
	struct completion	done;
};

static void bad_end_io(struct bio *bio)
{
	complete(bio->bi_private);
}

static void bad_init_io_of(struct bad_io *io, struct gendisk *disk, blk_opf_t opf,
			   struct page *page)
{
	init_completion(&io->done);
	bio_init(&io->bio, disk->part0, &io->vec, 1, opf);
	__bio_add_page(&io->bio, page, SECTOR_SIZE, 0);
	io->bio.bi_end_io = bad_end_io;
	io->bio.bi_private = &io->done;
}

/* A write of zeros. */
static void bad_init_io(struct bad_io *io, struct gendisk *disk)
{
	bad_init_io_of(io, disk, REQ_OP_WRITE, ZERO_PAGE(0));
}

/* Waits for the I/O that was submitted, and says how it went. */
static int bad_finish_io(struct bad_io *io)
{
	int err;

	wait_for_completion(&io->done);
	err = blk_status_to_errno(io->bio.bi_status);
	bio_uninit(&io->bio);
	return err;
}

/* Has the path keep a bio that comes through the head. */
static int bad_hold(struct bad *bad, struct bad_io *io)
{
	int err = bad_start(bad);

	if (err)
		return err;
	bad_init_io(io, bad->head->disk);
	bad->holding = true;
	submit_bio(&io->bio);
	return bad->held == &io->bio ? 0 : bad_finish_io(io) ?: -EIO;
}

static int bad_failover_foreign(struct bad *bad)
{
	struct bio_list bios = BIO_EMPTY_LIST;
	static struct bad_io io, foreign;
	int err = bad_hold(bad, &io);

	if (err)
		return err;
	bad_init_io(&foreign, bad->disk);
	bio_list_add(&bios, &io.bio);
	bio_list_add(&bios, &foreign.bio);
	mpath_failover(&bad->dev, &bios);
	err = bad_finish_io(&io);
	if (bio_list_pop(&bios) != &foreign.bio || !bio_list_empty(&bios) ||
	    completion_done(&foreign.done))
		err = -EIO;
	bio_uninit(&foreign.bio);
	return err;
}

static int bad_failover_twice(struct bad *bad)
{
	struct bio_list bios = BIO_EMPTY_LIST;
	static struct bad_io io;
	int left, err = bad_hold(bad, &io);

	if (err)
		return err;
	/* The bio stays where it waits for now. */
	mpath_disable_device(&bad->dev, MPATH_DISABLE_NOT_READY);
	bio_list_add(&bios, &io.bio);
	mpath_failover(&bad->dev, &bios);
	bio_list_add(&bios, &io.bio);
	mpath_failover(&bad->dev, &bios);
	left = bio_list_size(&bios);
	mpath_enable_device(&bad->dev, MPATH_DISABLE_NOT_READY);
	return bad_finish_io(&io) ?: left == 1 ? 0 : -EIO;
}

static int bad_failover_on_another_path(struct bad *bad)
{
	struct bio_list bios = BIO_EMPTY_LIST;
	static struct bad_io io;
	int err = bad_start(&bad_second) ?: bad_hold(bad, &io);

	if (err)
		return err;
	bio_list_add(&bios, &io.bio);
	mpath_failover(&bad_second.dev, &bios);
	if (bio_list_empty(&bios))
		return bad_finish_io(&io) ?: -EIO;
	bio_endio(&io.bio);
	return bad_finish_io(&io);
}

/* Calls @make with paths that send clones on to the disk whose name stands behind the mistake. */
static int bad_on_lower(int (*make)(struct bad *bad), struct bad *bad)
{
	struct file *lower = bdev_file_open_by_path(bad_argument, BLK_OPEN_READ | BLK_OPEN_WRITE,
						    NULL, NULL);
	int err;

	if (IS_ERR(lower))
		return PTR_ERR(lower);
	bad_lower = file_bdev(lower);
	err = make(bad);
	bad_stop_both();
	bad_lower = NULL;
	bad_marks = false;
	bdev_fput(lower);
	return err;
}

static int bad_read_through_two_paths(struct bad *bad)
{
	static struct bad_io io;
	int err = bad_start(bad) ?: bad_alloc_path(&bad_second) ?:
		  bad_add_path_to(&bad_second, bad->head) ?: bad_set_live(&bad_second);
	struct page *page = alloc_page(GFP_KERNEL);

	if (!err && page) {
		bad_init_io_of(&io, bad->head->disk, REQ_OP_READ, page);
		submit_bio(&io.bio);
		err = bad_finish_io(&io);
	}
	if (page)
		__free_page(page);
	return err;
}

/* Every path fails the read, and the driver fails over each bio that another might carry out. */
static int bad_fail_everywhere(struct bad *bad)
{
	return bad_on_lower(bad_read_through_two_paths, bad);
}

/* The mark of the head's bios comes to a driver that gives it another meaning. */
static int bad_send_the_mark_on(struct bad *bad)
{
	bad_marks = true;
	return bad_on_lower(bad_read_through_two_paths, bad);
}

static int bad_failover_without_disk(struct bad *bad)
{
	struct bio_list bios = BIO_EMPTY_LIST;
	static struct bad_io io;
	int err = bad_alloc_head(bad, &bad_template) ?: bad_alloc_path(bad) ?: bad_add_path(bad);

	if (err)
		return err;
	bad_init_io(&io, bad->disk);
	bio_list_add(&bios, &io.bio);
	mpath_failover(&bad->dev, &bios);
	bio_uninit(&io.bio);
	return bio_list_empty(&bios) ? -EIO : 0;
}

#define BAD(name) { #name, bad_##name }

static const struct {
	const char *name;
	int (*make)(struct bad *bad);
} bad_mistakes[] = {
	BAD(add_twice), BAD(add_to_two_heads), BAD(add_elsewhere_at_once), BAD(add_elsewhere),
	BAD(remove_in_one_step), BAD(remove_unadded), BAD(remove_in_section), BAD(move_to_no_node),
	BAD(no_links), BAD(watch_without_disk), BAD(add_on_no_node), BAD(add_without_disk),
	BAD(add_without_port), BAD(add_the_head_itself), BAD(add_to_a_dying_head),
	BAD(use_unadded), BAD(delete_unadded), BAD(delete_twice), BAD(delete_unquiesced),
	BAD(live_without_disk), BAD(live_without_name), BAD(live_after_removal),
	BAD(live_on_a_dead_head), BAD(unknown_states), BAD(live_without_enabling),
	BAD(live_without_access_state), BAD(live_on_a_dead_port), BAD(live),
	BAD(add_with_a_port_that_is_not_initialised), BAD(give_a_port_up_too_early),
	BAD(give_a_port_up_twice),
	BAD(live_in_section), BAD(quiesce_in_section), BAD(delete_in_section),
	BAD(synchronize_in_section), BAD(links_in_section), BAD(put_in_section),
	BAD(live_in_add_cdev), BAD(call_nothing),
	BAD(no_release), BAD(no_add_cdev), BAD(no_del_cdev), BAD(no_ioctl_begin),
	BAD(no_ioctl_handle), BAD(no_fops), BAD(other_fops), BAD(foreign_fops), BAD(no_template),
	BAD(delay_without_remove_head),
	BAD(unknown_policy), BAD(unknown_policies), BAD(policy_left_out),
	BAD(set_unknown_policy), BAD(set_uninitialised_policy), BAD(follow_uninitialised_policy),
	BAD(follow_no_policy), BAD(initialise_policy_in_use),
	BAD(two_disks), BAD(disk_on_no_node), BAD(ioctl_without_disk), BAD(remove_undecided),
	BAD(remove_twice), BAD(put_with_paths), BAD(put_unremoved), BAD(put_too_often),
	BAD(put_in_release), BAD(get_in_release),
	BAD(failover_foreign), BAD(failover_twice), BAD(failover_on_another_path),
	BAD(failover_without_disk), BAD(fail_everywhere), BAD(send_the_mark_on),
};

static ssize_t bad_write(struct file *file, const char __user *from, size_t count, loff_t *pos)
{
	char words[64] = {}, *rest = words, *name;

	if (count >= sizeof(words) || copy_from_user(words, from, count))
		return -EFAULT;
	name = strsep(&rest, " ");
	bad_argument = rest ? strim(rest) : "";
	for (unsigned int i = 0; i < ARRAY_SIZE(bad_mistakes); i++) {
		int err;

		if (strcmp(strim(name), bad_mistakes[i].name))
			continue;
		err = bad_mistakes[i].make(&bad_first);
		bad_stop_both();
		return err < 0 ? err : count;
	}
	return -ENOENT;
}

static const struct file_operations bad_fops = { .owner = THIS_MODULE, .write = bad_write };
static struct dentry *bad_directory;

static int __init bad_init_one(struct bad *bad)
{
	int err = mpath_port_init(&bad->port);

	if (err)
		return err;
	mpath_iopolicy_init(&bad->policy, MPATH_IOPOLICY_RR, BAD_POLICIES);
	mpath_port_set_state(&bad->port, MPATH_PORT_LIVE);
	return 0;
}

static int __init bad_init(void)
{
	int err = bad_init_one(&bad_first);

	if (err)
		return err;
	err = bad_init_one(&bad_second);
	if (err) {
		mpath_port_exit(&bad_first.port);
		return err;
	}
	bad_directory = debugfs_create_dir("mpath_bad", NULL);
	debugfs_create_file("do", 0200, bad_directory, NULL, &bad_fops);
	return 0;
}
module_init(bad_init);

static void __exit bad_exit(void)
{
	debugfs_remove(bad_directory);
	mpath_port_exit(&bad_first.port);
	mpath_port_exit(&bad_second.port);
}
module_exit(bad_exit);

MODULE_DESCRIPTION("A driver that misuses the multipath library");
MODULE_LICENSE("GPL");
