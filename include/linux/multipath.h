/* SPDX-License-Identifier: GPL-2.0 */
/*
 * libmultipath: one block device (the head) over several that lead to the
 * same storage (the paths).
 *
 * This is the library's whole C interface. Everything behind it is Rust.
 * bindgen generates the Rust view of these declarations from this file. The
 * compiler compares every signature and every layout with the Rust side.
 *
 * A driver
 *
 * - embeds a struct mpath_port in its structure for a controller, and a struct
 *   mpath_device in its structure for a path;
 * - embeds a struct mpath_iopolicy in the structure that its heads share (a
 *   subsystem, a target);
 * - gets a struct mpath_head from mpath_alloc_head() for every piece of
 *   storage, and its disk from mpath_alloc_head_disk();
 * - adds paths, starts them and removes them: mpath_add_device(),
 *   mpath_start_device(), mpath_remove_device();
 * - tells the library when they change: mpath_port_set_state(),
 *   mpath_device_set_access_state(), mpath_enable_device(),
 *   mpath_disable_device();
 * - hands back the bios of a request that failed for a reason of the path:
 *   mpath_failover(), mpath_failover_request().
 *
 * The library never asks a driver whether a path is usable. The driver says so
 * when it changes, so the library calls no driver when it chooses a path.
 *
 * Locking, lock order and lifetime
 *
 * Readers walk the head's list of paths under the head's SRCU. The library
 * changes the list under the head's mutex. It takes that mutex inside the
 * driver's own locks, and never holds it when it calls the driver. A second
 * mutex orders adding and deleting the head's disk. The library holds it when
 * it calls add_cdev and del_cdev. mpath_device_set_live(), mpath_remove_head()
 * and the functions for the links take it. A driver must not call a function
 * below that says "waits for readers" from inside a callback that takes a
 * struct mpath_device, since those run in a read-side section.
 *
 * A head is refcounted. The driver holds the reference that mpath_alloc_head()
 * returned. Every opener of the disk holds one, and so does an armed removal
 * timer. The last mpath_put_head() calls mpath_head_template.release and frees
 * the head. Nothing in the library waits for an opener.
 *
 * Mistakes
 *
 * A driver that makes a mistake gets an error, or a WARN that names the
 * mistake, and no harm comes of it. That holds as far as the library can tell
 * when the driver adds, changes, removes or drops a path or a head, or fails a
 * bio over. When a bio is submitted the library checks nothing, since every bio
 * would pay for it. So the driver sees to it that
 *
 * - no argument is NULL or an ERR_PTR() unless its description allows it;
 * - it passes no memory that it has freed: memory that is gone, or somebody
 *   else's by now, looks like any other. KASAN tells;
 * - only the disks of its heads have the operations of MPATH_BDEV_OPS();
 * - it ends each bio of a path, or fails it over, once, and does not touch it
 *   afterwards. A bio that has ended looks like one that has not, and its
 *   memory is its submitter's;
 * - it frees a path after mpath_synchronize() has returned;
 * - it deletes the path's disk after that and after
 *   mpath_synchronize_submitters(): a reader leaves no trace by which its path
 *   would know;
 * - a template, its operations and its policy stay as they are until
 *   mpath_head_template.release, and all heads are gone before a module is;
 * - it calls no function that sleeps in atomic context. DEBUG_ATOMIC_SLEEP
 *   tells.
 */
#ifndef _LINUX_MULTIPATH_H
#define _LINUX_MULTIPATH_H

#include <linux/atomic.h>
#include <linux/bits.h>
#include <linux/build_bug.h>
#include <linux/blk_types.h>
#include <linux/blkdev.h>
#include <linux/compiler.h>
#include <linux/jiffies.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/percpu.h>
#include <linux/smp.h>
#include <linux/threads.h>
#include <linux/types.h>

struct attribute_group;
struct bio_list;
struct device;
struct io_uring_cmd;
struct mpath_device;
struct mpath_head;
struct module;
struct queue_limits;
struct request;

/**
 * REQ_MPATH - the mark of a bio or request that came through a head
 *
 * The library sets it on every bio that it sends to a path. A driver's
 * completion code looks at it to decide between mpath_failover() and its own
 * error handling.
 *
 * The mark is for the path's driver alone. A driver that sends the bio, or a
 * clone of it, on to another device clears it there: other drivers use the same
 * bit for something else.
 */
#define REQ_MPATH	REQ_DRV

/**
 * MPATH_MAX_FAILOVERS - the most failures of a bio for each path of its head
 *
 * A struct mpath_head_template whose max_failovers is 0 has this limit.
 */
#define MPATH_MAX_FAILOVERS	32

/**
 * enum mpath_iopolicy_e - how a head chooses among its usable paths
 * @MPATH_IOPOLICY_NUMA: the path nearest to the submitting CPU ("numa")
 * @MPATH_IOPOLICY_RR: one path after the other ("round-robin")
 * @MPATH_IOPOLICY_QD: the path whose port has the fewest requests in flight
 *	("queue-depth")
 *
 * Under every policy the library never chooses a disabled path. It prefers an
 * optimized path to a non-optimized one, and uses no other path.
 */
enum mpath_iopolicy_e {
	MPATH_IOPOLICY_NUMA,
	MPATH_IOPOLICY_RR,
	MPATH_IOPOLICY_QD,
};

/**
 * enum mpath_access_state - the access state that the storage reports for a
 * path
 * @MPATH_STATE_OPTIMIZED: preferred
 * @MPATH_STATE_NONOPTIMIZED: used while no usable path is optimized
 * @MPATH_STATE_OTHER: not used for I/O
 */
enum mpath_access_state {
	MPATH_STATE_OPTIMIZED,
	MPATH_STATE_NONOPTIMIZED,
	MPATH_STATE_OTHER,
};

/**
 * enum mpath_disable_reason - the reasons not to use a path, one bit each
 * @MPATH_DISABLE_NOT_READY: the path is not set up yet, or being torn down
 * @MPATH_DISABLE_STATE_PENDING: its access state is out of date, and the driver
 *	is reading it
 *
 * A path is enabled when no reason is left.
 */
enum mpath_disable_reason {
	MPATH_DISABLE_NOT_READY		= 1 << 0,
	MPATH_DISABLE_STATE_PENDING	= 1 << 1,
};

/**
 * enum mpath_port_state - the state of a controller for the paths through it
 * @MPATH_PORT_DEAD: takes no I/O and will not come back
 * @MPATH_PORT_RECOVERING: takes no I/O now; I/O that finds no other path waits
 * @MPATH_PORT_DRAINING: takes I/O, but is about to go; I/O does not wait for it
 * @MPATH_PORT_LIVE: takes I/O
 */
enum mpath_port_state {
	MPATH_PORT_DEAD,
	MPATH_PORT_RECOVERING,
	MPATH_PORT_DRAINING,
	MPATH_PORT_LIVE,
};

/*
 * private: the bits of the fractions in which CPUs know of each other's
 * requests
 */
#define MPATH_FRACTION_BITS	8

/**
 * struct mpath_port_cpu - a CPU's record of the requests in flight on a port
 * @active: private, the requests in flight that began on this CPU
 * @others: private, the requests that the other CPUs had in flight when this
 *	CPU looked, on average, in units of 1 / 2^MPATH_FRACTION_BITS
 * @tick: private, the tick in which it looked last
 * @next: private, the CPU at whose record it looks next
 * @seen: private, the requests that it has seen in this round
 * @busy: private, the CPUs with requests in flight that it has seen in this
 *	round
 * @rounds: private, the rounds that it has ended
 */
struct mpath_port_cpu {
	atomic_t		active;
	unsigned int		others;
	unsigned int		tick;
	unsigned int		next;
	unsigned int		seen;
	unsigned int		busy;
	unsigned int		rounds;
} __aligned(32);

