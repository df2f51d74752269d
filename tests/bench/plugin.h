/* SPDX-License-Identifier: GPL-2.0 */
/* What the plugins of this directory have in common. */
#ifndef _BENCH_PLUGIN_H
#define _BENCH_PLUGIN_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "qemu_plugin.h"

static void fail(const char *what)
{
	fprintf(stderr, "the bench's plugin: %s\n", what);
	exit(1);
}

/* The argument out=FILE, the only one */
static const char *out_of(int argc, char **argv)
{
	if (argc != 1 || strncmp(argv[0], "out=", 4))
		fail("out=FILE is missing");
	return strdup(argv[0] + 4);
}

/* Which of marks.h an instruction is; 0 or anything else if none */
static uint32_t mark_of(const struct qemu_plugin_insn *insn)
{
	const unsigned char *code = qemu_plugin_insn_data(insn);
	uint32_t operand = 0;

	if (qemu_plugin_insn_size(insn) == 7 && !memcmp(code, "\x0f\x1f\x80", 3))
		memcpy(&operand, code + 3, sizeof(operand));
	return operand;
}

#endif /* _BENCH_PLUGIN_H */
