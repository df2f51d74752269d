// SPDX-License-Identifier: GPL-2.0
/*
 * The library's trace events, which only C can define, and a function for each
 * that the Rust side calls. No logic.
 */
#include <trace/events/block.h>

#define CREATE_TRACE_POINTS
#include "trace.h"

void mpath_helper_trace_park(struct gendisk *head, struct bio *bio, u32 why,
			     u32 waiting)
{
	trace_mpath_park(head, bio, why, waiting);
}

void mpath_helper_trace_resubmit(struct gendisk *head, struct bio *bio,
				 u32 waiting)
{
	trace_mpath_resubmit(head, bio, waiting);
}

void mpath_helper_trace_failover(struct gendisk *head, struct gendisk *path,
				 struct bio *bio, u32 status, bool fenced)
{
	trace_mpath_failover(head, path, bio, status, fenced);
}

void mpath_helper_trace_path_state(struct gendisk *head, struct gendisk *path,
				   const struct mpath_traced_state *old,
				   const struct mpath_traced_state *new)
{
	trace_mpath_path_state(head, path, old, new);
}

void mpath_helper_trace_port_state(const char *port, u32 old, u32 new)
{
	trace_mpath_port_state(port, old, new);
}

void mpath_helper_trace_retry(struct gendisk *head, struct gendisk *path,
			      u32 pause_ms)
{
	trace_mpath_retry(head, path, pause_ms);
}

void mpath_helper_trace_head_state(struct gendisk *head, u32 old, u32 new)
{
	trace_mpath_head_state(head, old, new);
}