/**
 * struct mpath_port - the state that all paths through one controller share
 * @state: private, an enum mpath_port_state; see mpath_port_set_state()
 * @shares: private, whether @cpus are another port's
 * @cpus: private, each CPU's record; see mpath_request_start()
 * @generation: private, the number of writes to @state
 * @mark: private, tells an initialised port from other memory
 * @since: private, the tick of the last change of @state
 * @name: private, its name for people; see mpath_port_set_name()
 *
 * The driver embeds it in its controller, which must outlive every struct
 * mpath_device that names it.
 */
struct mpath_port {
	unsigned int			state;
	unsigned int			shares;
	struct mpath_port_cpu __percpu	*cpus;
	u64				generation;
	unsigned long			mark;
	u64				since;
	const char			*name;
};

/**
 * struct mpath_iopolicy - the policy that a group of heads follows
 * @policy: private, an enum mpath_iopolicy_e; see mpath_iopolicy_read()
 * @supported: private, the policies that may be set, bit by enum
 * @lock: private, serialises changes and guards @heads
 * @heads: private, the heads that follow this policy
 * @mark: private, tells an initialised policy from other memory
 *
 * The driver embeds it in the structure that the heads share, which must
 * outlive them.
 */
struct mpath_iopolicy {
	unsigned int		policy;
	unsigned int		supported;
	struct mutex		lock;
	struct list_head	heads;
	unsigned long		mark;
};

/**
 * struct mpath_cursor - where a CPU goes on in a head's list of usable paths
 * @next: private, the index of the path that comes next
 * @done: private, the index of the path on which a request of the CPU ended
 *	last
 * @tick: private, the tick in which the CPU last looked at the requests of
 *	others
 * @list: private, the list for which it looked
 */
struct mpath_cursor {
	unsigned int		next;
	unsigned int		done;
	unsigned int		tick;
	unsigned int		list;
};

/*
 * private: the number of things in a path's state that have a time of their own
 */
#define MPATH_TIMES	7

/**
 * struct mpath_record - the notes on a path for people who ask
 * @since: private, for each thing in its state, the tick of its last change
 * @failed_at: private, the tick in which it failed I/O last
 * @failures: private, how often it failed I/O while the driver wanted it used
 * @failovers: private, the bios that went on elsewhere, or waited, because it
 *	failed them
 * @rests: private, how often the library left it alone
 * @said_at: private, the tick of the last line in the log that it fails
 * @is_said: private, whether the log says that it fails
 *
 * The library writes it where I/O is slow anyway: when a path fails a bio, and
 * when its state changes.
 */
struct mpath_record {
	u64	since[MPATH_TIMES];
	u64	failed_at;
	u64	failures;
	u64	failovers;
	u64	rests;
	u64	said_at;
	u32	is_said;
};

/**
 * struct mpath_device - one path
 * @siblings: private, the head's list of paths
 * @state: private, access state and reasons to be disabled in one word
 * @numa_node: private, the NUMA node that the path is near to, or NUMA_NO_NODE
 * @port: private, the port that the path goes through
 * @disk: private, the path's own disk
 * @part0: private, @disk as a block device, to which the library sends bios
 * @head: private, the head that the path belongs to
 * @flags: private
 * @cpus: private, the port's, for mpath_request_start()
 * @cursors: private, the head's, for mpath_request_done()
 * @index: private, of the path in the head's list of usable paths
 * @pause_end: private, when the library tries a path again that keeps failing
 * @readers: private, the readers that may still see a path that has been
 *	deleted
 * @readers_of: private, the head whose readers they are
 * @record: private, the notes on the path
 *
 * The driver embeds it in its structure for a path, and mpath_add_device()
 * initialises it. The memory must stay until mpath_delete_device() and then
 * mpath_synchronize() have returned, and the head for as long as the memory
 * does. Until then the driver may call every function below on the path. After
 * mpath_delete_device() the library never chooses it. But requests that were in
 * flight still end in mpath_failover(), and changes that the driver tells of it
 * do no harm.
 */
struct mpath_device {
	struct list_head	siblings;
	unsigned int		state;
	int			numa_node;
	struct mpath_port	*port;
	struct gendisk		*disk;
	struct block_device	*part0;
	struct mpath_head	*head;
	unsigned long		flags;
	struct mpath_port_cpu __percpu *cpus;
	struct mpath_cursor __percpu *cursors;
	unsigned int		index;
	u64			pause_end;
	unsigned long		readers;
	u32			readers_of;
	struct mpath_record	record;
};

/**
 * struct mpath_head_template - the callbacks of a driver, one per driver
 * @owner: the driver's module: THIS_MODULE, or NULL, only when the driver is
 *	built in. An armed removal timer pins it, and so does, through @fops, an
 *	opener of the head's disk.
 * @fops: the operations of the head's disk, from MPATH_BDEV_OPS(), of the same
 *	module. Required by mpath_alloc_head_disk().
 * @disk_groups: sysfs attributes of the head's disk, NULL-terminated, with
 *	&mpath_attr_group for the links to the paths. Optional.
 * @max_failovers: the most failovers of a bio for each path of its head, 0 for
 *	MPATH_MAX_FAILOVERS. A bio that has failed more often ends with its last
 *	error. A failure on a path that the driver has disabled, or whose port
 *	takes no I/O, does not count. Optional.
 * @release: the last reference to the head is gone, its disk is gone, and it
 *	does not follow its policy any more. The driver frees its own structure
 *	for the head, with the struct mpath_iopolicy if need be. The library
 *	frees the head itself afterwards. May sleep. When the last opener of the
 *	disk drops the last reference, the disk's open_mutex is held. Required.
 * @remove_head: the removal timer has expired. The driver takes the lock under
 *	which it looks heads up, and calls mpath_try_remove_head(). When that
 *	says true it unlinks the head, drops the lock, calls mpath_remove_head()
 *	and drops its reference. May sleep. Required for delayed removal.
 * @add_cdev: the head's disk has been added: make its character device. The
 *	library only remembers an error, and then does not call @del_cdev. May
 *	sleep. Optional, with @del_cdev.
 * @del_cdev: remove the character device that @add_cdev made. May sleep.
 * @bdev_ioctl: carry out on @dev an ioctl on the head's disk or, when
 *	bdev_is_partition(@bdev), on a partition of it. Runs inside a read-side
 *	section of the head; may sleep, must not wait for readers. Also called
 *	for compat ioctls, with compat_ptr() of the argument. When it is NULL
 *	the ioctl goes to the path's own operations, and an ioctl on a partition
 *	fails with -ENOTTY.
 * @cdev_ioctl: the same for the character device.
 * @ioctl_begin: decide whether @cmd is too long, or too far-reaching, for a
 *	read-side section. Then take a reference to the object that it needs and
 *	return the object, else NULL. Runs inside the section. Optional, with
 *	@ioctl_handle.
 * @ioctl_handle: carry @cmd out on the object that @ioctl_begin returned, and
 *	drop the reference. Runs outside any read-side section; the path may be
 *	gone.
 * @cdev_uring_cmd: carry out an io_uring command on the character device. Runs
 *	inside a read-side section. Optional: -EOPNOTSUPP.
 * @get_unique_id: fill @id for @dev. Runs inside a read-side section. When it
 *	is NULL the library calls the path's own operation.
 */
struct mpath_head_template {
	struct module *owner;
	const struct block_device_operations *fops;
	const struct attribute_group **disk_groups;
	unsigned int max_failovers;

	void (*release)(struct mpath_head *head);
	void (*remove_head)(struct mpath_head *head);
	int (*add_cdev)(struct mpath_head *head);
	void (*del_cdev)(struct mpath_head *head);
	int (*bdev_ioctl)(struct mpath_device *dev, struct block_device *bdev,
			  blk_mode_t mode, unsigned int cmd, unsigned long arg);
	int (*cdev_ioctl)(struct mpath_device *dev, bool open_for_write,
			  unsigned int cmd, unsigned long arg);
	void *(*ioctl_begin)(struct mpath_device *dev, unsigned int cmd);
	int (*ioctl_handle)(void *handle, bool open_for_write,
			    unsigned int cmd, unsigned long arg);
	int (*cdev_uring_cmd)(struct mpath_device *dev,
			      struct io_uring_cmd *ioucmd,
			      unsigned int issue_flags);
	int (*get_unique_id)(struct mpath_device *dev, u8 id[16],
			     enum blk_unique_id type);
};

