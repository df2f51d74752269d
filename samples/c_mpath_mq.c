// SPDX-License-Identifier: GPL-2.0
/*
 * A RAM disk behind several paths that take requests (blk-mq), and fail in the
 * ways of real ones. c_mpath.h has the rest. Each path has a device. It keeps
 * the requests that the driver sends to it, carries those out whose time has
 * come, and tells of all of them in one interrupt. The device never carries out
 * a request that the driver takes back. So this driver needs no fence.
 */
#include <linux/blk-mq.h>
#include <linux/hrtimer.h>

enum { MQ_NONE, MQ_PATH, MQ_MEDIUM, MQ_PARTIAL, MQ_BATCH, MQ_FLUSH, MQ_AGAIN, MQ_BUSY, MQ_HANGS };
static const char * const ram_failures[] = {
	[MQ_NONE] = "none",		/* nothing fails */
	[MQ_PATH] = "path",		/* the path fails, and does not say how far it came */
	[MQ_MEDIUM] = "medium",		/* the storage fails, so every path would */
	[MQ_PARTIAL] = "partial",	/* the path fails after one half, which it reports */
	[MQ_BATCH] = "batch",		/* every other request of an interrupt fails */
	[MQ_FLUSH] = "flush",		/* flushes fail, and nothing else */
	[MQ_AGAIN] = "requeue",	/* the device wants each request three times */
	[MQ_BUSY] = "busy",		/* the device turns requests away */
	[MQ_HANGS] = "timeout",	/* the device says nothing */
};

/* The events that tests look for. */
enum { MQ_LISTED, MQ_BATCHED, MQ_BROKEN, MQ_SPLIT, MQ_REQUEUED, MQ_TURNED_AWAY, MQ_TIMED_OUT };
static const char * const ram_event_names[] = {
	[MQ_LISTED] = "listed",		/* requests that came to queue_rqs */
	[MQ_BATCHED] = "batched",	/* requests that ended in a batch */
	[MQ_BROKEN] = "broken",		/* requests that failed in the middle of one */
	[MQ_SPLIT] = "split",		/* requests that failed in part */
	[MQ_REQUEUED] = "requeued",	/* how often requests were requeued */
	[MQ_TURNED_AWAY] = "turned-away",	/* how often requests were turned away */
	[MQ_TIMED_OUT] = "timed-out",	/* requests that have timed out */
};

struct ram_device {
	spinlock_t		lock;		/* guards the next fields */
	struct list_head	sent;		/* requests that the device has not ended */
	unsigned int		in_flight;
	bool			is_on;
	struct hrtimer		interrupt;
	struct blk_mq_tag_set	tags;		/* while the path is live */
};

#include "c_mpath.h"

static unsigned int hw_queues = 4;
module_param(hw_queues, uint, 0444);
MODULE_PARM_DESC(hw_queues, "Hardware queues of a path, 1 to 256; half of them are for reads");
static unsigned int timeout_ms = 1000;
module_param(timeout_ms, uint, 0444);
MODULE_PARM_DESC(timeout_ms, "How long a path waits for its device, 1 to 60000 ms");

/* A request on its way through a path. */
struct mq_command {
	struct list_head	entry;
	ktime_t			due;
	bool			is_sent, again;
	u8			requeues;
	u16			counted;
	unsigned int		done;		/* bytes that have been carried out */
	blk_status_t		status;
};

/* The device, which knows nothing of multipath */

static void mq_saw(struct ram_path *path, unsigned int event)
{
	atomic64_inc(&path->events[event]);
}

static void mq_copy(struct request *rq, unsigned int bytes)
{
	void *at = ram_memory + (blk_rq_pos(rq) << SECTOR_SHIFT);
	struct req_iterator iter;
	struct bio_vec bv;

	rq_for_each_segment(bv, rq, iter) {
		struct bio_vec part = bv;

		part.bv_len = min(part.bv_len, bytes);
		if (op_is_write(req_op(rq)))
			memcpy_from_bvec(at, &part);
		else
			memcpy_to_bvec(&part, at);
		at += part.bv_len;
		bytes -= part.bv_len;
	}
}

