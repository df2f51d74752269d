// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include "host.h"

#define GUARD		65536
#define PIECES		2

static __thread struct {
	char *memory;
	bool used;
} pieces[PIECES];

static __thread sigjmp_buf escape;
static __thread sig_atomic_t inside;

static char *map(void)
{
	char *memory = mmap(NULL, GUARDED_MAX + GUARD, PROT_NONE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return memory == MAP_FAILED ? NULL : memory;
}

void *guarded_alloc(size_t size)
{
	int i;

	if (size > GUARDED_MAX)
		return NULL;
	for (i = 0; i < PIECES; i++) {
		if (pieces[i].used)
			continue;
		if (!pieces[i].memory)
			pieces[i].memory = map();
		if (!pieces[i].memory)
			return NULL;
		mprotect(pieces[i].memory, GUARDED_MAX, PROT_READ | PROT_WRITE);
		pieces[i].used = true;
		return memset(pieces[i].memory + GUARDED_MAX - size, 0, size);
	}
	return NULL;
}

static void retire(int i)
{
	pieces[i].used = false;
	mprotect(pieces[i].memory, GUARDED_MAX, PROT_NONE);
}

void guarded_free(void *memory)
{
	int i;

	for (i = 0; i < PIECES; i++) {
		char *first = pieces[i].memory;

		if (first && (char *)memory >= first &&
		    (char *)memory <= first + GUARDED_MAX)
			retire(i);
	}
}

void guarded_free_all(void)
{
	int i;

	for (i = 0; i < PIECES; i++) {
		if (pieces[i].used)
			retire(i);
	}
}

static void on_signal(int number)
{
	if (inside)
		siglongjmp(escape, number);
	/* not ours: the fault happens again, and ends the process */
	signal(number, SIG_DFL);
}

__attribute__((constructor)) static void watch(void)
{
	const struct sigaction action = {
		.sa_handler = on_signal,
		.sa_flags = SA_NODEFER | SA_ONSTACK,
	};

	sigaction(SIGSEGV, &action, NULL);
	sigaction(SIGBUS, &action, NULL);
	sigaction(SIGILL, &action, NULL);
	sigaction(SIGTRAP, &action, NULL);
}

int guarded_call(void (*function)(void *), void *argument)
{
	int number = sigsetjmp(escape, 0);

	if (!number) {
		inside = true;
		function(argument);
	}
	inside = false;
	return number;
}
