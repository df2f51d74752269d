// SPDX-License-Identifier: GPL-2.0
/*
 * Copyright (c) 2017-2018 Christoph Hellwig.
 * Copyright (c) 2026 the authors of libmultipath.
 *
 * NVMe multipath by the multipath library, derived from multipath.c, which does
 * without. The library handles paths, their choice, parked I/O and the head's
 * disk. This file has ANA, the module parameters, the attributes, and the code
 * that tells the library the facts that the rest of the driver knows.
 *
 * References to a head: subsys->nsheads holds the first one until the driver
 * unlinks the head under subsys->lock. Every namespace (path) and the character
 * device hold one each. So do, through the library, every opener of the disk
 * and an armed removal timer. Dropping the last one frees the head.
 */

#include <linux/io_uring/cmd.h>
#include <linux/moduleparam.h>
#include <linux/part_stat.h>
#include <linux/unaligned.h>
#include <linux/vmalloc.h>
#include "nvme.h"

bool multipath = true;
static bool multipath_always_on;
static int iopolicy = MPATH_IOPOLICY_NUMA;

static int multipath_param_set(const char *val, const struct kernel_param *kp)
{
	bool on;
	int ret = kstrtobool(val, &on);

	if (ret)
		return ret;
	if (multipath_always_on && !on) {
		pr_err("Can't disable multipath when multipath_always_on is configured.\n");
		return -EINVAL;
	}
	multipath = on;
	return 0;
}
module_param_call(multipath, multipath_param_set, param_get_bool, &multipath,
		  0444);
MODULE_PARM_DESC(multipath,
	"turn on native support for multiple controllers per subsystem");

static int always_on_param_set(const char *val, const struct kernel_param *kp)
{
	int ret = param_set_bool(val, kp);

	if (!ret && multipath_always_on)
		multipath = true;
	return ret;
}
module_param_call(multipath_always_on, always_on_param_set, param_get_bool,
		  &multipath_always_on, 0444);
MODULE_PARM_DESC(multipath_always_on,
	"create multipath node always except for private namespace with non-unique nsid; note that this also implicitly enables native multipath support");

static int iopolicy_param_set(const char *val, const struct kernel_param *kp)
{
	int policy = mpath_iopolicy_parse(val);

	if (policy < 0)
		return policy;
	iopolicy = policy;
	return 0;
}

static int iopolicy_param_get(char *buf, const struct kernel_param *kp)
{
	return sysfs_emit(buf, "%s\n", mpath_iopolicy_name(iopolicy));
}
module_param_call(iopolicy, iopolicy_param_set, iopolicy_param_get, &iopolicy,
		  0644);
MODULE_PARM_DESC(iopolicy,
	"Default multipath I/O policy; 'numa' (default), 'round-robin' or 'queue-depth'");

void nvme_mpath_default_iopolicy(struct nvme_subsystem *subsys)
{
	mpath_iopolicy_init(&subsys->iopolicy, iopolicy,
			    BIT(MPATH_IOPOLICY_NUMA) | BIT(MPATH_IOPOLICY_RR) |
			    BIT(MPATH_IOPOLICY_QD));
}

/* "off", "auto", or the seconds that a controller may need that says nothing */
#define NVME_FENCE_OFF		0
#define NVME_FENCE_AUTO		-1
#define NVME_FENCE_MAX_SECS	3600

static int nvme_fence_default = NVME_FENCE_AUTO;

static int nvme_fence_parse(const char *val, int *setting)
{
	unsigned int secs;

	if (sysfs_streq(val, "off")) {
		*setting = NVME_FENCE_OFF;
	} else if (sysfs_streq(val, "auto")) {
		*setting = NVME_FENCE_AUTO;
	} else if (!kstrtouint(val, 10, &secs) && secs &&
		   secs <= NVME_FENCE_MAX_SECS) {
		*setting = secs;
	} else {
		pr_err("fence: \"%.*s\" is not \"off\", \"auto\", or a number of seconds from 1 to %d\n",
		       (int)strcspn(val, "\n"), val, NVME_FENCE_MAX_SECS);
		return -EINVAL;
	}
	return 0;
}

static int nvme_fence_emit(char *buf, int setting)
{
	if (setting == NVME_FENCE_OFF)
		return sysfs_emit(buf, "off\n");
	if (setting == NVME_FENCE_AUTO)
		return sysfs_emit(buf, "auto\n");
	return sysfs_emit(buf, "%d\n", setting);
}

static int fence_param_set(const char *val, const struct kernel_param *kp)
{
	return nvme_fence_parse(val, &nvme_fence_default);
}

static int fence_param_get(char *buf, const struct kernel_param *kp)
{
	return nvme_fence_emit(buf, nvme_fence_default);
}
module_param_call(fence, fence_param_set, fence_param_get, &nvme_fence_default,
		  0644);
MODULE_PARM_DESC(fence,
	"Hold writes of a lost controller until it cannot carry them out any more; 'auto' (default): if it reports a Command Quiesce Time, 'off', or the seconds to allow a controller that reports none");

/* Freezing the heads of a subsystem */

void nvme_mpath_start_freeze(struct nvme_subsystem *subsys)
{
	struct nvme_ns_head *head;

	lockdep_assert_held(&subsys->lock);
	list_for_each_entry(head, &subsys->nsheads, entry) {
		if (head->disk)
			blk_freeze_queue_start(head->disk->queue);
	}
}

void nvme_mpath_wait_freeze(struct nvme_subsystem *subsys)
{
	struct nvme_ns_head *head;

	lockdep_assert_held(&subsys->lock);
	list_for_each_entry(head, &subsys->nsheads, entry) {
		if (head->disk)
			blk_mq_freeze_queue_wait(head->disk->queue);
	}
}

void nvme_mpath_unfreeze(struct nvme_subsystem *subsys)
{
	struct nvme_ns_head *head;

	lockdep_assert_held(&subsys->lock);
	list_for_each_entry(head, &subsys->nsheads, entry) {
		if (head->disk)
			blk_mq_unfreeze_queue_nomemrestore(head->disk->queue);
	}
}

/* Requests */

/*
 * Stands for the disk of a head that has none, where no reader cares. So the
 * mark of a multipathed request does no harm to a request that is not, and the
 * driver need not check twice those that are.
 */
static struct request_queue nvme_nobodys_queue;
static struct gendisk nvme_nobodys_disk = { .queue = &nvme_nobodys_queue };

/*
 * bdev_start_io_acct() and bdev_end_io_acct(), for a disk that is no partition.
 * When no jiffy has passed since the last request, as for most of them, these
 * only count, which costs less than half of the calls.
 */
