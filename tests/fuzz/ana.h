/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The part of the kernel that the ANA part of the NVMe driver needs, on the host. The
 * build script includes this file before that part, and once more after it, for the
 * functions that call it.
 */
#ifndef FUZZ_ANA_H
#define FUZZ_ANA_H

#include <errno.h>
#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "host.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "as the log is");

typedef __u8 u8;
typedef __u32 u32;

#define le16_to_cpu(x)		(x)
#define le32_to_cpu(x)		(x)
#define ARRAY_SIZE(a)		(sizeof(a) / sizeof((a)[0]))
#define container_of(p, type, member)					\
	((type *)((char *)(p) - offsetof(type, member)))
#define SECTOR_SHIFT		9
#define __must_hold(x)

static inline size_t size_add(size_t a, size_t b)
{
	return __builtin_add_overflow(a, b, &a) ? SIZE_MAX : a;
}

static inline size_t size_mul(size_t a, size_t b)
{
	return __builtin_mul_overflow(a, b, &a) ? SIZE_MAX : a;
}

#define flex_array_size(p, member, n)	size_mul(n, sizeof((p)->member[0]))

/* <linux/nvme.h> */

#define NVME_CTRL_CMIC_ANA	(1 << 3)
#define NVME_NSID_ALL		0xffffffff
#define NVME_LOG_ANA		0x0c
#define NVME_CSI_NVM		0

enum nvme_ana_state {
	NVME_ANA_OPTIMIZED		= 0x01,
	NVME_ANA_NONOPTIMIZED		= 0x02,
	NVME_ANA_INACCESSIBLE		= 0x03,
	NVME_ANA_PERSISTENT_LOSS	= 0x04,
	NVME_ANA_CHANGE			= 0x0f,
};

struct nvme_ana_group_desc {
	__le32	grpid;
	__le32	nnsids;
	__le64	chgcnt;
	__u8	state;
	__u8	rsvd17[15];
	__le32	nsids[];
};

struct nvme_ana_rsp_hdr {
	__le64	chgcnt;
	__le16	ngrps;
	__le16	rsvd10[3];
};

struct nvme_id_ctrl {
	__le32	nn;
	__le32	nanagrpid;
	__le32	anagrpmax;
	__u8	anacap;
	__u8	anatt;
};

/* Locks and deferred work: only whether it would run */

struct mutex { bool held; };
struct timer_list { bool armed; };
struct work_struct { bool queued; };

#define mutex_init(m)			((m)->held = false)
#define timer_setup(t, f, flags)	((void)(f), (void)(flags), (t)->armed = false)
#define INIT_WORK(w, f)			((void)(f), (w)->queued = false)
#define mod_timer(t, expires)		((void)(expires), (t)->armed = true)
#define timer_delete_sync(t)		((t)->armed = false)
#define timer_shutdown_sync(t)		((t)->armed = false)
#define cancel_work_sync(w)		((w)->queued = false)
#define disable_work_sync(w)		((w)->queued = false)
#define queue_work(queue, w)		((void)(queue), (w)->queued = true)
#define timer_container_of(var, t, member)				\
	container_of(t, typeof(*(var)), member)
#define lockdep_assert_held(m)		((m)->held ? (void)0 : abort())
#define srcu_read_lock(srcu)		((void)(srcu), 0)
#define srcu_read_unlock(srcu, idx)	((void)(srcu), (void)(idx))
#define srcu_read_lock_held(srcu)	((void)(srcu), true)
#define nvme_wq				0
#define GFP_KERNEL			0
#define jiffies				0UL
#define HZ				1000

static inline void mutex_lock(struct mutex *mutex)
{
	if (mutex->held)
		abort();
	mutex->held = true;
}

static inline void mutex_unlock(struct mutex *mutex)
{
	if (!mutex->held)
		abort();
	mutex->held = false;
}

/* Memory and messages */

#define kvzalloc(size, gfp)	((void)(gfp), guarded_alloc(size))
#define kvfree(memory)		guarded_free(memory)

static inline void dev_err(void *dev, const char *format, ...)
{
}

#define dev_dbg			dev_err
#define dev_info		dev_err
#define dev_warn		dev_err
#define dev_warn_ratelimited	dev_err

/* The library */