/* Carries a request out, which is the nth of an interrupt, or fails it. */
static void mq_carry_out(struct ram_path *path, struct request *rq, unsigned int nth)
{
	unsigned int half = round_down(blk_rq_bytes(rq) / 2, SECTOR_SIZE);
	struct mq_command *command = blk_mq_rq_to_pdu(rq);

	command->status = BLK_STS_OK;
	command->done = blk_rq_bytes(rq);
	switch (READ_ONCE(path->failure)) {
	case MQ_PATH:
		mq_copy(rq, half);
		command->status = BLK_STS_TRANSPORT;
		command->done = 0;
		return;
	case MQ_MEDIUM:
		command->status = BLK_STS_MEDIUM;
		command->done = 0;
		return;
	case MQ_PARTIAL:
		mq_saw(path, MQ_SPLIT);
		command->status = BLK_STS_TRANSPORT;
		command->done = half;
		break;
	case MQ_BATCH:
		if (nth % 2 == 0)
			break;
		mq_saw(path, MQ_BROKEN);
		command->status = BLK_STS_TRANSPORT;
		command->done = 0;
		return;
	case MQ_FLUSH:
		if (req_op(rq) == REQ_OP_FLUSH)
			command->status = BLK_STS_TRANSPORT;
		break;
	case MQ_AGAIN:
		command->again = command->requeues++ < 2;
		if (command->again)
			return;
		break;
	}
	mq_copy(rq, command->done);
}

/* Takes a request from the device that has ended it, or that the driver takes it back from. */
static void mq_take(struct ram_path *path, struct mq_command *command)
{
	lockdep_assert_held(&path->device.lock);
	list_del(&command->entry);
	command->is_sent = false;
	path->device.in_flight--;
	blk_mq_set_request_complete(blk_mq_rq_from_pdu(command));
}

/* Ends requests that the device has carried out, all of one path. */
static void mq_end_batch(struct io_comp_batch *batch)
{
	struct ram_path *path = rq_list_peek(&batch->req_list)->q->queuedata;
	struct request *rq;

	rq_list_for_each(&batch->req_list, rq) {
		struct mq_command *command = blk_mq_rq_to_pdu(rq);

		mpath_request_done(&path->mpath, command->counted);
		mq_saw(path, MQ_BATCHED);
		atomic64_inc(&path->ios);
		atomic64_add(command->done, &path->bytes);
	}
	blk_mq_end_request_batch(batch);
}

static enum hrtimer_restart mq_interrupt(struct hrtimer *timer)
{
	struct ram_path *path = container_of(timer, struct ram_path, device.interrupt);
	ktime_t now = ktime_get(), first = KTIME_MAX;
	struct mq_command *command, *next;
	DEFINE_IO_COMP_BATCH(batch);
	unsigned int nth = 0;
	LIST_HEAD(ended);

	scoped_guard(spinlock_irqsave, &path->device.lock) {
		list_for_each_entry_safe(command, next, &path->device.sent, entry) {
			if (command->due > now) {
				first = min(first, command->due);
				continue;
			}
			mq_take(path, command);
			list_add_tail(&command->entry, &ended);
		}
		if (first != KTIME_MAX)
			hrtimer_start(timer, first, HRTIMER_MODE_ABS_SOFT);
	}
	list_for_each_entry_safe(command, next, &ended, entry) {
		struct request *rq = blk_mq_rq_from_pdu(command);

		mq_carry_out(path, rq, nth++);
		if (!blk_mq_add_to_batch(rq, &batch, command->status || command->again,
					 mq_end_batch))
			blk_mq_complete_request(rq);
	}
	if (batch.complete)
		batch.complete(&batch);
	return HRTIMER_NORESTART;
}

