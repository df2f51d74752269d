// SPDX-License-Identifier: GPL-2.0
/*
 * The parts that README's example in C leaves out: the objects of a driver, and
 * the functions that its lines are in. `make check` puts the lines into two
 * files and builds the module; nobody loads it.
 */

#include <linux/blk-mq.h>
#include <linux/err.h>
#include <linux/module.h>
#include <linux/multipath.h>

struct my_group {
	struct mpath_iopolicy iopolicy;
};

struct my_ctrl {
	struct mpath_port port;
	int numa_node;
};

struct my_path {
	struct mpath_device mpath;
	struct gendisk *disk;
};

static void my_head_release(struct mpath_head *head)
{
}

#include "declarations.h"

void my_driver(struct my_group *group, struct my_ctrl *ctrl,
	       struct my_path *path, struct device *group_dev, int id,
	       struct request *rq, void *my_head);
void my_driver(struct my_group *group, struct my_ctrl *ctrl,
	       struct my_path *path, struct device *group_dev, int id,
	       struct request *rq, void *my_head)
{
	struct queue_limits lim = {};
	blk_status_t status = BLK_STS_TRANSPORT;
	struct mpath_head *head;
	bool remove;
	int err;

#include "statements.h"
	pr_debug("%d\n", err);
}

MODULE_DESCRIPTION("README's example in C");
MODULE_LICENSE("GPL");