enum mpath_access_state {
	MPATH_STATE_OPTIMIZED,
	MPATH_STATE_NONOPTIMIZED,
	MPATH_STATE_OTHER,
};

struct mpath_port { int state; };
struct mpath_device { enum mpath_access_state state; };

#define MPATH_DISABLE_STATE_PENDING	2
#define mpath_port_init(port)		((void)(port), 0)
#define mpath_port_exit(port)		((void)(port))
#define mpath_device_set_access_state(dev, access) ((dev)->state = (access))
#define mpath_enable_device(dev, why)	((void)(dev), (void)(why))
#define mpath_disable_device(dev, why)	((void)(dev), (void)(why))
#define mpath_add_sysfs_links(head)	((void)(head))

/* The driver */

enum nvme_ctrl_state { NVME_CTRL_CONNECTING, NVME_CTRL_LIVE };

struct nvme_ns_head {
	u32 ns_id;
	void *mpath;
};

struct nvme_ns {
	struct nvme_ctrl *ctrl;
	struct nvme_ns_head *head;
	struct nvme_ns *list;
	struct mpath_device mpath_device;
	u32 ana_grpid;
	enum nvme_ana_state ana_state;
	struct nvme_ns_head its_head;
};

struct nvme_subsystem { u8 cmic; };

struct nvme_ctrl {
	void *device;
	int srcu;
	struct nvme_ns *namespaces;
	struct nvme_subsystem *subsys;
	enum nvme_ctrl_state state;
	struct mpath_port mpath_port;
	u32 max_hw_sectors;
	u32 max_namespaces;
	u8 anacap;
	u8 anatt;
	u32 nanagrpid;
	u32 anagrpmax;
	struct mutex ana_lock;
	struct nvme_ana_rsp_hdr *ana_log_buf;
	size_t ana_log_size;
	struct timer_list anatt_timer;
	struct work_struct ana_work;

	/* The controller's next answer */
	const u8 *answer;
	size_t answer_size;
	int answer_error;
};

/* Fences have nothing to do with the log */
#define nvme_init_fences(ctrl)		((void)(ctrl))
#define nvme_drop_fences(ctrl)		((void)(ctrl))
#define nvme_begin_association(ctrl, id) ((void)(ctrl), (void)(id), 0)

/* The callers' `&ctrl->namespaces` is the address of the first one's */
#define list_for_each_entry_srcu(pos, first, member, cond)		\
	for (pos = (cond) ? *(first) : NULL; pos; pos = pos->member)

/* The driver's functions for others are static here: there are several parsers */
static void nvme_mpath_update(struct nvme_ctrl *ctrl);
static void nvme_mpath_add_disk(struct nvme_ns *ns, __le32 anagrpid);
static int nvme_mpath_init_ctrl(struct nvme_ctrl *ctrl);
static void nvme_mpath_stop(struct nvme_ctrl *ctrl);
static void nvme_mpath_uninit(struct nvme_ctrl *ctrl);
static int nvme_mpath_init_identify(struct nvme_ctrl *ctrl,
				    struct nvme_id_ctrl *id);

static const bool multipath = true;

static inline enum nvme_ctrl_state nvme_ctrl_state(struct nvme_ctrl *ctrl)
{
	return ctrl->state;
}

static inline bool nvme_ctrl_use_ana(struct nvme_ctrl *ctrl)
{
	return ctrl->ana_log_buf != NULL;
}

static inline void nvme_reset_ctrl(struct nvme_ctrl *ctrl)
{
}

static inline void nvme_mpath_set_live(struct nvme_ns *ns)
{
}

static inline int nvme_get_log(struct nvme_ctrl *ctrl, u32 nsid, u8 log_page,
			       u8 lsp, u8 csi, void *log, size_t size,
			       size_t offset)
{
	if (ctrl->answer_error)
		return ctrl->answer_error;
	memcpy(log, ctrl->answer,
	       ctrl->answer_size < size ? ctrl->answer_size : size);
	return 0;
}

#else /* FUZZ_ANA_H */

/* The structures and functions that Rust knows */

struct fuzz_ns {
	u32 nsid;
	u32 grpid;
	u32 state;
};