/**
 * struct mpath_head - the paths to one piece of storage and the disk over them
 * @disk: the head's disk, NULL before mpath_alloc_head_disk(). Read-only. Stays
 *	until the last reference to the head is gone.
 * @drvdata: the pointer that the driver gave to mpath_alloc_head(). Read-only.
 *
 * The library allocates it. The memory behind these members is private.
 */
struct mpath_head {
	struct gendisk	*disk;
	void		*drvdata;
	/* private: */
	unsigned char	opaque[];
};

/* Ports */

/**
 * mpath_port_init() - initialise a port
 * @port: not in use by any path, and not initialised, or mpath_port_exit() has
 *	been called on it since
 *
 * The state is MPATH_PORT_DEAD until the driver says otherwise, and no request is
 * in flight. mpath_port_exit() frees the memory that this allocates.
 *
 * Return: 0, or -ENOMEM: then nothing has changed.
 *
 * Context: process, may sleep.
 */
int mpath_port_init(struct mpath_port *port);

/**
 * mpath_port_init_sharing() - initialise a port that counts with another one
 * @port: as for mpath_port_init()
 * @other: initialised, and not freed by mpath_port_exit() before @port
 *
 * For a driver in which several things, each with a state of its own, share one
 * that gets busy: logical units, or targets, behind one host. The new port has
 * its own state and its own name. Requests through it are in flight on @other
 * as well, so that the queue-depth policy sees the load of @other. Allocates
 * nothing.
 *
 * Return: 0; or -EINVAL, with a WARN, when @other is not initialised.
 *
 * Context: any.
 */
int mpath_port_init_sharing(struct mpath_port *port, struct mpath_port *other);

/**
 * mpath_port_exit() - free the memory that mpath_port_init() has allocated
 * @port: no path goes through it any more: mpath_delete_device() and then
 *	mpath_synchronize() have returned for each
 *
 * Every request that mpath_request_start() has counted must have ended. If one
 * has not, or the port is not initialised, this function WARNs and frees
 * nothing. For a port that counts with another one, it checks this when that
 * one goes.
 *
 * Context: process, may sleep.
 */
void mpath_port_exit(struct mpath_port *port);

/**
 * mpath_port_in_flight() - the number of requests in flight through a port
 * @port: the port
 *
 * These are the requests that mpath_request_start() has counted and
 * mpath_request_done() has not, on all CPUs. Exact while none begins or ends.
 * It looks at the memory of every CPU, so it is not for the I/O path.
 *
 * Return: the number.
 *
 * Context: any.
 */
unsigned int mpath_port_in_flight(struct mpath_port *port);

/**
 * mpath_port_set_state() - set the state of a port
 * @port: the port
 * @state: an enum mpath_port_state; another is taken for MPATH_PORT_DEAD, with a
 *	WARN
 *
 * Bios that a user submits after this returned see the new state. It does not
 * move bios that wait for a path: when a port becomes live, or is given up, the
 * driver calls mpath_kick_requeue() on the heads concerned afterwards.
 *
 * Context: any, hard interrupt included.
 */
void mpath_port_set_state(struct mpath_port *port,
			  enum mpath_port_state state);

/**
 * mpath_port_set_name() - set the name of a port for people
 * @port: the port
 * @name: the name that debugfs and trace events show, as "nvme0"; NULL for
 *	none. It stays as it is until no path goes through the port any more.
 *
 * Context: any.
 */
void mpath_port_set_name(struct mpath_port *port, const char *name);

/* Policies */

/**
 * mpath_iopolicy_init() - initialise a policy without heads
 * @iopolicy: the policy to initialise
 * @policy: the policy to start with
 * @supported: the policies that mpath_iopolicy_set() accepts, BIT(enum) each
 *
 * Return: 0, or -EINVAL when the library does not have @policy, or a policy of
 * @supported, or @supported leaves @policy out. On -EINVAL @iopolicy starts
 * with MPATH_IOPOLICY_NUMA. With a WARN, -EBUSY when heads follow @iopolicy,
 * which stays as it is.
 *
 * Context: process, may sleep.
 */
int mpath_iopolicy_init(struct mpath_iopolicy *iopolicy,
			enum mpath_iopolicy_e policy, unsigned int supported);

/**
 * mpath_iopolicy_parse() - the policy of a name
 * @name: "numa", "round-robin" or "queue-depth", one newline may follow
 *
 * Return: an enum mpath_iopolicy_e, or -EINVAL for another name.
 *
 * Context: any.
 */
int mpath_iopolicy_parse(const char *name);

/**
 * mpath_iopolicy_name() - the name of a policy
 * @policy: the policy
 *
 * Return: a static string, "unknown" for any other value.
 *
 * Context: any.
 */
const char *mpath_iopolicy_name(enum mpath_iopolicy_e policy);

/**
 * mpath_iopolicy_set() - change the policy of all heads that follow it
 * @iopolicy: the shared policy
 * @policy: the new one
 *
 * When the policy changes, the heads look at their paths again, and the requeue
 * worker submits parked bios again. Setting the policy that is in force does
 * nothing at all. The policy's mutex serialises concurrent calls.
 *
 * Return: the policy that was in force before, or -EINVAL when @policy is not
 * supported here or, with a WARN, @iopolicy has not been initialised.
 *
 * Context: process, may sleep. Takes the policy's mutex.
 */
int mpath_iopolicy_set(struct mpath_iopolicy *iopolicy,
		       enum mpath_iopolicy_e policy);

/**
 * mpath_iopolicy_read() - the policy in force
 * @iopolicy: the shared policy
 *
 * Return: an enum mpath_iopolicy_e.
 *
 * Context: any.
 */
static inline enum mpath_iopolicy_e
mpath_iopolicy_read(const struct mpath_iopolicy *iopolicy)
{
	return READ_ONCE(iopolicy->policy);
}

/**
 * mpath_iopolicy_is_qd() - must the driver count requests in flight?
 * @iopolicy: the shared policy
 *
 * A driver may ask when a request begins, to save the count under other policies.
 * It does not ask when a request ends: the policy may have changed in between,
 * and the token of mpath_request_start() knows whether the request was counted.
 *
 * Return: whether the policy is MPATH_IOPOLICY_QD.
 *
 * Context: any.
 */
static inline bool mpath_iopolicy_is_qd(const struct mpath_iopolicy *iopolicy)
{
	return mpath_iopolicy_read(iopolicy) == MPATH_IOPOLICY_QD;
}

/* Heads */

/**
 * mpath_alloc_head() - allocate a head without paths and without a disk
 * @mpdt: the driver's callbacks
 * @iopolicy: the policy that the head follows; must outlive the head
 * @drvdata: for the driver, afterwards head->drvdata
 *
 * Return: the head with one reference, which is the caller's, or an ERR_PTR().
 * -EINVAL when @mpdt lacks a required callback or has half of a pair, or there
 * is no @iopolicy. With a WARN, -EINVAL when @iopolicy has not been
 * initialised. -ENOMEM. On an error the library does not call
 * mpath_head_template.release.
 *
 * Context: process, may sleep.
 */
struct mpath_head *mpath_alloc_head(const struct mpath_head_template *mpdt,
				    struct mpath_iopolicy *iopolicy,
				    void *drvdata);

/**
 * mpath_head_iopolicy() - the policy that a head follows
 * @head: the head
 *
 * Return: the policy that the driver gave to mpath_alloc_head().
 *
 * Context: any.
 */
