/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Memory that ends where a page begins that may not be accessed, and calls
 * that come back although they access it.
 */
#ifndef FUZZ_HOST_H
#define FUZZ_HOST_H

#include <stddef.h>

/* The longest piece of memory; two of them can be had at a time in a thread */
#define GUARDED_MAX	65536

/* Zeroed memory whose last byte is the last one before the guard, or NULL */
void *guarded_alloc(size_t size);

/* Nobody may access @memory from now on */
void guarded_free(void *memory);

/* As if there were none */
void guarded_free_all(void);

/* Calls @function, and returns 0, or the signal by which that ended */
int guarded_call(void (*function)(void *), void *argument);

#endif
