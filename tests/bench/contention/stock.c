// SPDX-License-Identifier: GPL-2.0
/*
 * The kernel's own way to choose a path, as src/stock.rs calls it. The functions
 * of the driver are in find_path.h, which build.rs takes out of a kernel tree.
 */
#include <stdlib.h>
#include <string.h>

#include "kernel.h"
#include "find_path.h"

/* An object that is allocated by itself shares no line, nor the next one, with others */
#define APART	128

/* `Disk` in src/side.rs */
struct gendisk {
	unsigned int id;
	struct nvme_ns *ns;
	void *unused;
};

static void *alloc(size_t size)
{
	void *memory = aligned_alloc(APART, (size + APART - 1) / APART * APART);

	if (!memory)
		abort();
	return memset(memory, 0, size);
}

static void add_path(struct nvme_ns_head *head, unsigned int id, int node)
{
	struct nvme_ctrl *ctrl = alloc(sizeof(*ctrl));
	struct gendisk *disk = alloc(sizeof(*disk));
	struct nvme_ns *ns = alloc(sizeof(*ns));

	ctrl->state = NVME_CTRL_LIVE;
	ctrl->numa_node = node;
	disk->id = id;
	disk->ns = ns;
	ns->ctrl = ctrl;
	ns->disk = disk;
	ns->ana_state = NVME_ANA_OPTIMIZED;
	ns->flags = 1UL << NVME_NS_READY;
	list_add_tail(&ns->siblings, &head->list);
}

/* A head with optimized idle paths, which are near to @nodes. It stays. */
struct nvme_ns_head *stock_new(unsigned int policy, const int *nodes,
			       unsigned int paths)
{
	struct nvme_ns_head *head = alloc(sizeof(*head));
	unsigned int id;

	head->list.next = &head->list;
	head->list.prev = &head->list;
	head->subsys = alloc(sizeof(*head->subsys));
	head->subsys->iopolicy = policy;
	for (id = 0; id < paths; id++)
		add_path(head, id, nodes[id]);
	return head;
}

/* This thread is a CPU of @node */
void stock_run_on(int node)
{
	numa_node = node;
}

/* The disk that a bio is sent to, chosen in a read-side section of its own */
const struct gendisk *stock_choose(struct nvme_ns_head *head)
{
	int idx = srcu_read_lock(&head->srcu);
	struct nvme_ns *ns = nvme_find_path(head);
	const struct gendisk *disk = ns ? ns->disk : NULL;

	srcu_read_unlock(&head->srcu, idx);
	return disk;
}

/* A request begins, as NVMe counts it under queue-depth */
void stock_begin(const struct gendisk *disk)
{
	atomic_inc(&disk->ns->ctrl->nr_active);
}

/* A request ends */
void stock_end(const struct gendisk *disk)
{
	atomic_dec_if_positive(&disk->ns->ctrl->nr_active);
}

/* How many requests are in flight */
int stock_depth(const struct gendisk *disk)
{
	return atomic_read(&disk->ns->ctrl->nr_active);
}

/* The disk of a path */
const struct gendisk *stock_disk(struct nvme_ns_head *head, unsigned int id)
{
	struct nvme_ns *ns;

	list_for_each_entry_srcu(ns, &head->list, siblings, true)
		if (ns->disk->id == id)
			return ns->disk;
	return NULL;
}
