/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The interface of multipath_lib.c, NVMe multipath by the multipath library,
 * for the rest of the driver. This file stands in nvme.h for the declarations
 * of the driver's own multipath code, and for those without multipath.
 */

#ifndef _NVME_MULTIPATH_LIB_H
#define _NVME_MULTIPATH_LIB_H

static_assert(REQ_NVME_MPATH == REQ_MPATH);

extern bool multipath;
extern struct device_attribute dev_attr_ana_grpid;
extern struct device_attribute dev_attr_ana_state;
extern struct device_attribute dev_attr_queue_depth;
extern struct device_attribute dev_attr_numa_nodes;
extern struct device_attribute dev_attr_delayed_removal_secs;
extern struct device_attribute dev_attr_multipath_failover_count;
extern struct device_attribute dev_attr_fence;
extern struct device_attribute dev_attr_fence_ms;
extern struct device_attribute dev_attr_fence_held;
extern struct device_attribute dev_attr_fence_left_ms;
extern struct device_attribute dev_attr_cqt;
extern struct device_attribute dev_attr_io_requeue_no_usable_path_count;
extern struct device_attribute dev_attr_io_fail_no_available_path_count;
extern struct device_attribute subsys_attr_iopolicy;

/* The library's directory of links takes the place of the driver's own */
#define nvme_ns_mpath_attr_group mpath_attr_group

int nvme_init_head_ref(struct nvme_ns_head *head);
void nvme_remove_ns_head(struct nvme_ns_head *head);
bool nvme_unlink_ns_head(struct nvme_ns_head *head);
bool nvme_unlink_ns(struct nvme_ns *ns);

int nvme_mpath_bdev_ioctl(struct mpath_device *dev, struct block_device *bdev,
			  blk_mode_t mode, unsigned int cmd, unsigned long arg);
int nvme_mpath_cdev_ioctl(struct mpath_device *dev, bool open_for_write,
			  unsigned int cmd, unsigned long arg);
void *nvme_mpath_ioctl_begin(struct mpath_device *dev, unsigned int cmd);
int nvme_mpath_ioctl_handle(void *handle, bool open_for_write,
			    unsigned int cmd, unsigned long arg);
int nvme_mpath_cdev_uring_cmd(struct mpath_device *dev,
			      struct io_uring_cmd *ioucmd,
			      unsigned int issue_flags);

void nvme_mpath_default_iopolicy(struct nvme_subsystem *subsys);
void nvme_mpath_start_freeze(struct nvme_subsystem *subsys)
	__must_hold(&subsys->lock);
void nvme_mpath_wait_freeze(struct nvme_subsystem *subsys)
	__must_hold(&subsys->lock);
void nvme_mpath_unfreeze(struct nvme_subsystem *subsys)
	__must_hold(&subsys->lock);

void nvme_mpath_start_request(struct request *rq);
void nvme_mpath_end_request(struct request *rq);
void nvme_failover_req(struct request *req);

int nvme_mpath_init_ctrl(struct nvme_ctrl *ctrl);
int nvme_mpath_init_identify(struct nvme_ctrl *ctrl, struct nvme_id_ctrl *id);
void nvme_mpath_update(struct nvme_ctrl *ctrl);
void nvme_mpath_stop(struct nvme_ctrl *ctrl);
void nvme_mpath_uninit(struct nvme_ctrl *ctrl);
void nvme_mpath_update_port(struct nvme_ctrl *ctrl);
void nvme_mpath_end_association(struct nvme_ctrl *ctrl);
void nvme_mpath_ctrl_disabled(struct nvme_ctrl *ctrl, bool shutdown);
void nvme_kick_requeue_lists(struct nvme_ctrl *ctrl);
void nvme_mpath_clear_ctrl_paths(struct nvme_ctrl *ctrl);

int nvme_mpath_alloc_disk(struct nvme_ctrl *ctrl, struct nvme_ns_head *head);
void nvme_mpath_add_disk(struct nvme_ns *ns, __le32 anagrpid);
void nvme_mpath_drain(struct list_head *namespaces);

static inline struct nvme_ns *nvme_mpath_to_ns(struct mpath_device *dev)
{
	return container_of(dev, struct nvme_ns, mpath_device);
}

static inline bool nvme_disk_is_ns_head(struct gendisk *disk)
{
	return is_mpath_disk(disk);
}

static inline struct nvme_ns_head *nvme_disk_to_ns_head(struct gendisk *disk)
{
	return mpath_gendisk_to_head(disk)->drvdata;
}

static inline void nvme_get_ns_head(struct nvme_ns_head *head)
{
	mpath_get_head(head->mpath);
}

/* A head that is on subsys->nsheads has a reference of that list's */
static inline bool nvme_tryget_ns_head(struct nvme_ns_head *head)
{
	nvme_get_ns_head(head);
	return true;
}

static inline void nvme_put_ns_head(struct nvme_ns_head *head)
{
	mpath_put_head(head->mpath);
}

static inline bool nvme_ns_head_empty(struct nvme_ns_head *head)
{
	return mpath_head_devices_empty(head->mpath);
}

static inline int nvme_link_ns(struct nvme_ns *ns)
{
	return mpath_add_device(&ns->mpath_device, ns->head->mpath, ns->disk,
				&ns->ctrl->mpath_port, ns->ctrl->numa_node);
}

static inline void nvme_mpath_set_ready(struct nvme_ns *ns)
{
	mpath_enable_device(&ns->mpath_device, MPATH_DISABLE_NOT_READY);
}

static inline void nvme_mpath_revalidate_paths(struct nvme_ns_head *head)
{
	mpath_revalidate_paths(head->mpath);
}

static inline bool nvme_ctrl_use_ana(struct nvme_ctrl *ctrl)
{
	return ctrl->ana_log_buf != NULL;
}

static inline void nvme_trace_bio_complete(struct request *req)
{
	struct nvme_ns *ns = req->q->queuedata;

	if ((req->cmd_flags & REQ_NVME_MPATH) && req->bio)
		trace_block_bio_complete(ns->head->account_disk->queue,
					 req->bio);
}

#endif /* _NVME_MULTIPATH_LIB_H */
