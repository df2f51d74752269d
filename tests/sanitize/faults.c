// SPDX-License-Identifier: GPL-2.0
/*
 * Faults that the kernel must not have, made on purpose, once: the silence of a
 * sanitizer that would not notice them proves nothing.
 */
#include <linux/delay.h>
#include <linux/list.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/srcu.h>
#include <linux/timer.h>
#include <linux/workqueue.h>

#include "arithmetic.h"

static char *fault;
module_param(fault, charp, 0);
MODULE_PARM_DESC(fault, "which of the faults is made");

static DEFINE_MUTEX(first);
static DEFINE_MUTEX(second);
static DEFINE_SPINLOCK(spinlock);
DEFINE_STATIC_SRCU(srcu);
static void __rcu *protected;

static void use_after_free(void)
{
	u8 *memory = kmalloc(64, GFP_KERNEL);

	kfree(memory);
	if (memory)
		WRITE_ONCE(memory[8], 1);
}

static void out_of_bounds(void)
{
	u8 *memory = kmalloc(60, GFP_KERNEL);

	OPTIMIZER_HIDE_VAR(memory);
	if (memory)
		WRITE_ONCE(memory[61], 1);
	kfree(memory);
}

static void lock_order(void)
{
	mutex_lock(&first);
	mutex_lock(&second);
	mutex_unlock(&second);
	mutex_unlock(&first);
	mutex_lock(&second);
	mutex_lock(&first);
	mutex_unlock(&first);
	mutex_unlock(&second);
}

/* Waits for readers under a lock that a reader takes: L-43 in general. */
static void srcu_order(void)
{
	int index = srcu_read_lock(&srcu);

	mutex_lock(&first);
	mutex_unlock(&first);
	srcu_read_unlock(&srcu, index);
	mutex_lock(&first);
	synchronize_srcu(&srcu);
	mutex_unlock(&first);
}

static void from_interrupt(struct timer_list *unused)
{
	spin_lock(&spinlock);
	spin_unlock(&spinlock);
}

static DEFINE_TIMER(timer, from_interrupt);

static void lock_context(void)
{
	mod_timer(&timer, jiffies);
	msleep(100);
	timer_shutdown_sync(&timer);
	spin_lock(&spinlock);
	spin_unlock(&spinlock);
}

static void no_section(void)
{
	WARN_ON(rcu_dereference(protected));
}

static void sleep_in_atomic(void)
{
	spin_lock(&spinlock);
	might_sleep();
	spin_unlock(&spinlock);
}

struct object {
	struct timer_list timer;
	struct work_struct work;
	struct rcu_head rcu;
	struct list_head links;
};

static void nothing(struct timer_list *unused)
{
}

static void armed_timer(void)
{
	struct object *object = kzalloc(sizeof(*object), GFP_KERNEL);

	if (!object)
		return;
	timer_setup(&object->timer, nothing, 0);
	mod_timer(&object->timer, jiffies + 100 * HZ);
	kfree(object);
}

static void hold_up(struct work_struct *unused)
{
	msleep(1000);
}

static void queued_work(void)
{
	struct workqueue_struct *queue = alloc_ordered_workqueue("provoke", 0);
	struct object *object = kzalloc(sizeof(*object), GFP_KERNEL);
	static DECLARE_WORK(before, hold_up);

	if (!queue || !object)
		return;
	queue_work(queue, &before);
	INIT_WORK(&object->work, hold_up);
	queue_work(queue, &object->work);
	kfree(object);
	destroy_workqueue(queue);
}

static void forget(struct rcu_head *unused)
{
}

static void rcu_head_twice(void)
{
	static struct rcu_head head;

	call_rcu(&head, forget);
	call_rcu(&head, forget);
	rcu_barrier();
}

static void corrupt_list(void)
{
	LIST_HEAD(list);
	LIST_HEAD(other);
	struct list_head element;

	list_add(&element, &list);
	list.next = &other;
	list_del(&element);
}

/* Two: a register or the stack may still name the last one, and kmemleak believes that it is in use. */
static void lost_memory(void)
{
	for (int i = 0; i < 2; i++) {
		void *memory = kmalloc(512, GFP_KERNEL);

		OPTIMIZER_HIDE_VAR(memory);
	}
}

static void overflow(void)
{
	provoke_overflow(UINT_MAX);
}

static void assertion(void)
{
	provoke_assertion(UINT_MAX);
}

static const struct {
	const char *name;
	void (*make)(void);
} faults[] = {
	{ "use_after_free", use_after_free },
	{ "out_of_bounds", out_of_bounds },
	{ "lock_order", lock_order },
	{ "srcu_order", srcu_order },
	{ "lock_context", lock_context },
	{ "no_section", no_section },
	{ "sleep_in_atomic", sleep_in_atomic },
	{ "armed_timer", armed_timer },
	{ "queued_work", queued_work },
	{ "rcu_head_twice", rcu_head_twice },
	{ "corrupt_list", corrupt_list },
	{ "lost_memory", lost_memory },
	{ "overflow", overflow },
	{ "assertion", assertion },
	{ "none", NULL },
};

static int __init provoke_init(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(faults); i++) {
		if (strcmp(faults[i].name, fault ?: ""))
			continue;
		if (faults[i].make)
			faults[i].make();
		return 0;
	}
	return -EINVAL;
}

static void __exit provoke_exit(void)
{
}

module_init(provoke_init);
module_exit(provoke_exit);
MODULE_DESCRIPTION("Faults, to see whether sanitizers find them");
MODULE_LICENSE("GPL");