struct mpath_iopolicy *mpath_head_iopolicy(struct mpath_head *head);

/**
 * mpath_get_head() - take one more reference
 * @head: the caller holds a reference already; in mpath_head_template.release
 *	nobody does, and this function WARNs
 *
 * Context: any.
 */
void mpath_get_head(struct mpath_head *head);

/**
 * mpath_tryget_head() - take a reference unless the last one is gone
 * @head: the driver's lookup lock keeps the memory
 *
 * Return: whether there is a reference now.
 *
 * Context: any.
 */
bool mpath_tryget_head(struct mpath_head *head);

/**
 * mpath_put_head() - drop a reference
 * @head: not to be touched afterwards
 *
 * The last put submits bios that are still parked. They fail, since no head is
 * Live without a reference. It then releases the disk, calls
 * mpath_head_template.release and frees the head.
 *
 * This function WARNs and keeps the reference when the driver has none to drop;
 * an opener may still have one. So it does when the reference is the driver's
 * last and the head has paths. When the driver has not called
 * mpath_remove_head() as it should, this function does that first, with a WARN.
 *
 * Context: process, may sleep. Not inside a read-side section of the head.
 */
void mpath_put_head(struct mpath_head *head);

/**
 * mpath_alloc_head_disk() - give the head its disk
 * @head: has no disk yet
 * @lim: the limits to start with
 * @parent: the parent of the disk's device; a reference is held until the
 *	head is freed
 * @numa_node: where to allocate, or NUMA_NO_NODE
 *
 * The disk is not visible yet. The driver sets head->disk->disk_name, and the
 * first mpath_device_set_live() adds the disk. The library owns it.
 *
 * Return: 0, or the error of the allocation. With -EINVAL the template has no
 * fops, or not those of a head's disk, or @numa_node is neither the id of a
 * node nor NUMA_NO_NODE. With -EEXIST there is a disk already.
 *
 * Context: process, may sleep.
 */
int mpath_alloc_head_disk(struct mpath_head *head, struct queue_limits *lim,
			  struct device *parent, int numa_node);

/**
 * mpath_try_remove_head() - decide to remove a head, in one step
 * @head: the head
 *
 * Nothing happens while the head has paths. Without paths, and with a removal
 * delay that is not over, this function arms the removal timer, unless it is
 * armed. The timer holds one reference to the head and one to the driver's
 * module, and calls mpath_head_template.remove_head. Otherwise the head is
 * Dying from now on: adding a path to it fails.
 *
 * The driver calls it under the lock under which it looks heads up.
 *
 * Return: true when the caller must unlink the head from its lookup list and
 * then call mpath_remove_head(). True exactly once in the life of a head.
 *
 * Context: process, may sleep. Takes the head's mutex.
 */
bool mpath_try_remove_head(struct mpath_head *head);

/**
 * mpath_remove_head() - take the head's devices away
 * @head: mpath_try_remove_head() said true
 *
 * Removes the character device and the disk. Fails all bios that wait for a
 * path, and all that users submit from now on. It does not wait for openers of
 * the head; they get errors. Works for a head that never had a disk, or whose
 * disk never was added. It does not drop the caller's reference. When nobody
 * has decided to remove the head, or the head has been removed, it only WARNs.
 *
 * A driver may call this with the lock held under which it looks heads up, or
 * after dropping that lock. It may hold a lock if nobody for whom this function
 * waits takes the same lock. It waits for
 *
 * - mpath_device_set_live() on a path of the head;
 * - tasks that are reading or writing attributes of the disk;
 * - tasks that are just opening the disk, or scan its partitions: their I/O
 *   ends, since no path is left;
 * - mpath_head_template.add_cdev and del_cdev.
 *
 * Holding the lock has one advantage: the next head may take the same name.
 *
 * Context: process, may sleep. Waits for readers.
 */
void mpath_remove_head(struct mpath_head *head);

/**
 * mpath_head_devices_empty() - has the head no path?
 * @head: the head
 *
 * The answer is stable only under the driver's lock that serialises adding and
 * deleting paths.
 *
 * Return: whether the list of paths is empty.
 *
 * Context: any.
 */
bool mpath_head_devices_empty(struct mpath_head *head);

/**
 * mpath_head_is_live() - has the disk been added, and not been removed?
 * @head: the head
 *
 * Return: whether the head is Live.
 *
 * Context: any.
 */
bool mpath_head_is_live(struct mpath_head *head);

/**
 * mpath_head_queue_if_no_path() - do bios wait although there is no path?
 * @head: the head
 *
 * Return: whether a removal delay is set.
 *
 * Context: any.
 */
bool mpath_head_queue_if_no_path(struct mpath_head *head);

/**
 * mpath_set_delayed_removal_secs() - set the removal delay of a head
 * @head: the head
 * @secs: seconds, 0 means at once
 *
 * See mpath_delayed_removal_secs_store(). A delay is ignored, with a WARN, when the
 * template has no remove_head.
 *
 * Context: process, may sleep. Takes the head's mutex.
 */
void mpath_set_delayed_removal_secs(struct mpath_head *head, unsigned int secs);

/**
 * mpath_synchronize() - wait for readers
 * @head: the head
 *
 * Waits until every read-side section that had begun has ended, whether the
 * head has a disk or not. In a callback that takes a struct mpath_device it
 * would wait for itself: there it returns at once, with a WARN.
 *
 * Context: process, may sleep. Not inside a read-side section of the head.
 */
void mpath_synchronize(struct mpath_head *head);

/**
 * mpath_synchronize_submitters() - wait for bios that are on their way to a
 * path
 *
 * With CONFIG_LIBMULTIPATH_ONE_PASS this does nothing: a bio enters the queue
 * of a path's disk where the library chooses the path. The rest of this text is
 * about other kernels.
 *
 * A bio is on its way from when the library has chosen a path for it until it
 * enters the queue of the path's disk. Its submitter may be preempted just
 * then, for as long as it likes. If that disk dies, or the driver deletes it
 * meanwhile, the block layer ends the bio with BLK_STS_IOERR, and the library
 * tries no other path.
 *
 * So a driver makes paths unusable, by mpath_quiesce_device() or
 * mpath_port_set_state(), and then calls this. Only then it deletes their disks
 * or marks them dead. One call waits for bios of all heads and paths. It does
 * not wait for bios that have entered a queue, nor for those that wait for a
 * frozen queue. So a driver unfreezes queues before it calls this.
 *
 * It takes about a tenth of a second where tasks are running, and longer where
 * something keeps them from running. It takes two seconds at most, since a
 * kernel thread that polls (io_uring's, say) can be busy for ever. In a kernel
 * that preempts tasks it needs CONFIG_TASKS_RCU, which CONFIG_LIBMULTIPATH
 * selects. Without it, or when the time is over, a bio on its way may still
 * fail.
 *
 * Context: process, may sleep.
 */
void mpath_synchronize_submitters(void);

/**
 * mpath_kick_requeue() - have the requeue worker submit parked bios again
 * @head: the head
 *
 * Context: any.
 */
void mpath_kick_requeue(struct mpath_head *head);

/* Paths */

