/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The functions of the kernel that choosing a path needs, on the host, at the
 * cost that they have in an x86-64 kernel. A thread is a CPU, and its
 * thread-local storage is the memory per CPU.
 *
 * Structures have only the members that choosing touches, on cache lines of
 * their own where there is a line between them in the kernel.
 */
#ifndef CONTENTION_KERNEL_H
#define CONTENTION_KERNEL_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

#define CACHE_LINE		_Alignas(64)
#define likely(x)		__builtin_expect(!!(x), 1)
#define unlikely(x)		__builtin_expect(!!(x), 0)

/* Memory that CPUs share */

#define READ_ONCE(x)		__atomic_load_n(&(x), __ATOMIC_RELAXED)

struct counter {
	int value;
};

static inline int atomic_read(const struct counter *v)
{
	return READ_ONCE(v->value);
}

static inline void atomic_inc(struct counter *v)
{
	__atomic_add_fetch(&v->value, 1, __ATOMIC_SEQ_CST);
}

static inline void atomic_dec_if_positive(struct counter *v)
{
	int old = atomic_read(v);

	while (old > 0 &&
	       !__atomic_compare_exchange_n(&v->value, &old, old - 1, false,
					    __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
		;
}

static inline bool test_bit(unsigned int bit, const unsigned long *flags)
{
	return READ_ONCE(*flags) & (1UL << bit);
}

/* Readers of the ordinary flavour of SRCU */

#define __must_hold_shared(x)

struct srcu_struct {
	/* In the kernel a pointer to one of them, the same on every CPU */
	unsigned int current_ctr;
};

int srcu_read_lock(struct srcu_struct *ssp);
void srcu_read_unlock(struct srcu_struct *ssp, int idx);

static inline bool srcu_read_lock_held(const struct srcu_struct *ssp)
{
	return true;
}

#define srcu_dereference(p, ssp)	((void)(ssp), READ_ONCE(p))
#define rcu_assign_pointer(p, v)					\
	__atomic_store_n(&(p), v, __ATOMIC_RELEASE)

/* Lists */

struct list_head {
	struct list_head *next, *prev;
};

static inline void list_add_tail(struct list_head *new, struct list_head *head)
{
	new->next = head;
	new->prev = head->prev;
	head->prev->next = new;
	head->prev = new;
}

static inline bool list_is_singular(const struct list_head *head)
{
	struct list_head *next = READ_ONCE(head->next);

	return next != head && next == head->prev;
}

#define container_of(p, type, member)					\
	((type *)((char *)(p) - offsetof(type, member)))

#define list_entry_rcu(p, type, member)					\
	container_of(READ_ONCE(p), type, member)

#define list_for_each_entry_srcu(pos, head, member, cond)		\
	for ((void)(cond),						\
	     pos = list_entry_rcu((head)->next, __typeof__(*pos), member); \
	     &pos->member != (head);					\
	     pos = list_entry_rcu(pos->member.next, __typeof__(*pos), member))

#define list_next_or_null_rcu(head, p, type, member)			\
({									\
	struct list_head *__end = (head);				\
	struct list_head *__next = READ_ONCE((p)->next);		\
									\
	__next == __end ? NULL : container_of(__next, type, member);	\
})

#define list_first_or_null_rcu(head, type, member)			\
	list_next_or_null_rcu(head, head, type, member)

/* NUMA */

#define NUMA_NO_NODE		(-1)
#define LOCAL_DISTANCE		10
#define REMOTE_DISTANCE		20
#define POSSIBLE_NODES		2

extern __thread int numa_node;

static inline int numa_node_id(void)
{
	return numa_node;
}

int node_distance(int from, int to);

/* NVMe */

enum nvme_ana_state {
	NVME_ANA_OPTIMIZED		= 1,
	NVME_ANA_NONOPTIMIZED,
};

enum nvme_ctrl_state {
	NVME_CTRL_LIVE			= 1,
	NVME_CTRL_DELETING,
};

/* The values are those of our enum mpath_iopolicy_e */
enum nvme_iopolicy {
	NVME_IOPOLICY_NUMA,
	NVME_IOPOLICY_RR,
	NVME_IOPOLICY_QD,
};

struct nvme_subsystem {
	enum nvme_iopolicy	iopolicy;
};

struct nvme_ctrl {
	enum nvme_ctrl_state	state;
	int			numa_node;

	CACHE_LINE struct counter nr_active;
};

static inline enum nvme_ctrl_state nvme_ctrl_state(struct nvme_ctrl *ctrl)
{
	return READ_ONCE(ctrl->state);
}

struct gendisk;

#define NVME_NS_ANA_PENDING	2
#define NVME_NS_READY		4

struct nvme_ns {
	struct nvme_ctrl	*ctrl;
	struct gendisk		*disk;
	enum nvme_ana_state	ana_state;

	CACHE_LINE struct list_head siblings;
	unsigned long		flags;
};

struct nvme_ns_head {
	struct list_head	list;
	struct srcu_struct	srcu;
	struct nvme_subsystem	*subsys;

	/* Behind all that is used when there is no path, and rarely */
	CACHE_LINE struct nvme_ns *current_path[POSSIBLE_NODES];
};

#endif