static inline bool nvme_jiffy_is_accounted(struct block_device *bdev,
					   unsigned long now)
{
	return !time_after(now, READ_ONCE(bdev->bd_stamp));
}

static noinline void nvme_start_io_acct_of_jiffy(struct request *rq,
						 struct block_device *bdev)
{
	nvme_req(rq)->start_time = bdev_start_io_acct(bdev, req_op(rq), jiffies);
}

static inline void nvme_start_io_acct(struct request *rq,
				      struct block_device *bdev)
{
	unsigned long now = jiffies;

	if (!nvme_jiffy_is_accounted(bdev, now)) {
		nvme_start_io_acct_of_jiffy(rq, bdev);
		return;
	}
	nvme_req(rq)->start_time = now;
	part_stat_lock();
	part_stat_local_inc(bdev, in_flight[op_is_write(req_op(rq))]);
	part_stat_unlock();
}

static inline void nvme_end_io_acct(struct block_device *bdev, enum req_op op,
				    unsigned int sectors, unsigned long start)
{
	struct disk_stats __percpu *stats = bdev->bd_stats;
	const int group = op_stat_group(op);
	unsigned long now = jiffies;

	if (now != start || !nvme_jiffy_is_accounted(bdev, now)) {
		bdev_end_io_acct(bdev, op, sectors, start);
		return;
	}
	/* The request took less than a jiffy, so no nsecs */
	part_stat_lock();
	__this_cpu_inc(stats->ios[group]);
	__this_cpu_add(stats->sectors[group], sectors);
	part_stat_local_dec(bdev, in_flight[op_is_write(op)]);
	part_stat_unlock();
}

static __always_inline void nvme_start_stats(struct request *rq,
					     struct nvme_ns_head *head)
{
	struct gendisk *disk = head->account_disk;
	struct nvme_request *nr = nvme_req(rq);

	/* A retried request goes on from where its first start left off */
	if (nr->flags & NVME_MPATH_IO_STATS || !blk_queue_io_stat(disk->queue))
		return;
	if (blk_rq_is_passthrough(rq) &&
	    !blk_rq_passthrough_stats(rq, disk->queue))
		return;

	nr->flags |= NVME_MPATH_IO_STATS;
	nvme_start_io_acct(rq, disk->part0);
}

void nvme_mpath_start_request(struct request *rq)
{
	struct nvme_ns *ns = rq->q->queuedata;
	struct nvme_ns_head *head = ns->head;
	struct nvme_request *nr = nvme_req(rq);

	if (mpath_iopolicy_is_qd(&head->subsys->iopolicy) &&
	    !(nr->flags & NVME_MPATH_CNT_ACTIVE)) {
		nr->flags |= NVME_MPATH_CNT_ACTIVE;
		nr->mpath_counted = mpath_request_start(&ns->mpath_device);
	}
	nvme_start_stats(rq, head);
}
EXPORT_SYMBOL_GPL(nvme_mpath_start_request);

static __always_inline void nvme_end_stats(struct request *rq,
					   struct nvme_ns *ns, u8 flags)
{
	if (flags & NVME_MPATH_IO_STATS)
		nvme_end_io_acct(ns->head->account_disk->part0, req_op(rq),
				 blk_rq_bytes(rq) >> SECTOR_SHIFT,
				 nvme_req(rq)->start_time);
}

static noinline void nvme_end_first_of_tick(struct request *rq)
{
	struct nvme_ns *ns = rq->q->queuedata;
	struct nvme_request *nr = nvme_req(rq);

	mpath_catch_up(&ns->mpath_device, nr->mpath_counted);
	nvme_end_stats(rq, ns, nr->flags);
}

/* All calls here are tail calls, so this function saves no registers */
void nvme_mpath_end_request(struct request *rq)
{
	struct nvme_ns *ns = rq->q->queuedata;
	struct nvme_request *nr = nvme_req(rq);
	u8 flags = nr->flags;

	if (flags & NVME_MPATH_CNT_ACTIVE &&
	    unlikely(mpath_request_uncount(&ns->mpath_device,
					   nr->mpath_counted))) {
		nvme_end_first_of_tick(rq);
		return;
	}
	nvme_end_stats(rq, ns, flags);
}
EXPORT_SYMBOL_GPL(nvme_mpath_end_request);

/*
 * A driver has sent us a bio, or a clone of one, with the mark that its own
 * head had set, and the disk is not multipathed. Handle its request as one
 * without.
 */
static void nvme_retry_unmarked(struct request *req)
{
	nvme_mpath_end_request(req);
	nvme_req(req)->flags &= ~NVME_MPATH_CNT_ACTIVE;
	req->cmd_flags &= ~REQ_MPATH;

	if (blk_queue_dying(req->q)) {
		nvme_end_req(req);
		return;
	}
	nvme_req(req)->retries++;
	blk_mq_requeue_request(req, true);
}

/*
 * Fences (NVMe Base 2.1, 9.6): a controller may carry out commands without an
 * answer after the host has given it up, until it has noticed and has quiesced.
 * Each association has a fence, which holds such writes.
 */

/* Offset of the Command Quiesce Time in Identify Controller, in ms, le16 */
#define NVME_ID_CTRL_CQT	386
/* After a longer time the kernel reports tasks as hung */
#define NVME_FENCE_LONG_MSECS	60000
/* The time for the rest of a teardown that has begun */
#define NVME_FENCE_TEARDOWN_MSECS	10000

/* The time in ms that the controller takes to quiesce; 0 if nothing is held */
static unsigned int nvme_quiesce_msecs(struct nvme_ctrl *ctrl)
{
	int secs = READ_ONCE(ctrl->fence_secs);

	if (secs == NVME_FENCE_OFF)
		return 0;
	if (ctrl->cqt)
		return ctrl->cqt;
	return secs == NVME_FENCE_AUTO ? 0 : secs * MSEC_PER_SEC;
}

/*
 * The same, and the time that it takes to notice that the host is gone. Keep
 * alive has one period for delays of the network, and up to two to notice.
 */
static unsigned int nvme_fence_msecs(struct nvme_ctrl *ctrl)
{
	unsigned int periods = ctrl->ctratt & NVME_CTRL_ATTR_TBKAS ? 3 : 2;
	unsigned int quiesce = nvme_quiesce_msecs(ctrl);
	u64 msecs = (u64)periods * ctrl->kato * MSEC_PER_SEC + quiesce;

	return quiesce ? min_t(u64, msecs, INT_MAX) : 0;
}