/**
 * mpath_add_device() - add a path to a head
 * @dev: the path, on no head; this function overwrites the structure
 * @head: the head; the caller keeps it for as long as @dev is on it
 * @disk: the path's own disk
 * @port: the port that the path goes through
 * @numa_node: the node that the path is near to, or NUMA_NO_NODE
 *
 * The path is disabled (MPATH_DISABLE_NOT_READY), in MPATH_STATE_OTHER. This
 * function disarms an armed removal timer.
 *
 * A driver may add a path again that has been on a head, this or another, when
 * mpath_synchronize() has returned after mpath_delete_device().
 *
 * The head's limits must hold on every path. So a driver stacks the limits of each
 * path on those of the head before it adds the path: queue_limits_start_update() on
 * the head's queue, queue_limits_stack_bdev(), and
 * queue_limits_commit_update_frozen(). A driver may do this under I/O. It waits
 * for submitters inside the head's ->submit_bio(); they may sleep in the queue
 * of a path while that is frozen. It does not wait for parked bios: the library
 * splits those anew when it submits them again. The driver holds no lock that
 * it needs to unfreeze a path.
 *
 * Return: 0, or -ENOMEM. -ENXIO when the head is Dying or Dead. -EINVAL when
 * @numa_node is neither the id of a node nor NUMA_NO_NODE. With a WARN, -EEXIST
 * when @dev is on a head, this or another. With a WARN, -EBUSY when the driver
 * has not waited for readers of the head that @dev was on. With a WARN, -EINVAL
 * when there is no @disk or no @port or @disk is a head's. An error leaves @dev
 * untouched.
 *
 * Context: process, may sleep. Takes the head's mutex.
 */
int mpath_add_device(struct mpath_device *dev, struct mpath_head *head,
		     struct gendisk *disk, struct mpath_port *port,
		     int numa_node);

/**
 * mpath_quiesce_device() - make sure that a path is not chosen any more
 * @dev: a path that has been added to a head
 *
 * The first step of taking a path away. It disables the path for good. The
 * library sends no bio to the path that a user submits after this returned. It
 * may still send bios that users are submitting now, until
 * mpath_synchronize_submitters().
 *
 * Inside a callback that takes a struct mpath_device it only WARNs. This and
 * the other functions for a path only WARN when @dev has never been added.
 *
 * Context: process. Does not wait for readers: that is mpath_synchronize().
 */
void mpath_quiesce_device(struct mpath_device *dev);

/**
 * mpath_delete_device() - unlink a path from its head
 * @dev: a path, after mpath_quiesce_device()
 *
 * Readers may still see the path: the driver calls mpath_synchronize() before
 * it frees it. Deleting a path that is on no head only WARNs. When the driver
 * has not quiesced the path, this function does, with a WARN.
 *
 * When no path that is left is as large as the head, the head takes the
 * capacity of one of them, with set_capacity_and_notify().
 *
 * Return: whether the head has no path left.
 *
 * Context: process, may sleep. Takes the head's mutex. The head's queue must
 * not be frozen: an uevent may wait for memory.
 */
bool mpath_delete_device(struct mpath_device *dev);

/**
 * mpath_remove_device() - take a path away from its head, in one operation
 * @dev: a path that has been added to a head
 * @stop: called when the library sends no bio to @dev any more; may be NULL
 *
 * Does mpath_quiesce_device(), mpath_synchronize_submitters(), @stop,
 * mpath_delete_device(), mpath_synchronize() and mpath_remove_sysfs_link().
 * Afterwards the driver may free @dev. For drivers that need nothing in
 * between.
 *
 * Return: true. With a WARN, false when the caller is inside a callback that
 * takes a struct mpath_device of the same head, or @dev has never been added.
 * Then nothing has happened, and the driver must not free @dev.
 *
 * Context: process, may sleep. Waits for readers and submitters. Takes the head's
 * mutexes.
 */
bool mpath_remove_device(struct mpath_device *dev,
			 void (*stop)(struct mpath_device *dev));

/**
 * mpath_enable_device() - take away a reason not to use a path
 * @dev: a path that has been added to a head
 * @reason: an enum mpath_disable_reason, or several, or 0; others are ignored,
 *	with a WARN
 *
 * When no reason is left the library may choose the path, and the requeue
 * worker submits parked bios again.
 *
 * The library also forgets the failures that it knows of from mpath_failover():
 * it trusts the path again. With 0 it does nothing else. A driver calls this
 * with 0 for every path of a controller that has come back.
 *
 * Context: any.
 */
void mpath_enable_device(struct mpath_device *dev, unsigned int reason);

/**
 * mpath_disable_device() - add a reason not to use a path
 * @dev: a path that has been added to a head
 * @reason: an enum mpath_disable_reason, or several; others are ignored, with a
 *	WARN
 *
 * Bios that a user submits after this returned do not use the path.
 *
 * Context: any.
 */
void mpath_disable_device(struct mpath_device *dev, unsigned int reason);

/**
 * mpath_device_set_access_state() - set the access state of a path
 * @dev: a path that has been added to a head
 * @state: an enum mpath_access_state; another is taken for MPATH_STATE_OTHER, with
 *	a WARN
 *
 * The library trusts the path again, and forgets the failures that it knows of
 * from mpath_failover(): the driver has looked at the path.
 *
 * Context: any.
 */
void mpath_device_set_access_state(struct mpath_device *dev,
				   enum mpath_access_state state);

/**
 * mpath_device_set_numa_node() - set the node that a path is near to
 * @dev: a path that has been added to a head
 * @numa_node: the node that the path is near to, or NUMA_NO_NODE; another is
 *	ignored, with a WARN
 *
 * Context: any.
 */
void mpath_device_set_numa_node(struct mpath_device *dev, int numa_node);

/**
 * mpath_device_set_live() - say that a path can carry I/O
 * @dev: a path that has been added, set up, with its access state set
 *
 * The first path of a head adds the head's disk and its character device. A
 * work scans the partitions later, so that a path that fails meanwhile blocks
 * nobody. Every path gets its link in the "multipath" directory. The requeue
 * worker submits parked bios again.
 *
 * A path carries I/O when the driver has said four things, in any order:
 *
 * - mpath_port_set_state(): its port is MPATH_PORT_LIVE;
 * - mpath_device_set_access_state(): it is optimized, or non-optimized;
 * - mpath_enable_device(): it is set up, which takes MPATH_DISABLE_NOT_READY
 *   away;
 * - mpath_device_set_live(): the head's disk may appear.
 *
 * mpath_start_device() says the last three. A driver that leaves one out has a
 * disk on which I/O waits, or fails when the port is dead. When the head has no
 * path to use after this, a line in the log names the thing that is missing.
 *
 * Return: 0, or the error of adding the disk, -ENODEV when the head has no
 * disk, -ENXIO when it is Dying or Dead, or no longer has the path. After one
 * of these errors nothing has happened. With a WARN, -EDEADLK inside a callback
 * that takes a struct mpath_device, or in add_cdev or del_cdev. With a WARN,
 * -EINVAL when @dev has never been added.
 *
 * Context: process, may sleep. Adding a disk does I/O: the port must be live.
 * Not inside a read-side section of the head.
 */
int mpath_device_set_live(struct mpath_device *dev);

/**
 * mpath_start_device() - say that a path is set up and carries I/O from now on
 * @dev: a path that has been added; its port is MPATH_PORT_LIVE
 * @state: the path's access state; MPATH_STATE_OPTIMIZED where the storage
 *	knows none
 *
 * Does mpath_device_set_access_state(), mpath_enable_device() with
 * MPATH_DISABLE_NOT_READY, and mpath_device_set_live(). A driver that learns the
 * access state later calls these three where it does.
 *
 * Return: as mpath_device_set_live(). On an error the path is still on its head:
 * the driver takes it away with mpath_remove_device().
 *
 * Context: as mpath_device_set_live().
 */
static inline int mpath_start_device(struct mpath_device *dev,
				     enum mpath_access_state state)
{
	mpath_device_set_access_state(dev, state);
	mpath_enable_device(dev, MPATH_DISABLE_NOT_READY);
	return mpath_device_set_live(dev);
}

/**
 * mpath_clear_current_path() - have a path's head look at its paths again
 * @dev: a path that has been added to a head
 *
 * The head finds out anew which of its paths are usable before it chooses one
 * again. Each change of a path or a port that the driver tells has that effect
 * as well.
 *
 * Return: whether the library could have chosen @dev until now.
 *
 * Context: any.
 */
bool mpath_clear_current_path(struct mpath_device *dev);

/**
 * mpath_clear_paths() - have a head look at its paths again
 * @head: the head
 *
 * See mpath_clear_current_path().
 *
 * Context: any.
 */
