/* SPDX-License-Identifier: GPL-2.0 */
/* The functions that the plugins of this directory share. */
#ifndef _BENCH_PLUGIN_H
#define _BENCH_PLUGIN_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../qemu/qemu_plugin.h"

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

/* Has one of two functions called wherever an instruction is one of two marks */
static void call_at(struct qemu_plugin_insn *insn,
		    uint32_t first,
		    void (*at_first)(unsigned int cpu, void *data),
		    uint32_t second,
		    void (*at_second)(unsigned int cpu, void *data))
{
	uint32_t mark = mark_of(insn);

	if (mark == first || mark == second)
		qemu_plugin_register_vcpu_insn_exec_cb(insn,
			mark == first ? at_first : at_second,
			QEMU_PLUGIN_CB_NO_REGS, NULL);
}

#endif /* _BENCH_PLUGIN_H */