static void nvme_init_fences(struct nvme_ctrl *ctrl)
{
	ctrl->fence_secs = nvme_fence_default;
}

static void nvme_drop_fences(struct nvme_ctrl *ctrl)
{
	mpath_fence_put(ctrl->fence);
	mpath_fence_put(ctrl->last_fence);
}

/* Returns the fence of the association, with a reference, or NULL */
static struct mpath_fence *nvme_get_fence(struct nvme_ctrl *ctrl)
{
	struct mpath_fence *fence;
	unsigned long flags;

	spin_lock_irqsave(&ctrl->lock, flags);
	fence = ctrl->fence;
	mpath_fence_get(fence);
	spin_unlock_irqrestore(&ctrl->lock, flags);
	return fence;
}

/* Starts the fence of the association, once: a later fence is for the next */
static void nvme_start_fence(struct nvme_ctrl *ctrl, unsigned int msecs)
{
	struct mpath_fence *fence;
	unsigned long flags;
	unsigned int held;
	bool started;

	spin_lock_irqsave(&ctrl->lock, flags);
	started = ctrl->fence_started;
	ctrl->fence_started = true;
	fence = ctrl->fence;
	mpath_fence_get(fence);
	spin_unlock_irqrestore(&ctrl->lock, flags);

	held = mpath_fence_held(fence);
	if (!started && held && mpath_fence_msecs_left(fence))
		dev_info(ctrl->device,
			 "%u writes that may still be carried out are held for %u ms\n",
			 held, msecs);
	if (!started)
		mpath_fence_start(fence, msecs);
	mpath_fence_put(fence);
}

/*
 * All connections of the association are closed. From here on the controller
 * takes nvme_fence_msecs(), or less where it has noticed already. Any context.
 */
void nvme_mpath_end_association(struct nvme_ctrl *ctrl)
{
	nvme_start_fence(ctrl, ctrl->fence_noticed ? nvme_quiesce_msecs(ctrl) :
						     nvme_fence_msecs(ctrl));
}

/*
 * The controller was disabled. On PCIe it carries out no command that it had
 * any more. On fabrics a target may have handed one on, but it knows that the
 * host goes.
 */
void nvme_mpath_ctrl_disabled(struct nvme_ctrl *ctrl, bool shutdown)
{
	struct mpath_fence *fence;

	if (ctrl->ops->flags & NVME_F_FABRICS) {
		ctrl->fence_noticed = true;
	} else if (!shutdown) {
		fence = nvme_get_fence(ctrl);
		mpath_fence_open(fence);
		mpath_fence_put(fence);
	}
}

/* Begins an association, before the driver sends anything for a fence to hold */
static int nvme_begin_association(struct nvme_ctrl *ctrl,
				  struct nvme_id_ctrl *id)
{
	struct mpath_fence *fence = mpath_fence_alloc(), *last;
	unsigned long flags;
	unsigned int msecs;

	if (!fence)
		return -ENOMEM;

	/* Done already, unless the association failed before it was live */
	nvme_mpath_end_association(ctrl);
	mpath_port_set_name(&ctrl->mpath_port, dev_name(ctrl->device));

	spin_lock_irqsave(&ctrl->lock, flags);
	last = ctrl->last_fence;
	ctrl->last_fence = ctrl->fence;
	ctrl->fence = fence;
	ctrl->fence_noticed = false;
	ctrl->fence_started = false;
	ctrl->cqt = get_unaligned_le16((u8 *)id + NVME_ID_CTRL_CQT);
	spin_unlock_irqrestore(&ctrl->lock, flags);
	mpath_fence_put(last);

	msecs = nvme_fence_msecs(ctrl);
	if (!ctrl->identified && msecs) {
		if ((ctrl->ops->flags & NVME_F_FABRICS) && !ctrl->kato)
			dev_warn(ctrl->device,
				 "without keep alive nobody knows when the controller notices that it is lost: writes are held for %u ms only\n",
				 msecs);
		else if (msecs > NVME_FENCE_LONG_MSECS)
			dev_warn(ctrl->device,
				 "writes are held for %u ms when the controller is lost\n",
				 msecs);
	}
	return 0;
}

/* May the controller carry the request out after we have given it up? */
static bool nvme_may_be_carried_out(struct request *req)
{
	switch (nvme_req(req)->status & NVME_SCT_SC_MASK) {
	case NVME_SC_HOST_PATH_ERROR:
		return !(nvme_req(req)->flags & NVME_REQ_NOT_SENT);
	case NVME_SC_HOST_ABORTED_CMD:
		return true;
	default:
		/* The controller has answered */
		return false;
	}
}

/* Returns the fence that holds a request, with a reference, or NULL */
static struct mpath_fence *nvme_fence_for(struct nvme_ns *ns,
					  struct request *req)
{
	struct nvme_ctrl *ctrl = ns->ctrl;
	struct mpath_fence *fence;

	if (!op_is_write(req_op(req)) || !nvme_fence_msecs(ctrl) ||
	    !nvme_may_be_carried_out(req))
		return NULL;

	fence = nvme_get_fence(ctrl);
	if (!mpath_fence_msecs_left(fence)) {
		mpath_fence_put(fence);
		return NULL;
	}
	atomic_long_inc(&ns->fenced);
	return fence;
}

/* The fence holds a bio, so see to it that the association ends */
static void nvme_fence_held_request(struct nvme_ctrl *ctrl)
{
	switch (nvme_ctrl_state(ctrl)) {
	case NVME_CTRL_LIVE:
		nvme_reset_ctrl(ctrl);
		break;
	case NVME_CTRL_CONNECTING:
		/* It fails before it is live, and nobody will say so */
		nvme_start_fence(ctrl, nvme_fence_msecs(ctrl) +
				       NVME_FENCE_TEARDOWN_MSECS);
		break;
	default:
		break;
	}
}

/*
 * A request has failed because of its path: give its bios back to the head and
 * end the rest of it. Completion context.
 */