void mpath_clear_paths(struct mpath_head *head);

/**
 * mpath_revalidate_paths() - say that the capacity of the head or of a path has
 * been set
 * @head: a head with a disk
 *
 * The library sends no bio to a path whose capacity differs from the head's,
 * until the driver calls this when they are the same. The requeue worker
 * submits parked bios again.
 *
 * Context: process, may sleep.
 */
void mpath_revalidate_paths(struct mpath_head *head);

/**
 * mpath_catch_up() - let a CPU learn of the requests that others have in flight
 * @dev: a path; on a head
 * @counted: a request of the CPU, which has ended
 *
 * For mpath_request_done(), which calls it for the first request of a CPU that
 * ends in a tick, and for drivers that call mpath_request_uncount() instead.
 * Takes no lock.
 *
 * Context: any.
 */
void mpath_catch_up(struct mpath_device *dev, u16 counted);

/*
 * The token of a request that nobody counted; else it is the request's CPU and
 * one
 */
#define MPATH_NOT_COUNTED	0
static_assert(CONFIG_NR_CPUS < U16_MAX);

/**
 * mpath_request_start() - count a request as in flight
 * @dev: the path that it was sent to; on a head
 *
 * For a driver whose heads may follow the queue-depth policy, which chooses the
 * path whose port has the fewest requests in flight. The driver calls it for
 * each request, or for each while mpath_iopolicy_is_qd(). It counts on the CPU
 * that calls it. Best is the CPU on which the library chose the path. A CPU
 * knows its own requests exactly, and those of others as of a few ticks ago.
 *
 * Return: a token, never MPATH_NOT_COUNTED, that the driver keeps with the
 * request and gives to mpath_request_done().
 *
 * Context: any.
 */
static inline u16 mpath_request_start(struct mpath_device *dev)
{
	unsigned int cpu = raw_smp_processor_id();

	atomic_inc(&per_cpu_ptr(dev->cpus, cpu)->active);
	return cpu + 1;
}

/**
 * mpath_request_uncount() - say that a request has ended, and do not catch up
 * @dev: the path that it was sent to
 * @counted: the token of mpath_request_start(), not MPATH_NOT_COUNTED
 *
 * mpath_request_done() without its call, for a driver that saves no registers
 * where there is no call.
 *
 * Return: whether the caller has to call mpath_catch_up().
 *
 * Context: any.
 */
static inline bool mpath_request_uncount(struct mpath_device *dev, u16 counted)
{
	unsigned int cpu = counted - 1;
	struct mpath_cursor *cursor = per_cpu_ptr(dev->cursors, cpu);

	atomic_dec(&per_cpu_ptr(dev->cpus, cpu)->active);
	WRITE_ONCE(cursor->done, READ_ONCE(dev->index));
	return READ_ONCE(cursor->tick) != (unsigned int)jiffies;
}

/**
 * mpath_request_done() - say that a request has ended
 * @dev: the path that it was sent to; its head is still there
 * @counted: the token of mpath_request_start(), once. With MPATH_NOT_COUNTED
 *	nothing happens, so a driver need not remember whether it has counted a
 *	request
 *
 * On any CPU. The queue-depth policy looks at this path first when it chooses on
 * the CPU on which the request began. Where requests end on another CPU than
 * they began on, these two CPUs write the same cache line.
 *
 * Context: any.
 */
static inline void mpath_request_done(struct mpath_device *dev, u16 counted)
{
	if (counted == MPATH_NOT_COUNTED)
		return;
	if (unlikely(mpath_request_uncount(dev, counted)))
		mpath_catch_up(dev, counted);
}

/**
 * mpath_path_error() - may a path be to blame for this status?
 * @status: the status with which a bio or a request has ended below the path
 *
 * For drivers whose paths pass bios on to other devices. A path is not to blame
 * for a status that another path would give as well, or that the submitter has
 * asked for. The driver ends such a bio with it.
 *
 * Return: whether mpath_failover() may help.
 *
 * Context: any.
 */
static inline bool mpath_path_error(blk_status_t status)
{
	switch (status) {
	case BLK_STS_TRANSPORT:
	case BLK_STS_TIMEOUT:
	case BLK_STS_OFFLINE:
	case BLK_STS_IOERR:
	case BLK_STS_RESOURCE:
	case BLK_STS_DEV_RESOURCE:
		return true;
	default:
		return false;
	}
}

/* Paths that take bios */

/**
 * mpath_clone_bio() - clone a bio of a path
 * @bdev: where the clone is to go: the path's own disk, or a lower device
 * @bio: the bio, which stays as it is
 * @gfp: as for bio_alloc_clone()
 * @bs: as for bio_alloc_clone()
 *
 * bio_alloc_clone() without REQ_MPATH: the driver of a lower device uses the same
 * bit for something else. A path that works on a clone can give the bio back as
 * it came, however much of the clone has been carried out.
 *
 * Return: the clone, or NULL without memory. It is never NULL when @gfp may
 * sleep and @bs has a mempool.
 *
 * Context: as bio_alloc_clone().
 */
static inline struct bio *mpath_clone_bio(struct block_device *bdev,
					  struct bio *bio, gfp_t gfp,
					  struct bio_set *bs)
{
	struct bio *clone = bio_alloc_clone(bdev, bio, gfp, bs);

	if (clone)
		clone->bi_opf &= ~REQ_MPATH;
	return clone;
}

/**
 * mpath_enter_device() - keep a path's disk until a bio has ended
 * @dev: the path
 *
 * For a driver whose paths take bios, and end them after ->submit_bio() has
 * returned. For each call of this, del_gendisk() of the path's disk waits for
 * one of mpath_leave_device(). So the driver frees a path after del_gendisk(),
 * and counts nothing itself. A driver whose paths take requests does not need
 * it: the block layer does the same for each request.
 *
 * Context: ->submit_bio() of the path's disk, or where the caller has entered it.
 */
static inline void mpath_enter_device(struct mpath_device *dev)
{
	percpu_ref_get(&dev->disk->queue->q_usage_counter);
}

/**
 * mpath_leave_device() - say that a bio has ended, or that the driver has given
 * it back
 * @dev: the path, which may go from now on
 *
 * This is the driver's last call for the bio: it touches @dev no more.
 *
 * Context: any.
 */
static inline void mpath_leave_device(struct mpath_device *dev)
{
	percpu_ref_put(&dev->disk->queue->q_usage_counter);
}

/**
 * mpath_failover() - take back bios that failed on a path
 * @dev: the path; on a head with a disk
 * @bios: the bios that the driver gives back, in the order in which they came. The
 *	library takes them out of the list. It stops, with a WARN, at a bio that
 *	this head has not sent to @dev, or that the driver has given back
 *	before. This bio and the ones behind it stay in the list
 *
 * A driver that works on clones gives the bio back as it came, so that another path
 * carries out the whole of it. A driver whose paths take requests calls
 * mpath_failover_request() instead. A driver may also advance a bio over the
 * bytes that the path has carried out, and give it back: then another path
 * carries out the rest.
 *
 * The library parks the bios, in order, and submits them again from another
 * context, without REQ_NOWAIT and REQ_POLLED. Their status is clean, but for
 * the error of a part that was split off and has ended. A bio with
 * BLK_STS_AGAIN ends with it. One that has failed too often ends with its last
 * error, see struct mpath_head_template.max_failovers.
 *
 * An error costs its retry. The library uses the path as before, in its access
 * class, but it watches how bios end there until one succeeds. When six watched
 * bios have failed with no success between them, the library leaves the path
 * alone. The first pause takes 1 ms, each further one twice as long, 100 ms at
 * most. After each pause one bio tries the path. The functions
 * mpath_device_set_access_state(), mpath_enable_device() and
 * mpath_device_set_live() say that the driver has looked at the path, and the
 * library trusts it again.
 *
 * Context: any, hard interrupt included.
 */