/* Takes a request, which fails at once when the device is off. */
static void mq_send(struct ram_path *path, struct request *rq)
{
	struct mq_command *command = blk_mq_rq_to_pdu(rq);
	u64 latency = (u64)READ_ONCE(path->latency_us) * NSEC_PER_USEC, turns;

	scoped_guard(spinlock_irqsave, &path->device.lock) {
		if (!path->device.is_on)
			break;
		command->counted = mpath_request_start(&path->mpath);
		command->is_sent = true;
		/* As many requests as the queue is deep take one turn, and end in one interrupt. */
		turns = path->device.in_flight++ / max(READ_ONCE(path->queue_depth), 1U) + 1;
		command->due = ktime_get();
		if (latency)
			command->due = (div64_u64(command->due, latency) + turns + 1) * latency;
		if (READ_ONCE(path->failure) == MQ_HANGS)
			command->due = KTIME_MAX;
		list_add_tail(&command->entry, &path->device.sent);
		if (!hrtimer_is_queued(&path->device.interrupt) ||
		    command->due < hrtimer_get_expires(&path->device.interrupt))
			hrtimer_start(&path->device.interrupt, command->due, HRTIMER_MODE_ABS_SOFT);
		return;
	}
	blk_mq_complete_request(rq);
}

/* Takes all requests back from the device. Called when no bio comes to the path any more. */
static void mq_switch_off(struct mpath_device *mpath)
{
	struct ram_path *path = container_of(mpath, struct ram_path, mpath);
	struct mq_command *command, *next;
	LIST_HEAD(ended);

	scoped_guard(spinlock_irqsave, &path->device.lock) {
		WRITE_ONCE(path->device.is_on, false);
		list_for_each_entry_safe(command, next, &path->device.sent, entry) {
			mq_take(path, command);
			list_add_tail(&command->entry, &ended);
		}
	}
	list_for_each_entry_safe(command, next, &ended, entry)
		blk_mq_complete_request(blk_mq_rq_from_pdu(command));
}

/* The queues of a path */

static blk_status_t mq_queue(struct request *rq)
{
	struct mq_command *command = blk_mq_rq_to_pdu(rq);
	struct ram_path *path = rq->q->queuedata;

	/* The block layer asks again after a while: that is no reason to fail over. */
	if (READ_ONCE(path->failure) == MQ_BUSY) {
		mq_saw(path, MQ_TURNED_AWAY);
		return BLK_STS_RESOURCE;
	}
	if (!(rq->rq_flags & RQF_DONTPREP)) {
		rq->rq_flags |= RQF_DONTPREP;
		command->requeues = 0;
	}
	command->status = BLK_STS_TRANSPORT;
	command->counted = MPATH_NOT_COUNTED;
	command->again = false;
	command->done = 0;
	blk_mq_start_request(rq);
	mq_send(path, rq);
	return BLK_STS_OK;
}

static blk_status_t mq_queue_rq(struct blk_mq_hw_ctx *hctx, const struct blk_mq_queue_data *data)
{
	struct ram_path *path = hctx->queue->queuedata;

	/* The error ends the request, which has no bio any more that could see it. */
	if (!READ_ONCE(path->device.is_on))
		return mpath_failover_request(&path->mpath, data->rq, BLK_STS_TRANSPORT) ?:
		       BLK_STS_TRANSPORT;
	return mq_queue(data->rq);
}

static void mq_queue_rqs(struct rq_list *requests)
{
	struct rq_list left = {};
	struct request *rq;

	while ((rq = rq_list_pop(requests))) {
		mq_saw(rq->q->queuedata, MQ_LISTED);
		if (mq_queue(rq) != BLK_STS_OK)
			rq_list_add_tail(&left, rq);
	}
	*requests = left;
}