struct fuzz_step {
	/* 0: identify, 1: the log has changed, 2: a namespace, 3: it is live */
	u32 kind;
	u32 max_namespaces;
	u32 nn;
	u32 nanagrpid;
	u32 anagrpmax;
	u32 max_hw_sectors;
	const u8 *log;
	size_t log_size;
	int log_error;
	u32 ns;
	u32 grpid;

	/* The outcome of the step */
	int error;
	bool has_log;
	bool timer;
};

struct fuzz_ctrl {
	struct nvme_ctrl ctrl;
	struct nvme_subsystem subsys;
	size_t nr_ns;
	struct nvme_ns ns[];
};

struct fuzz_call {
	struct fuzz_ctrl *fuzz;
	struct fuzz_step *step;
};

static struct fuzz_ctrl *fuzz_new(const struct fuzz_ns *ns, size_t nr_ns)
{
	struct fuzz_ctrl *fuzz =
		calloc(1, sizeof(*fuzz) + nr_ns * sizeof(fuzz->ns[0]));
	size_t i;

	guarded_free_all();
	fuzz->subsys.cmic = NVME_CTRL_CMIC_ANA;
	fuzz->ctrl.subsys = &fuzz->subsys;
	fuzz->ctrl.namespaces = nr_ns ? &fuzz->ns[0] : NULL;
	fuzz->nr_ns = nr_ns;
	for (i = 0; i < nr_ns; i++) {
		fuzz->ns[i].ctrl = &fuzz->ctrl;
		fuzz->ns[i].head = &fuzz->ns[i].its_head;
		fuzz->ns[i].its_head.ns_id = ns[i].nsid;
		fuzz->ns[i].list = i + 1 < nr_ns ? &fuzz->ns[i + 1] : NULL;
	}
	nvme_mpath_init_ctrl(&fuzz->ctrl);
	return fuzz;
}

static void take_step(void *argument)
{
	struct fuzz_call *call = argument;
	struct nvme_ctrl *ctrl = &call->fuzz->ctrl;
	struct fuzz_step *step = call->step;
	struct nvme_id_ctrl id = {
		.nn = step->nn,
		.nanagrpid = step->nanagrpid,
		.anagrpmax = step->anagrpmax,
		.anatt = 1,
	};

	ctrl->answer = step->log;
	ctrl->answer_size = step->log_size;
	ctrl->answer_error = step->log_error;

	/* The end of the controller, which is no step */
	(void)nvme_mpath_uninit;

	switch (step->kind) {
	case 0:
		ctrl->state = NVME_CTRL_CONNECTING;
		ctrl->max_namespaces = step->max_namespaces;
		ctrl->max_hw_sectors = step->max_hw_sectors;
		step->error = nvme_mpath_init_identify(ctrl, &id);
		break;
	case 1:
		ctrl->state = NVME_CTRL_LIVE;
		step->error = nvme_read_ana_log(ctrl);
		break;
	case 2:
		nvme_mpath_add_disk(&call->fuzz->ns[step->ns], step->grpid);
		break;
	case 3:
		nvme_mpath_update(ctrl);
		break;
	}
	step->has_log = nvme_ctrl_use_ana(ctrl);
	step->timer = ctrl->anatt_timer.armed;
}

/* Returns the signal by which the step ended, or 0 */
static int fuzz_step(struct fuzz_ctrl *fuzz, struct fuzz_step *step,
		     struct fuzz_ns *ns)
{
	struct fuzz_call call = { fuzz, step };
	int number = guarded_call(take_step, &call);
	size_t i;

	for (i = 0; i < fuzz->nr_ns; i++) {
		ns[i].grpid = fuzz->ns[i].ana_grpid;
		ns[i].state = fuzz->ns[i].ana_state;
	}
	return number;
}

static void fuzz_free(struct fuzz_ctrl *fuzz)
{
	guarded_free_all();
	free(fuzz);
}

const struct {
	struct fuzz_ctrl *(*new)(const struct fuzz_ns *ns, size_t nr_ns);
	int (*step)(struct fuzz_ctrl *fuzz, struct fuzz_step *step,
		    struct fuzz_ns *ns);
	void (*free)(struct fuzz_ctrl *fuzz);
} PARSER = { fuzz_new, fuzz_step, fuzz_free };

#endif /* FUZZ_ANA_H */