void mpath_failover(struct mpath_device *dev, struct bio_list *bios);

/**
 * mpath_failover_request() - take back the rest of a request that failed
 * @dev: the path; on a head with a disk
 * @rq: a request with REQ_MPATH, which the driver is about to end
 * @status: the error of @rq; a bio that has failed too often ends with it
 *
 * As mpath_failover() for the bios of @rq. The block layer's own request for a
 * flush has none: it must not end as if the path had carried it out. A request
 * with a bio that this head has not sent to @dev keeps its bios, with a WARN.
 *
 * When a path has carried out a part of @rq, the driver calls blk_update_request()
 * with BLK_STS_OK for that part first. Another path carries out the rest. It
 * carries out the whole again where the head watches how a bio ends, as it does
 * after a failure.
 *
 * The library sees the bios that the driver gives back, and nothing else:
 *
 * - when ->queue_rq() returns an error, the block layer ends the request with it.
 *   So for a reason of the path a driver first calls this function there. It
 *   returns an error afterwards, BLK_STS_TRANSPORT for example: the request has
 *   no bio any more that could see it. Or the driver returns BLK_STS_OK, and
 *   the request ends like any other. With BLK_STS_RESOURCE or
 *   BLK_STS_DEV_RESOURCE the request stays on the path;
 * - ->timeout() takes the request from the device and has it end so, too. A write
 *   that the storage may still carry out needs a fence;
 * - a request that blk_mq_requeue_request() puts back stays on the path. Its count
 *   ends with mpath_request_done(), and begins anew when it is sent again;
 * - a request that fails goes to no batch: blk_mq_add_to_batch() refuses it when it
 *   is told of the error, and the driver ends it alone. The others of the batch end
 *   as usual.
 *
 * Return: the status with which the driver ends @rq. BLK_STS_OK when the
 * library has taken the bios back, BLK_STS_TRANSPORT when @rq had none or keeps
 * them. The library sends a bio again that asked for a flush and ended so.
 *
 * Context: any, hard interrupt included.
 */
blk_status_t mpath_failover_request(struct mpath_device *dev,
				    struct request *rq, blk_status_t status);

/* Fences */

/**
 * DOC: Fences
 *
 * The storage may carry out a command without an answer long after the driver
 * has given its path up, and overwrite data that came through another path
 * since. So a fence holds its bio until the driver knows that this cannot
 * happen any more.
 *
 * A fence is for one association of a controller and its host. The driver
 * allocates it before it sends the first command. It says with
 * mpath_fence_start() or mpath_fence_open() that the association is over, and
 * drops the fence. The next association has a fence of its own. A fence opens
 * once, and stays open. The library frees it when the last user has dropped it
 * and it holds nothing.
 *
 * A held bio is in flight for its submitter. The library neither sends nor
 * fails it before the fence opens, even when the path, its port, or the head
 * goes meanwhile. Then it goes on like any bio that has failed over, and fails
 * if the head has no path to wait for. It keeps the head's disk open as long,
 * and with it the module that is the owner of the disk's operations.
 */
struct mpath_fence;

/**
 * MPATH_FENCE_LIMIT_SECS - the seconds that a driver may take to end an
 * association
 *
 * A fence that holds a bio, and of which the driver says nothing, opens by
 * itself after this time, with a line in the log. No fence stays closed longer
 * than this and the time that mpath_fence_start() gets.
 */
#define MPATH_FENCE_LIMIT_SECS	180

/**
 * mpath_fence_alloc() - allocate a fence for a new association
 *
 * Return: the fence, of which the caller is a user, or NULL without memory.
 *
 * Context: process, may sleep.
 */
struct mpath_fence *mpath_fence_alloc(void);

/**
 * mpath_fence_get() - become one more user of a fence
 * @fence: a fence of which the caller is a user, or NULL
 *
 * Context: any.
 */
void mpath_fence_get(struct mpath_fence *fence);

/**
 * mpath_fence_put() - stop using a fence
 * @fence: a fence of which the caller is a user, or NULL. The caller does not
 *	use it any more
 *
 * The fence keeps the bios that it holds. A fence that the driver has not
 * started then opens after MPATH_FENCE_LIMIT_SECS.
 *
 * Context: any.
 */
void mpath_fence_put(struct mpath_fence *fence);

/**
 * mpath_fence_start() - say that an association is over, and when its fence
 * opens
 * @fence: a fence of which the caller is a user, or NULL
 * @msecs: the ms after which the storage carries out nothing of the
 *	association; 0 is now
 *
 * The fence opens then. Of several times the earliest counts.
 *
 * Context: any.
 */
void mpath_fence_start(struct mpath_fence *fence, unsigned int msecs);

/**
 * mpath_fence_open() - say that the storage carries out nothing of an
 * association any more
 * @fence: a fence of which the caller is a user, or NULL
 *
 * For a driver that has a proof, for example a controller that was reset. The
 * fence lets its bios go, from another context.
 *
 * Context: any.
 */
void mpath_fence_open(struct mpath_fence *fence);

/**
 * mpath_fence_held() - the number of bios that a fence holds
 * @fence: a fence of which the caller is a user, or NULL
 *
 * Return: the number at this moment.
 *
 * Context: any.
 */
unsigned int mpath_fence_held(struct mpath_fence *fence);

/**
 * mpath_fence_msecs_left() - the time until a fence opens
 * @fence: a fence of which the caller is a user, or NULL
 *
 * Return: the time in ms; 0 when it is open, UINT_MAX when it holds nothing and
 * the driver has not started it.
 *
 * Context: any.
 */
unsigned int mpath_fence_msecs_left(struct mpath_fence *fence);

/**
 * mpath_failover_fenced() - take back bios that the storage may still carry out
 * @dev: the path; on a head with a disk
 * @bios: as for mpath_failover()
 * @fence: that of the association that was to carry them out, or NULL
 *
 * As mpath_failover(), but @fence holds bios that change stored data until it
 * opens. Reads, and bios that only ask for a flush, go on at once. So do all
 * bios when @fence is NULL or open. For a bio that the driver never sent, and
 * for one that the storage has answered, mpath_failover() is right.
 *
 * Context: any, hard interrupt included.
 */
void mpath_failover_fenced(struct mpath_device *dev, struct bio_list *bios,
			   struct mpath_fence *fence);

/**
 * mpath_failover_request_fenced() - the same for a request
 * @dev: as for mpath_failover_request()
 * @rq: as for mpath_failover_request()
 * @status: as for mpath_failover_request()
 * @fence: that of the association that was to carry it out, or NULL
 *
 * Return: as mpath_failover_request().
 *
 * Context: any, hard interrupt included.
 */
blk_status_t mpath_failover_request_fenced(struct mpath_device *dev,
					   struct request *rq,
					   blk_status_t status,
					   struct mpath_fence *fence);

/**
 * mpath_bio_failovers() - the number of failovers of a bio
 * @bio: a bio of a path that has not ended
 *
 * Return: how often the library has taken the bio back from a path, as far as
 * there was memory to count.
 *
 * Context: any.
 */
unsigned int mpath_bio_failovers(const struct bio *bio);

/**
 * mpath_call_for_device() - do something on a path of the head
 * @head: the head
 * @cb: called with the path to which the library would send a bio, in a
 *	read-side section
 * @data: for @cb
 *
 * Return: the value of @cb, or -EWOULDBLOCK when no path is usable.
 *
 * Context: process, may sleep if @cb does.
 */
int mpath_call_for_device(struct mpath_head *head,
			  int (*cb)(struct mpath_device *dev, void *data),
			  void *data);

/**
 * mpath_call_for_all_devices() - do something on every path of the head
 * @head: the head
 * @cb: called with each path in a read-side section, whether the path can carry I/O
 *	or not; stops when it returns something else than 0
 * @data: for @cb
 *
 * For state that the storage keeps for each path apart, as SCSI does with
 * reservation keys.
 *
 * Return: the last value of @cb, 0 when there is no path.
 *
 * Context: process, may sleep if @cb does.
 */
