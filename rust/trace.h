/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The library's trace events. docs/operating.md says when each is traced, and
 * what its fields mean.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM mpath

#if !defined(_LIBMULTIPATH_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define _LIBMULTIPATH_TRACE_H

#include <linux/blktrace_api.h>
#include <linux/tracepoint.h>

#include "helpers.h"

/* For readers of the formats, who do not know the names */
TRACE_DEFINE_ENUM(MPATH_PARKED_NO_PATH);
TRACE_DEFINE_ENUM(MPATH_PARKED_FAILOVER);
TRACE_DEFINE_ENUM(MPATH_PARKED_PAUSE);
TRACE_DEFINE_ENUM(MPATH_PARKED_MEMORY);
TRACE_DEFINE_ENUM(MPATH_PARKED_FENCE);
TRACE_DEFINE_ENUM(MPATH_STATE_OPTIMIZED);
TRACE_DEFINE_ENUM(MPATH_STATE_NONOPTIMIZED);
TRACE_DEFINE_ENUM(MPATH_STATE_OTHER);
TRACE_DEFINE_ENUM(MPATH_PORT_DEAD);
TRACE_DEFINE_ENUM(MPATH_PORT_RECOVERING);
TRACE_DEFINE_ENUM(MPATH_PORT_DRAINING);
TRACE_DEFINE_ENUM(MPATH_PORT_LIVE);

#define mpath_show_parked(why)						\
	__print_symbolic(why,						\
		{ MPATH_PARKED_NO_PATH,		"no-path" },		\
		{ MPATH_PARKED_FAILOVER,	"failover" },		\
		{ MPATH_PARKED_PAUSE,		"pause" },		\
		{ MPATH_PARKED_MEMORY,		"memory" },		\
		{ MPATH_PARKED_FENCE,		"fence" })

#define mpath_show_reasons(reasons)					\
	(reasons) ? __print_flags(reasons, "|",				\
		{ 1 << 0,	"not-ready" },				\
		{ 1 << 1,	"access-state-pending" },		\
		{ 1 << 5,	"capacity" },				\
		{ 1 << 6,	"failing" },				\
		{ 1 << 7,	"removing" }) : "none"

#define mpath_show_access(access)					\
	__print_symbolic(access,					\
		{ MPATH_STATE_OPTIMIZED,	"optimized" },		\
		{ MPATH_STATE_NONOPTIMIZED,	"non-optimized" },	\
		{ MPATH_STATE_OTHER,		"other" })

#define mpath_show_trust(trust)						\
	__print_symbolic(trust,						\
		{ 0,	"trusted" },					\
		{ 1,	"suspected" },					\
		{ 2,	"resting" },					\
		{ 3,	"rested" })

#define mpath_show_port(state)						\
	__print_symbolic(state,						\
		{ MPATH_PORT_DEAD,		"dead" },		\
		{ MPATH_PORT_RECOVERING,	"recovering" },		\
		{ MPATH_PORT_DRAINING,		"draining" },		\
		{ MPATH_PORT_LIVE,		"live" })

#define mpath_show_head(state)						\
	__print_symbolic(state,						\
		{ 0,	"new" },					\
		{ 1,	"live" },					\
		{ 2,	"dying" },					\
		{ 3,	"dead" })

#define mpath_assign_disk(to, disk)					\
	strscpy(to, (disk) ? (disk)->disk_name : "-", DISK_NAME_LEN)

/* A bio begins to wait */
TRACE_EVENT(mpath_park,
	TP_PROTO(struct gendisk *disk, struct bio *bio, u32 why, u32 waiting),
	TP_ARGS(disk, bio, why, waiting),
	TP_STRUCT__entry(
		__array(char, head, DISK_NAME_LEN)
		__field(sector_t, sector)
		__field(unsigned int, nr_sectors)
		__field(u32, why)
		__field(u32, waiting)
		__array(char, rwbs, RWBS_LEN)
	),
	TP_fast_assign(
		mpath_assign_disk(__entry->head, disk);
		__entry->sector = bio->bi_iter.bi_sector;
		__entry->nr_sectors = bio_sectors(bio);
		__entry->why = why;
		__entry->waiting = waiting;
		blk_fill_rwbs(__entry->rwbs, bio->bi_opf);
	),
	TP_printk("head=%s rwbs=%s sector=%llu nr_sectors=%u why=%s waiting=%u",
		  __entry->head, __entry->rwbs,
		  (unsigned long long)__entry->sector, __entry->nr_sectors,
		  mpath_show_parked(__entry->why), __entry->waiting)
);

/* A bio has waited, and is submitted again */
TRACE_EVENT(mpath_resubmit,
	TP_PROTO(struct gendisk *disk, struct bio *bio, u32 waiting),
	TP_ARGS(disk, bio, waiting),
	TP_STRUCT__entry(
		__array(char, head, DISK_NAME_LEN)
		__field(sector_t, sector)
		__field(unsigned int, nr_sectors)
		__field(u32, waiting)
		__array(char, rwbs, RWBS_LEN)
	),
	TP_fast_assign(
		mpath_assign_disk(__entry->head, disk);
		__entry->sector = bio->bi_iter.bi_sector;
		__entry->nr_sectors = bio_sectors(bio);
		__entry->waiting = waiting;
		blk_fill_rwbs(__entry->rwbs, bio->bi_opf);
	),
	TP_printk("head=%s rwbs=%s sector=%llu nr_sectors=%u waiting=%u",
		  __entry->head, __entry->rwbs,
		  (unsigned long long)__entry->sector, __entry->nr_sectors,
		  __entry->waiting)
);