void nvme_failover_req(struct request *req)
{
	blk_status_t status = nvme_error_status(nvme_req(req)->status);
	struct nvme_ns *ns = req->q->queuedata;
	struct mpath_fence *fence;

	if (unlikely(!nvme_ns_head_multipath(ns->head))) {
		nvme_retry_unmarked(req);
		return;
	}

	atomic_long_inc(&ns->failover);

	/* The known state of the namespace is wrong: ask again */
	if (nvme_is_ana_error(nvme_req(req)->status) &&
	    nvme_ctrl_use_ana(ns->ctrl)) {
		mpath_disable_device(&ns->mpath_device,
				     MPATH_DISABLE_STATE_PENDING);
		queue_work(nvme_wq, &ns->ctrl->ana_work);
	}

	fence = nvme_fence_for(ns, req);
	status = mpath_failover_request_fenced(&ns->mpath_device, req, status,
					       fence);
	if (fence) {
		nvme_fence_held_request(ns->ctrl);
		mpath_fence_put(fence);
	}
	if (status == BLK_STS_OK) {
		nvme_req(req)->status = 0;
	} else {
		/* BLK_STS_TRANSPORT; not logged, as the head repairs it */
		nvme_req(req)->status = NVME_SC_HOST_PATH_ERROR;
		req->rq_flags |= RQF_QUIET;
	}
	nvme_end_req(req);
}

/* Controllers */

/*
 * Tell the paths the meaning of ctrl->state and NVME_CTRL_FAILFAST_EXPIRED, one
 * of which has just changed. Under the lock, so that the last caller has seen
 * the last state.
 */
void nvme_mpath_update_port(struct nvme_ctrl *ctrl)
{
	enum mpath_port_state state = MPATH_PORT_DEAD;
	unsigned long flags;

	spin_lock_irqsave(&ctrl->lock, flags);
	switch (nvme_ctrl_state(ctrl)) {
	case NVME_CTRL_LIVE:
		state = MPATH_PORT_LIVE;
		break;
	case NVME_CTRL_RESETTING:
	case NVME_CTRL_CONNECTING:
		if (!test_bit(NVME_CTRL_FAILFAST_EXPIRED, &ctrl->flags))
			state = MPATH_PORT_RECOVERING;
		break;
	case NVME_CTRL_DELETING:
		state = MPATH_PORT_DRAINING;
		break;
	default:
		break;
	}
	mpath_port_set_state(&ctrl->mpath_port, state);
	spin_unlock_irqrestore(&ctrl->lock, flags);
}

/* The controller has come back, or is given up: look at its paths again */
void nvme_kick_requeue_lists(struct nvme_ctrl *ctrl)
{
	struct nvme_ns *ns;
	int srcu_idx;

	srcu_idx = srcu_read_lock(&ctrl->srcu);
	list_for_each_entry_srcu(ns, &ctrl->namespaces, list,
				 srcu_read_lock_held(&ctrl->srcu)) {
		if (!ns->head->disk)
			continue;
		/* A reconnect may have used another adapter */
		mpath_device_set_numa_node(&ns->mpath_device, ctrl->numa_node);
		/* No reason less, but failures up to now no longer count */
		mpath_enable_device(&ns->mpath_device, 0);
		mpath_kick_requeue(ns->head->mpath);
		if (nvme_ctrl_state(ctrl) == NVME_CTRL_LIVE)
			disk_uevent(ns->head->disk, KOBJ_CHANGE);
	}
	srcu_read_unlock(&ctrl->srcu, srcu_idx);
}

void nvme_mpath_clear_ctrl_paths(struct nvme_ctrl *ctrl)
{
	struct nvme_ns *ns;
	int srcu_idx;

	srcu_idx = srcu_read_lock(&ctrl->srcu);
	list_for_each_entry_srcu(ns, &ctrl->namespaces, list,
				 srcu_read_lock_held(&ctrl->srcu)) {
		mpath_clear_current_path(&ns->mpath_device);
		mpath_kick_requeue(ns->head->mpath);
	}
	srcu_read_unlock(&ctrl->srcu, srcu_idx);
}

/*
 * The disks of these namespaces are about to die. Bios on their way to one of
 * them would fail, and not fail over: wait until they have arrived, once for
 * all.
 */
void nvme_mpath_drain(struct list_head *namespaces)
{
	struct nvme_ns *ns;
	bool any = false;

	list_for_each_entry(ns, namespaces, list) {
		if (!nvme_ns_head_multipath(ns->head))
			continue;
		mpath_quiesce_device(&ns->mpath_device);
		set_bit(NVME_NS_DRAINED, &ns->flags);
		any = true;
	}
	if (any)
		mpath_synchronize_submitters();
}

/* The head and its disk */

static long nvme_ns_head_chr_ioctl(struct file *file, unsigned int cmd,
				   unsigned long arg)
{
	struct nvme_ns_head *head =
		container_of(file_inode(file)->i_cdev, typeof(*head), cdev);

	return mpath_cdev_ioctl(head->mpath, file->f_mode & FMODE_WRITE, cmd,
				arg);
}

static int nvme_ns_head_chr_uring_cmd(struct io_uring_cmd *ioucmd,
				      unsigned int issue_flags)
{
	struct nvme_ns_head *head = container_of(
		file_inode(ioucmd->file)->i_cdev, typeof(*head), cdev);

	return mpath_cdev_uring_cmd(head->mpath, ioucmd, issue_flags);
}

static const struct file_operations nvme_ns_head_chr_fops = {
	.owner		  = THIS_MODULE,
	.unlocked_ioctl	  = nvme_ns_head_chr_ioctl,
	.compat_ioctl	  = compat_ptr_ioctl,
	.uring_cmd	  = nvme_ns_head_chr_uring_cmd,
	.uring_cmd_iopoll = nvme_ns_chr_uring_cmd_iopoll,
};

static int nvme_mpath_add_cdev(struct mpath_head *mpath)
{
	struct nvme_ns_head *head = mpath->drvdata;
	int ret;

	head->cdev_device.parent = &head->subsys->dev;
	mpath_get_head(mpath);		/* dropped in nvme_cdev_rel() */
	ret = nvme_cdev_add(&head->cdev, &head->cdev_device,
			    &nvme_ns_head_chr_fops, THIS_MODULE,
			    head->subsys->instance, head->instance);
	if (ret)
		dev_err(disk_to_dev(head->disk),
			"Unable to create the ng%dn%d device\n",
			head->subsys->instance, head->instance);
	return ret;
}

static void nvme_mpath_del_cdev(struct mpath_head *mpath)
{
	struct nvme_ns_head *head = mpath->drvdata;

	nvme_cdev_del(&head->cdev, &head->cdev_device);
}

static void nvme_mpath_release(struct mpath_head *mpath)
{
	nvme_free_ns_head(mpath->drvdata);
}

/* Decides and unlinks in one step. If true, nvme_remove_ns_head() is next. */
bool nvme_unlink_ns_head(struct nvme_ns_head *head)
	__must_hold(&head->subsys->lock)
{
	if (!mpath_try_remove_head(head->mpath))
		return false;
	list_del(&head->entry);
	return true;
}

