// SPDX-License-Identifier: GPL-2.0
/*
 * The functions that a kernel calls, and does not inline, when it chooses a
 * path.
 */
#include "kernel.h"

static __thread struct {
	CACHE_LINE unsigned long locks;
	unsigned long unlocks;
} srcu_ctrs[2];

__thread int numa_node;

/* smp_mb() */
static inline void full_barrier(void)
{
	__asm__ __volatile__("lock addl $0,-4(%%rsp)" : : : "memory", "cc");
}

static inline void this_cpu_inc(unsigned long *counter)
{
	__asm__ __volatile__("incq %0" : "+m" (*counter) : : "cc");
}

int srcu_read_lock(struct srcu_struct *ssp)
{
	unsigned int idx = READ_ONCE(ssp->current_ctr);

	this_cpu_inc(&srcu_ctrs[idx].locks);
	full_barrier();
	return idx;
}

void srcu_read_unlock(struct srcu_struct *ssp, int idx)
{
	full_barrier();
	this_cpu_inc(&srcu_ctrs[idx].unlocks);
}

int node_distance(int from, int to)
{
	return from == to ? LOCAL_DISTANCE : REMOTE_DISTANCE;
}