/* A path has failed a bio, which goes on elsewhere, waits or ends */
TRACE_EVENT(mpath_failover,
	TP_PROTO(struct gendisk *disk, struct gendisk *path, struct bio *bio,
		 u32 status, bool fenced),
	TP_ARGS(disk, path, bio, status, fenced),
	TP_STRUCT__entry(
		__array(char, head, DISK_NAME_LEN)
		__array(char, path, DISK_NAME_LEN)
		__field(sector_t, sector)
		__field(unsigned int, nr_sectors)
		__field(u32, status)
		__field(bool, fenced)
		__array(char, rwbs, RWBS_LEN)
	),
	TP_fast_assign(
		mpath_assign_disk(__entry->head, disk);
		mpath_assign_disk(__entry->path, path);
		__entry->sector = bio->bi_iter.bi_sector;
		__entry->nr_sectors = bio_sectors(bio);
		__entry->status = status;
		__entry->fenced = fenced;
		blk_fill_rwbs(__entry->rwbs, bio->bi_opf);
	),
	TP_printk("head=%s path=%s rwbs=%s sector=%llu nr_sectors=%u status=%u fenced=%s",
		  __entry->head, __entry->path, __entry->rwbs,
		  (unsigned long long)__entry->sector, __entry->nr_sectors,
		  __entry->status, __entry->fenced ? "yes" : "no")
);

/* The state of a path has changed */
TRACE_EVENT(mpath_path_state,
	TP_PROTO(struct gendisk *disk, struct gendisk *path,
		 const struct mpath_traced_state *old,
		 const struct mpath_traced_state *new),
	TP_ARGS(disk, path, old, new),
	TP_STRUCT__entry(
		__array(char, head, DISK_NAME_LEN)
		__array(char, path, DISK_NAME_LEN)
		__field(u32, old_access)
		__field(u32, access)
		__field(u32, old_reasons)
		__field(u32, reasons)
		__field(u32, old_trust)
		__field(u32, trust)
	),
	TP_fast_assign(
		mpath_assign_disk(__entry->head, disk);
		mpath_assign_disk(__entry->path, path);
		__entry->old_access = old->access;
		__entry->access = new->access;
		__entry->old_reasons = old->reasons;
		__entry->reasons = new->reasons;
		__entry->old_trust = old->trust;
		__entry->trust = new->trust;
	),
	TP_printk("head=%s path=%s access=%s>%s reasons=%s>%s trust=%s>%s",
		  __entry->head, __entry->path,
		  mpath_show_access(__entry->old_access),
		  mpath_show_access(__entry->access),
		  mpath_show_reasons(__entry->old_reasons),
		  mpath_show_reasons(__entry->reasons),
		  mpath_show_trust(__entry->old_trust),
		  mpath_show_trust(__entry->trust))
);

/* The state of a port has changed */
TRACE_EVENT(mpath_port_state,
	TP_PROTO(const char *port, u32 old, u32 new),
	TP_ARGS(port, old, new),
	TP_STRUCT__entry(
		__string(port, port)
		__field(u32, old_state)
		__field(u32, state)
	),
	TP_fast_assign(
		__assign_str(port);
		__entry->old_state = old;
		__entry->state = new;
	),
	TP_printk("port=%s state=%s>%s", __get_str(port),
		  mpath_show_port(__entry->old_state),
		  mpath_show_port(__entry->state))
);

/* A bio may try a path again that the head left alone */
TRACE_EVENT(mpath_retry,
	TP_PROTO(struct gendisk *disk, struct gendisk *path, u32 pause_ms),
	TP_ARGS(disk, path, pause_ms),
	TP_STRUCT__entry(
		__array(char, head, DISK_NAME_LEN)
		__array(char, path, DISK_NAME_LEN)
		__field(u32, pause_ms)
	),
	TP_fast_assign(
		mpath_assign_disk(__entry->head, disk);
		mpath_assign_disk(__entry->path, path);
		__entry->pause_ms = pause_ms;
	),
	TP_printk("head=%s path=%s pause_ms=%u", __entry->head, __entry->path,
		  __entry->pause_ms)
);

/* The state of a head has changed */
TRACE_EVENT(mpath_head_state,
	TP_PROTO(struct gendisk *disk, u32 old, u32 new),
	TP_ARGS(disk, old, new),
	TP_STRUCT__entry(
		__array(char, head, DISK_NAME_LEN)
		__field(u32, old_state)
		__field(u32, state)
	),
	TP_fast_assign(
		mpath_assign_disk(__entry->head, disk);
		__entry->old_state = old;
		__entry->state = new;
	),
	TP_printk("head=%s state=%s>%s", __entry->head,
		  mpath_show_head(__entry->old_state),
		  mpath_show_head(__entry->state))
);

#endif /* _LIBMULTIPATH_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace

/* This part must be outside protection */
#include <trace/define_trace.h>