void nvme_remove_ns_head(struct nvme_ns_head *head)
{
	mpath_remove_head(head->mpath);
	nvme_put_ns_head(head);
}

static void nvme_mpath_remove_head(struct mpath_head *mpath)
{
	struct nvme_ns_head *head = mpath->drvdata;
	bool remove;

	mutex_lock(&head->subsys->lock);
	remove = nvme_unlink_ns_head(head);
	mutex_unlock(&head->subsys->lock);
	if (remove)
		nvme_remove_ns_head(head);
}

/* Returns true if the head has to go too: nvme_remove_ns_head() */
bool nvme_unlink_ns(struct nvme_ns *ns)
{
	struct nvme_ns_head *head = ns->head;
	bool remove;

	mpath_quiesce_device(&ns->mpath_device);
	if (head->disk && !test_bit(NVME_NS_DRAINED, &ns->flags))
		mpath_synchronize_submitters();

	mutex_lock(&head->subsys->lock);
	mpath_delete_device(&ns->mpath_device);
	remove = nvme_unlink_ns_head(head);
	mutex_unlock(&head->subsys->lock);

	mpath_synchronize(head->mpath);
	mpath_remove_sysfs_link(&ns->mpath_device);
	return remove;
}

static const struct block_device_operations nvme_ns_head_ops = {
	MPATH_BDEV_OPS(THIS_MODULE),
	.getgeo		= nvme_getgeo,
	.pr_ops		= &mpath_pr_ops,
};

static const struct mpath_head_template nvme_mpath_template = {
	.owner		= THIS_MODULE,
	.fops		= &nvme_ns_head_ops,
	.disk_groups	= nvme_ns_attr_groups,
	.release	= nvme_mpath_release,
	.remove_head	= nvme_mpath_remove_head,
	.add_cdev	= nvme_mpath_add_cdev,
	.del_cdev	= nvme_mpath_del_cdev,
	.bdev_ioctl	= nvme_mpath_bdev_ioctl,
	.cdev_ioctl	= nvme_mpath_cdev_ioctl,
	.ioctl_begin	= nvme_mpath_ioctl_begin,
	.ioctl_handle	= nvme_mpath_ioctl_handle,
	.cdev_uring_cmd	= nvme_mpath_cdev_uring_cmd,
};

int nvme_init_head_ref(struct nvme_ns_head *head)
{
	struct mpath_head *mpath;

	mpath = mpath_alloc_head(&nvme_mpath_template, &head->subsys->iopolicy,
				 head);
	if (IS_ERR(mpath))
		return PTR_ERR(mpath);
	head->mpath = mpath;
	return 0;
}

/*
 * A head gets a disk of its own if the subsystem can have several controllers,
 * or if the user asks for it always. In both cases the NSID must say which
 * namespace it is: private namespaces may share theirs.
 */
static int nvme_alloc_head_disk(struct nvme_ctrl *ctrl,
				struct nvme_ns_head *head)
{
	bool multi_ctrl = ctrl->subsys->cmic & NVME_CTRL_CMIC_MULTI_CTRL;
	struct queue_limits lim;
	int ret;

	head->account_disk = &nvme_nobodys_disk;
	if (!multipath_always_on && !(multipath && multi_ctrl))
		return 0;
	if (!nvme_is_unique_nsid(ctrl, head))
		return 0;

	blk_set_stacking_limits(&lim);
	lim.dma_alignment = 3;
	lim.features |= BLK_FEAT_IO_STAT | BLK_FEAT_NOWAIT | BLK_FEAT_POLL |
			BLK_FEAT_ATOMIC_WRITES | BLK_FEAT_PCI_P2PDMA;

	ret = mpath_alloc_head_disk(head->mpath, &lim, &ctrl->subsys->dev,
				    ctrl->numa_node);
	if (ret)
		return ret;
	head->disk = head->account_disk = head->mpath->disk;
	sprintf(head->disk->disk_name, "nvme%dn%d", ctrl->subsys->instance,
		head->instance);
	return 0;
}

/* The head goes on subsys->nsheads next, which takes a reference of its own */
int nvme_mpath_alloc_disk(struct nvme_ctrl *ctrl, struct nvme_ns_head *head)
{
	int ret = nvme_alloc_head_disk(ctrl, head);

	if (!ret)
		nvme_get_ns_head(head);
	return ret;
}

#ifdef CONFIG_BLK_DEV_ZONED
int nvme_mpath_revalidate_zones(struct nvme_ns_head *head)
{
	int ret;

	if (!head->disk || !blk_queue_is_zoned(head->disk->queue) ||
	    !mpath_head_is_live(head->mpath))
		return 0;

	ret = blk_revalidate_disk_zones(head->disk);
	if (ret)
		dev_warn_ratelimited(disk_to_dev(head->disk),
				     "failed to revalidate zoned namespace head: %d\n",
				     ret);
	return ret;
}
#endif /* CONFIG_BLK_DEV_ZONED */

static void nvme_mpath_set_live(struct nvme_ns *ns)
{
	mpath_device_set_live(&ns->mpath_device);
	nvme_mpath_revalidate_zones(ns->head);
}

/*
 * Asymmetric namespace access
 *
 * The log is a header and a sequence of groups, each followed by the NSIDs that
 * it holds. ctrl->ana_log_buf changes under ctrl->ana_lock. While nobody holds
 * that lock the buffer is NULL, or contains a log that nvme_ana_log_is_valid()
 * has approved of, or one without groups. So a walk need not check for its end.
 */

#define for_each_ana_group(desc, i, log)				\
	for (i = 0, desc = (void *)((log) + 1);				\
	     i < le16_to_cpu((log)->ngrps);				\
	     i++, desc = (void *)&desc->nsids[le32_to_cpu(desc->nnsids)])

static bool nvme_ana_log_is_valid(struct nvme_ctrl *ctrl)
{
	size_t left = ctrl->ana_log_size - sizeof(*ctrl->ana_log_buf);
	struct nvme_ana_group_desc *desc;
	unsigned int i;

	for_each_ana_group(desc, i, ctrl->ana_log_buf) {
		if (left < sizeof(*desc))
			return false;
		left -= sizeof(*desc);
		if (!desc->grpid || le32_to_cpu(desc->grpid) > ctrl->anagrpmax)
			return false;
		if (!desc->state || desc->state > NVME_ANA_CHANGE)
			return false;
		if (le32_to_cpu(desc->nnsids) > left / sizeof(desc->nsids[0]))
			return false;
		left -= flex_array_size(desc, nsids, le32_to_cpu(desc->nnsids));
	}
	return true;
}