/* Ends a request, and gives the bios of one back that the path has failed. */
static void mq_complete(struct request *rq)
{
	struct mq_command *command = blk_mq_rq_to_pdu(rq);
	struct ram_path *path = rq->q->queuedata;
	blk_status_t status = command->status;

	/* The driver counts a requeued request again when it sends it again. */
	mpath_request_done(&path->mpath, command->counted);
	if (command->again) {
		mq_saw(path, MQ_REQUEUED);
		blk_mq_requeue_request(rq, true);
		return;
	}
	atomic64_add(!status, &path->ios);
	atomic64_add(!status && req_op(rq) == REQ_OP_FLUSH, &path->flushes);
	atomic64_add(command->done, &path->bytes);
	/* The part that has been carried out ends here; another path carries out the rest. */
	if (status && command->done)
		blk_update_request(rq, BLK_STS_OK, command->done);
	if (mpath_path_error(status) && rq->cmd_flags & REQ_MPATH)
		status = mpath_failover_request(&path->mpath, rq, status);
	blk_mq_end_request(rq, status);
}

static enum blk_eh_timer_return mq_timeout(struct request *rq)
{
	struct mq_command *command = blk_mq_rq_to_pdu(rq);
	struct ram_path *path = rq->q->queuedata;

	scoped_guard(spinlock_irqsave, &path->device.lock) {
		if (!command->is_sent)
			return BLK_EH_DONE;	/* another context is ending it */
		mq_take(path, command);
	}
	mq_saw(path, MQ_TIMED_OUT);
	command->status = BLK_STS_TIMEOUT;
	blk_mq_complete_request(rq);
	return BLK_EH_DONE;
}

static void mq_map_queues(struct blk_mq_tag_set *set)
{
	unsigned int reads = set->nr_hw_queues / 2, others = set->nr_hw_queues - reads;

	set->map[HCTX_TYPE_DEFAULT].nr_queues = others;
	blk_mq_map_queues(&set->map[HCTX_TYPE_DEFAULT]);
	set->map[HCTX_TYPE_READ].nr_queues = reads;
	set->map[HCTX_TYPE_READ].queue_offset = others;
	if (reads)
		blk_mq_map_queues(&set->map[HCTX_TYPE_READ]);
}

static const struct block_device_operations mq_path_ops = { .owner = THIS_MODULE };
static const struct blk_mq_ops mq_ops = {
	.queue_rq = mq_queue_rq, .queue_rqs = mq_queue_rqs, .complete = mq_complete,
	.timeout = mq_timeout, .map_queues = mq_map_queues,
};

static int ram_start_path(struct ram_path *path)
{
	struct queue_limits lim = { .features = BLK_FEAT_WRITE_CACHE };
	struct ram_device *device = &path->device;
	struct gendisk *disk;
	int err;

	device->tags = (struct blk_mq_tag_set) {
		.ops = &mq_ops, .nr_maps = HCTX_TYPE_READ + 1, .nr_hw_queues = hw_queues,
		.queue_depth = 64, .numa_node = NUMA_NO_NODE, .cmd_size = sizeof(struct mq_command),
		.timeout = msecs_to_jiffies(timeout_ms),
	};
	err = blk_mq_alloc_tag_set(&device->tags);
	if (err)
		return err;
	disk = blk_mq_alloc_disk(&device->tags, &lim, path);
	if (IS_ERR(disk)) {
		err = PTR_ERR(disk);
		goto free_tags;
	}
	disk->fops = &mq_path_ops;
	device->is_on = true;
	err = ram_add_path(path, disk);
	if (!err)
		return 0;
	put_disk(disk);
free_tags:
	blk_mq_free_tag_set(&device->tags);
	return err;
}

static void ram_stop_path(struct ram_path *path)
{
	ram_remove_path(path, mq_switch_off);
	hrtimer_cancel(&path->device.interrupt);
	blk_mq_free_tag_set(&path->device.tags);
}

static int __init ram_init_device(struct ram_path *path)
{
	spin_lock_init(&path->device.lock);
	INIT_LIST_HEAD(&path->device.sent);
	hrtimer_setup(&path->device.interrupt, mq_interrupt, CLOCK_MONOTONIC,
		      HRTIMER_MODE_ABS_SOFT);
	return ram_check("hw_queues", hw_queues, 256) ?: ram_check("timeout_ms", timeout_ms, 60000);
}

static void ram_exit_devices(void)
{
}