int mpath_call_for_all_devices(struct mpath_head *head,
			       int (*cb)(struct mpath_device *dev, void *data),
			       void *data);

/* Character device */

/**
 * mpath_cdev_ioctl() - the ioctl operation of a head's character device
 * @head: the head
 * @open_for_write: was the file opened for writing?
 * @cmd: the command
 * @arg: its argument
 *
 * Return: the driver's value, -EWOULDBLOCK when no path is usable, or -ENOTTY
 * when the driver has no cdev_ioctl.
 *
 * Context: process, may sleep.
 */
int mpath_cdev_ioctl(struct mpath_head *head, bool open_for_write,
		     unsigned int cmd, unsigned long arg);

/**
 * mpath_cdev_uring_cmd() - the uring_cmd operation of a character device
 * @head: a head with a disk, as in mpath_head_template.add_cdev
 * @ioucmd: the command
 * @issue_flags: how it was issued
 *
 * Return: the driver's value, -EINVAL when no path is usable, or -EOPNOTSUPP
 * when the driver has no cdev_uring_cmd.
 *
 * Context: process.
 */
int mpath_cdev_uring_cmd(struct mpath_head *head, struct io_uring_cmd *ioucmd,
			 unsigned int issue_flags);

/* Block device operations of a head's disk, for MPATH_BDEV_OPS() */

void mpath_bdev_submit_bio(struct bio *bio);
int mpath_bdev_open(struct gendisk *disk, blk_mode_t mode);
void mpath_bdev_release(struct gendisk *disk);
int mpath_bdev_ioctl(struct block_device *bdev, blk_mode_t mode,
		     unsigned int cmd, unsigned long arg);
int mpath_bdev_compat_ioctl(struct block_device *bdev, blk_mode_t mode,
			    unsigned int cmd, unsigned long arg);
int mpath_bdev_get_unique_id(struct gendisk *disk, u8 id[16],
			     enum blk_unique_id type);
int mpath_bdev_report_zones(struct gendisk *disk, sector_t sector,
			    unsigned int nr_zones,
			    struct blk_report_zones_args *args);

/**
 * mpath_bdev_getgeo() - ask a path for the geometry
 * @disk: the disk of a head
 * @geo: where to put it
 *
 * Return: the value of the path's own operation, -EWOULDBLOCK when no path is
 * usable, or -ENOTTY when the path has no such operation.
 *
 * Context: process.
 */
int mpath_bdev_getgeo(struct gendisk *disk, struct hd_geometry *geo);

/**
 * MPATH_BDEV_OPS() - initialiser for the operations of a head's disk
 * @module: the driver's THIS_MODULE, which an open disk keeps in memory
 *
 * A driver that wants persistent reservations forwarded sets ``pr_ops`` to
 * &mpath_pr_ops. Not every protocol allows this: a reservation that a user
 * makes through one path must hold for all of them. A driver whose disks have a
 * geometry sets ``getgeo`` to a function of its own where that needs no path,
 * else to mpath_bdev_getgeo().
 */
#define MPATH_BDEV_OPS(module)						\
	.owner		= (module),					\
	.submit_bio	= mpath_bdev_submit_bio,			\
	.open		= mpath_bdev_open,				\
	.release	= mpath_bdev_release,				\
	.ioctl		= mpath_bdev_ioctl,				\
	.compat_ioctl	= mpath_bdev_compat_ioctl,			\
	.get_unique_id	= mpath_bdev_get_unique_id,			\
	.report_zones	= IS_ENABLED(CONFIG_BLK_DEV_ZONED) ?		\
			  mpath_bdev_report_zones : NULL

/**
 * var mpath_pr_ops - persistent reservations, forwarded to a path
 *
 * A reservation goes to the path to which the library would send a bio now.
 */
extern const struct pr_ops mpath_pr_ops;

/* sysfs */

/**
 * var mpath_attr_group - the directory "multipath" of a head's disk
 *
 * Holds a link to each path. Only disks with the operations of a head show it,
 * so a driver may use one list of groups for heads and paths.
 */
extern const struct attribute_group mpath_attr_group;

/**
 * var mpath_head_attr_group - the attributes that users of a head expect
 *
 * "iopolicy" and "delayed_removal_secs", in the directory of the head's disk, for
 * mpath_head_template.disk_groups. Optional: for drivers that have no place of their
 * own for these. "iopolicy" is the policy of all heads that share one; a write
 * changes it for all of them. A write to "delayed_removal_secs" fails with
 * -EOPNOTSUPP when the template has no remove_head. Only disks with the
 * operations of a head show these.
 */
extern const struct attribute_group mpath_head_attr_group;

/**
 * mpath_add_sysfs_links() - link all paths that have no link yet
 * @head: the head
 *
 * Does nothing before the head's disk has been added. Leaves paths out whose
 * disk has not been added.
 *
 * Context: process, may sleep. Not inside a read-side section of the head.
 */
void mpath_add_sysfs_links(struct mpath_head *head);

/**
 * mpath_remove_sysfs_link() - remove a path's link
 * @dev: the path, before its disk is removed
 *
 * Context: process, may sleep. Not inside a read-side section of the head.
 */
void mpath_remove_sysfs_link(struct mpath_device *dev);

/**
 * mpath_numa_nodes_show() - print the nodes whose I/O goes through a path
 * @dev: a path
 * @buf: one page
 *
 * Return: bytes written: a node list and a newline, or nothing when the policy
 * is not numa.
 *
 * Context: process, may sleep.
 */
ssize_t mpath_numa_nodes_show(struct mpath_device *dev, char *buf);

/**
 * mpath_delayed_removal_secs_show() - print the removal delay of a head
 * @head: the head
 * @buf: one page
 *
 * Return: bytes written: seconds and a newline.
 *
 * Context: process, may sleep.
 */
ssize_t mpath_delayed_removal_secs_show(struct mpath_head *head, char *buf);

/**
 * mpath_delayed_removal_secs_store() - set the removal delay of a head
 * @head: the head
 * @buf: seconds, 0 to 4294967295; 0 means at once
 * @count: length of @buf
 *
 * With a delay, a head that has lost its last path stays for that time, and
 * bios wait for a path to come back. An armed removal starts anew with the new
 * delay; with 0 it happens now.
 *
 * Return: @count, -EINVAL when @buf is no number, -ERANGE when it is too large, or
 * -EOPNOTSUPP when the template has no remove_head.
 *
 * Context: process, may sleep.
 */
ssize_t mpath_delayed_removal_secs_store(struct mpath_head *head,
					 const char *buf, size_t count);

/**
 * mpath_requeue_count() - how often the library parked a bio for want of a
 * usable path
 * @head: the head
 *
 * Return: the counter, which the driver may read and set atomically.
 *
 * Context: any.
 */
atomic_long_t *mpath_requeue_count(struct mpath_head *head);

/**
 * mpath_fail_count() - how often a bio failed for want of an available path
 * @head: the head
 *
 * Return: the counter, which the driver may read and set atomically.
 *
 * Context: any.
 */
atomic_long_t *mpath_fail_count(struct mpath_head *head);

/**
 * mpath_gendisk_to_head() - the head of a head's disk
 * @disk: is_mpath_disk()
 *
 * Return: the head; no reference is taken.
 *
 * Context: any.
 */
static inline struct mpath_head *mpath_gendisk_to_head(struct gendisk *disk)
{
	return disk->private_data;
}

/**
 * is_mpath_disk() - is this disk a head's?
 * @disk: any disk
 *
 * Return: whether its operations are those of MPATH_BDEV_OPS().
 *
 * Context: any.
 */
static inline bool is_mpath_disk(const struct gendisk *disk)
{
	return disk->fops->submit_bio == mpath_bdev_submit_bio;
}

#endif /* _LINUX_MULTIPATH_H */