static const char *nvme_ana_state_name(u8 state)
{
	static const char * const names[] = {
		[NVME_ANA_OPTIMIZED]		= "optimized",
		[NVME_ANA_NONOPTIMIZED]		= "non-optimized",
		[NVME_ANA_INACCESSIBLE]		= "inaccessible",
		[NVME_ANA_PERSISTENT_LOSS]	= "persistent-loss",
		[NVME_ANA_CHANGE]		= "change",
	};

	return state < ARRAY_SIZE(names) && names[state] ? names[state] :
							   "invalid state";
}

static void nvme_set_ana_state(struct nvme_ns *ns, u8 state)
{
	enum mpath_access_state access = MPATH_STATE_OTHER;

	if (state == NVME_ANA_OPTIMIZED)
		access = MPATH_STATE_OPTIMIZED;
	else if (state == NVME_ANA_NONOPTIMIZED)
		access = MPATH_STATE_NONOPTIMIZED;

	/* The state that sysfs shows is in force already */
	mpath_device_set_access_state(&ns->mpath_device, access);
	ns->ana_state = state;
}

/*
 * Going live adds the disk, which means I/O. A controller that is still being
 * initialised would keep that I/O waiting, while it waits for us. So
 * nvme_mpath_update() does it later then.
 */
static void nvme_update_ns_ana_state(struct nvme_ns *ns, u32 grpid, u8 state)
{
	ns->ana_grpid = grpid;
	nvme_set_ana_state(ns, state);
	mpath_enable_device(&ns->mpath_device, MPATH_DISABLE_STATE_PENDING);

	if ((state == NVME_ANA_OPTIMIZED || state == NVME_ANA_NONOPTIMIZED) &&
	    nvme_ctrl_state(ns->ctrl) == NVME_CTRL_LIVE)
		nvme_mpath_set_live(ns);
	else
		mpath_add_sysfs_links(ns->head->mpath);
}

/* ctrl->namespaces and the NSIDs of a group are both in ascending order */
static void nvme_update_ana_group(struct nvme_ctrl *ctrl,
				  struct nvme_ana_group_desc *desc)
{
	u32 nr_nsids = le32_to_cpu(desc->nnsids), n = 0;
	struct nvme_ns *ns;
	int srcu_idx;

	dev_dbg(ctrl->device, "ANA group %d: %s.\n", le32_to_cpu(desc->grpid),
		nvme_ana_state_name(desc->state));

	srcu_idx = srcu_read_lock(&ctrl->srcu);
	list_for_each_entry_srcu(ns, &ctrl->namespaces, list,
				 srcu_read_lock_held(&ctrl->srcu)) {
		while (n < nr_nsids &&
		       le32_to_cpu(desc->nsids[n]) < ns->head->ns_id)
			n++;
		if (n == nr_nsids)
			break;
		if (le32_to_cpu(desc->nsids[n]) == ns->head->ns_id)
			nvme_update_ns_ana_state(ns, le32_to_cpu(desc->grpid),
						 desc->state);
	}
	srcu_read_unlock(&ctrl->srcu, srcu_idx);
}

/* Returns the number of groups in transition */
static unsigned int nvme_apply_ana_log(struct nvme_ctrl *ctrl)
	__must_hold(&ctrl->ana_lock)
{
	struct nvme_ana_group_desc *desc;
	unsigned int i, nr_change = 0;

	lockdep_assert_held(&ctrl->ana_lock);
	for_each_ana_group(desc, i, ctrl->ana_log_buf) {
		nvme_update_ana_group(ctrl, desc);
		if (desc->state == NVME_ANA_CHANGE)
			nr_change++;
	}
	return nr_change;
}

static int nvme_get_ana_log(struct nvme_ctrl *ctrl)
	__must_hold(&ctrl->ana_lock)
{
	int error;

	error = nvme_get_log(ctrl, NVME_NSID_ALL, NVME_LOG_ANA, 0, NVME_CSI_NVM,
			     ctrl->ana_log_buf, ctrl->ana_log_size, 0);
	if (error) {
		dev_warn(ctrl->device, "Failed to get ANA log: %d\n", error);
	} else if (!nvme_ana_log_is_valid(ctrl)) {
		dev_warn_ratelimited(ctrl->device, "Malformed ANA log\n");
		error = -EINVAL;
	}
	if (error)
		ctrl->ana_log_buf->ngrps = 0;
	return error;
}

/*
 * One timer serves all groups in transition. It allows twice the time that the
 * controller says a transition takes.
 */
static int nvme_read_ana_log(struct nvme_ctrl *ctrl)
{
	int error = -ENXIO;

	mutex_lock(&ctrl->ana_lock);
	if (nvme_ctrl_use_ana(ctrl))
		error = nvme_get_ana_log(ctrl);
	if (error)
		goto out_unlock;

	if (nvme_apply_ana_log(ctrl))
		mod_timer(&ctrl->anatt_timer, jiffies + 2 * ctrl->anatt * HZ);
	else
		timer_delete_sync(&ctrl->anatt_timer);
out_unlock:
	mutex_unlock(&ctrl->ana_lock);
	return error;
}

static void nvme_ana_work(struct work_struct *work)
{
	struct nvme_ctrl *ctrl = container_of(work, struct nvme_ctrl, ana_work);

	if (nvme_ctrl_state(ctrl) == NVME_CTRL_LIVE)
		nvme_read_ana_log(ctrl);
}

static void nvme_anatt_timeout(struct timer_list *t)
{
	struct nvme_ctrl *ctrl = timer_container_of(ctrl, t, anatt_timer);

	dev_info(ctrl->device, "ANATT timeout, resetting controller.\n");
	nvme_reset_ctrl(ctrl);
}

/* The controller is live: apply the parts of the log that had to wait */
void nvme_mpath_update(struct nvme_ctrl *ctrl)
{
	mutex_lock(&ctrl->ana_lock);
	if (nvme_ctrl_use_ana(ctrl))
		nvme_apply_ana_log(ctrl);
	mutex_unlock(&ctrl->ana_lock);
}

/*
 * The namespace has been set up. Do not hold the log's lock while adding the
 * disk: the I/O for that may need ana_work to make the path usable again.
 */
void nvme_mpath_add_disk(struct nvme_ns *ns, __le32 anagrpid)
{
	struct nvme_ctrl *ctrl = ns->ctrl;
	struct nvme_ana_group_desc *desc;
	unsigned int i;
	u8 state = 0;

	mutex_lock(&ctrl->ana_lock);
	if (!nvme_ctrl_use_ana(ctrl)) {
		mutex_unlock(&ctrl->ana_lock);
		nvme_set_ana_state(ns, NVME_ANA_OPTIMIZED);
		nvme_mpath_set_live(ns);
		return;
	}
	ns->ana_grpid = le32_to_cpu(anagrpid);
	for_each_ana_group(desc, i, ctrl->ana_log_buf) {
		if (desc->grpid == anagrpid)
			state = desc->state;
	}
	mutex_unlock(&ctrl->ana_lock);

	if (state) {
		nvme_update_ns_ana_state(ns, le32_to_cpu(anagrpid), state);
	} else {
		mpath_disable_device(&ns->mpath_device,
				     MPATH_DISABLE_STATE_PENDING);
		queue_work(nvme_wq, &ctrl->ana_work);
	}
}

int nvme_mpath_init_ctrl(struct nvme_ctrl *ctrl)
{
	int error = mpath_port_init(&ctrl->mpath_port);

	if (error)
		return error;
	nvme_init_fences(ctrl);
	mutex_init(&ctrl->ana_lock);
	timer_setup(&ctrl->anatt_timer, nvme_anatt_timeout, 0);
	INIT_WORK(&ctrl->ana_work, nvme_ana_work);
	return 0;
}

/* The work arms the timer, so it goes first */
void nvme_mpath_stop(struct nvme_ctrl *ctrl)
{
	cancel_work_sync(&ctrl->ana_work);
	timer_delete_sync(&ctrl->anatt_timer);
}

static void nvme_set_ana_log(struct nvme_ctrl *ctrl, void *log, size_t size)
{
	mutex_lock(&ctrl->ana_lock);
	kvfree(ctrl->ana_log_buf);
	ctrl->ana_log_buf = log;
	ctrl->ana_log_size = size;
	mutex_unlock(&ctrl->ana_lock);
}

/* The controller is about to be freed: start no work and no timer any more */
void nvme_mpath_uninit(struct nvme_ctrl *ctrl)
{
	disable_work_sync(&ctrl->ana_work);
	timer_shutdown_sync(&ctrl->anatt_timer);
	nvme_set_ana_log(ctrl, NULL, 0);
	nvme_drop_fences(ctrl);
	mpath_port_exit(&ctrl->mpath_port);
}

/* Also called after every reset, which may change the controller's data */
int nvme_mpath_init_identify(struct nvme_ctrl *ctrl, struct nvme_id_ctrl *id)
{
	size_t max_transfer_size = (size_t)ctrl->max_hw_sectors << SECTOR_SHIFT;
	size_t size = sizeof(*ctrl->ana_log_buf);
	int error = 0;
	void *log;

	if (!multipath || !ctrl->subsys)
		return 0;
	error = nvme_begin_association(ctrl, id);
	if (error || !(ctrl->subsys->cmic & NVME_CTRL_CMIC_ANA))
		return error;

	if (!ctrl->max_namespaces ||
	    ctrl->max_namespaces > le32_to_cpu(id->nn)) {
		dev_err(ctrl->device, "Invalid MNAN value %u\n",
			ctrl->max_namespaces);
		return -EINVAL;
	}

	ctrl->anacap = id->anacap;
	ctrl->anatt = id->anatt;
	ctrl->nanagrpid = le32_to_cpu(id->nanagrpid);
	ctrl->anagrpmax = le32_to_cpu(id->anagrpmax);

	size = size_add(size, size_mul(ctrl->nanagrpid,
				       sizeof(struct nvme_ana_group_desc)));
	size = size_add(size, size_mul(ctrl->max_namespaces, sizeof(__le32)));
	if (size > max_transfer_size) {
		dev_err(ctrl->device,
			"ANA log page size (%zu) larger than MDTS (%zu).\n",
			size, max_transfer_size);
		dev_err(ctrl->device, "disabling ANA support.\n");
		goto out_uninit;
	}

	if (size != ctrl->ana_log_size) {
		log = kvzalloc(size, GFP_KERNEL);
		if (!log)
			return -ENOMEM;
		nvme_mpath_stop(ctrl);
		nvme_set_ana_log(ctrl, log, size);
	}
	error = nvme_read_ana_log(ctrl);
	if (!error)
		return 0;
out_uninit:
	nvme_mpath_stop(ctrl);
	nvme_set_ana_log(ctrl, NULL, 0);
	return error;
}

/* Attributes */

static int nvme_mpath_update_nuse_cb(struct mpath_device *dev, void *data)
{
	return nvme_ns_update_nuse(nvme_mpath_to_ns(dev));
}

int nvme_mpath_update_nuse(struct nvme_ns_head *head)
{
	return mpath_call_for_device(head->mpath, nvme_mpath_update_nuse_cb,
				     NULL);
}

static struct mpath_head *dev_to_mpath_head(struct device *dev)
{
	return mpath_gendisk_to_head(dev_to_disk(dev));
}

static ssize_t iopolicy_show(struct device *dev, struct device_attribute *attr,
			     char *buf)
{
	struct nvme_subsystem *subsys =
		container_of(dev, struct nvme_subsystem, dev);
	enum mpath_iopolicy_e policy = mpath_iopolicy_read(&subsys->iopolicy);

	return sysfs_emit(buf, "%s\n", mpath_iopolicy_name(policy));
}

static ssize_t iopolicy_store(struct device *dev, struct device_attribute *attr,
			      const char *buf, size_t count)
{
	struct nvme_subsystem *subsys =
		container_of(dev, struct nvme_subsystem, dev);
	int policy, old;

	policy = mpath_iopolicy_parse(buf);
	if (policy < 0)
		return policy;
	old = mpath_iopolicy_set(&subsys->iopolicy, policy);
	if (old < 0)
		return old;
	if (old != policy)
		pr_notice("subsysnqn %s iopolicy changed from %s to %s\n",
			  subsys->subnqn, mpath_iopolicy_name(old),
			  mpath_iopolicy_name(policy));
	return count;
}
struct device_attribute subsys_attr_iopolicy = __ATTR_RW(iopolicy);

static ssize_t ana_grpid_show(struct device *dev, struct device_attribute *attr,
			      char *buf)
{
	return sysfs_emit(buf, "%d\n", nvme_get_ns_from_dev(dev)->ana_grpid);
}
DEVICE_ATTR_RO(ana_grpid);

static ssize_t ana_state_show(struct device *dev, struct device_attribute *attr,
			      char *buf)
{
	struct nvme_ns *ns = nvme_get_ns_from_dev(dev);

	return sysfs_emit(buf, "%s\n", nvme_ana_state_name(ns->ana_state));
}
DEVICE_ATTR_RO(ana_state);

static ssize_t queue_depth_show(struct device *dev,
				struct device_attribute *attr, char *buf)
{
	struct nvme_ns *ns = nvme_get_ns_from_dev(dev);

	if (!mpath_iopolicy_is_qd(&ns->head->subsys->iopolicy))
		return 0;
	return sysfs_emit(buf, "%u\n",
			  mpath_port_in_flight(&ns->ctrl->mpath_port));
}
DEVICE_ATTR_RO(queue_depth);

static ssize_t numa_nodes_show(struct device *dev,
			       struct device_attribute *attr, char *buf)
{
	struct nvme_ns *ns = nvme_get_ns_from_dev(dev);

	/* This head chooses no path, for no node */
	if (!nvme_ns_head_multipath(ns->head)) {
		if (mpath_iopolicy_read(&ns->head->subsys->iopolicy) !=
		    MPATH_IOPOLICY_NUMA)
			return 0;
		return sysfs_emit(buf, "\n");
	}
	return mpath_numa_nodes_show(&ns->mpath_device, buf);
}
DEVICE_ATTR_RO(numa_nodes);

static ssize_t delayed_removal_secs_show(struct device *dev,
					 struct device_attribute *attr,
					 char *buf)
{
	return mpath_delayed_removal_secs_show(dev_to_mpath_head(dev), buf);
}

static ssize_t delayed_removal_secs_store(struct device *dev,
					  struct device_attribute *attr,
					  const char *buf, size_t count)
{
	return mpath_delayed_removal_secs_store(dev_to_mpath_head(dev), buf,
						count);
}
DEVICE_ATTR_RW(delayed_removal_secs);

static ssize_t nvme_counter_store(atomic_long_t *counter, const char *buf,
				  size_t count)
{
	unsigned long value;

	if (kstrtoul(buf, 0, &value))
		return -EINVAL;
	atomic_long_set(counter, value);
	return count;
}

#define NVME_MPATH_COUNTER(_name, _counter)				\
static ssize_t _name##_show(struct device *dev,				\
		struct device_attribute *attr, char *buf)		\
{									\
	return sysfs_emit(buf, "%lu\n", atomic_long_read(_counter));	\
}									\
static ssize_t _name##_store(struct device *dev,			\
		struct device_attribute *attr, const char *buf,		\
		size_t count)						\
{									\
	return nvme_counter_store(_counter, buf, count);		\
}									\
DEVICE_ATTR_RW(_name)

NVME_MPATH_COUNTER(multipath_failover_count,
		   &nvme_get_ns_from_dev(dev)->failover);
NVME_MPATH_COUNTER(multipath_fence_count,
		   &nvme_get_ns_from_dev(dev)->fenced);
/* libnvme 3 asks for command_retries_count by this name */
NVME_MPATH_COUNTER(command_retry_count, &nvme_get_ns_from_dev(dev)->retries);
NVME_MPATH_COUNTER(io_requeue_no_usable_path_count,
		   mpath_requeue_count(dev_to_mpath_head(dev)));
NVME_MPATH_COUNTER(io_fail_no_available_path_count,
		   mpath_fail_count(dev_to_mpath_head(dev)));

/* Attributes of a controller's fences */

static ssize_t fence_show(struct device *dev, struct device_attribute *attr,
			  char *buf)
{
	struct nvme_ctrl *ctrl = dev_get_drvdata(dev);

	return nvme_fence_emit(buf, READ_ONCE(ctrl->fence_secs));
}

static ssize_t fence_store(struct device *dev, struct device_attribute *attr,
			   const char *buf, size_t count)
{
	struct nvme_ctrl *ctrl = dev_get_drvdata(dev);
	int setting, ret = nvme_fence_parse(buf, &setting);

	if (ret)
		return ret;
	WRITE_ONCE(ctrl->fence_secs, setting);
	return count;
}
DEVICE_ATTR_RW(fence);

/* The fences of this association and of the one before, with a reference each */
static void nvme_get_fences(struct nvme_ctrl *ctrl,
			    struct mpath_fence *fences[2])
{
	unsigned long flags;

	spin_lock_irqsave(&ctrl->lock, flags);
	fences[0] = ctrl->fence;
	fences[1] = ctrl->last_fence;
	mpath_fence_get(fences[0]);
	mpath_fence_get(fences[1]);
	spin_unlock_irqrestore(&ctrl->lock, flags);
}

static void nvme_put_fences(struct mpath_fence *fences[2])
{
	mpath_fence_put(fences[0]);
	mpath_fence_put(fences[1]);
}

static ssize_t fence_ms_show(struct device *dev, struct device_attribute *attr,
			     char *buf)
{
	struct nvme_ctrl *ctrl = dev_get_drvdata(dev);

	return sysfs_emit(buf, "%u\n", nvme_fence_msecs(ctrl));
}
DEVICE_ATTR_RO(fence_ms);

static ssize_t fence_held_show(struct device *dev,
			       struct device_attribute *attr, char *buf)
{
	struct nvme_ctrl *ctrl = dev_get_drvdata(dev);
	struct mpath_fence *fences[2];
	unsigned int held;

	nvme_get_fences(ctrl, fences);
	held = mpath_fence_held(fences[0]) + mpath_fence_held(fences[1]);
	nvme_put_fences(fences);
	return sysfs_emit(buf, "%u\n", held);
}
DEVICE_ATTR_RO(fence_held);

static ssize_t fence_left_ms_show(struct device *dev,
				  struct device_attribute *attr, char *buf)
{
	struct nvme_ctrl *ctrl = dev_get_drvdata(dev);
	struct mpath_fence *fences[2];
	unsigned int i, msecs = 0;

	nvme_get_fences(ctrl, fences);
	for (i = 0; i < ARRAY_SIZE(fences); i++) {
		if (mpath_fence_held(fences[i]))
			msecs = max(msecs, mpath_fence_msecs_left(fences[i]));
	}
	nvme_put_fences(fences);
	return sysfs_emit(buf, "%u\n", msecs);
}
DEVICE_ATTR_RO(fence_left_ms);

static ssize_t cqt_show(struct device *dev, struct device_attribute *attr,
			char *buf)
{
	struct nvme_ctrl *ctrl = dev_get_drvdata(dev);

	return sysfs_emit(buf, "%u\n", ctrl->cqt);
}
DEVICE_ATTR_RO(cqt);
