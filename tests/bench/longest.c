// SPDX-License-Identifier: GPL-2.0
/*
 * A plugin of QEMU's TCG, -plugin longest.so,out=FILE. It writes down the
 * blocks that the guest executed between the last BENCH_SUBMIT and the last
 * BENCH_LONGEST (marks.h), in their order. A line has the address of a block
 * and how many instructions it has. The second mark says that there was never
 * as much in between; the plugin then writes FILE anew.
 *
 * With icount QEMU emulates only one CPU at a time, so nothing here is locked.
 */
#include "marks.h"
#include "plugin.h"

/* More than a millisecond of single instructions */
#define BLOCKS	(1 << 21)

struct block {
	uint64_t address;
	size_t size;
};

QEMU_PLUGIN_EXPORT int qemu_plugin_version = 1;

static const char *out;
static const struct block *executed[BLOCKS];
static size_t count;

static void submit(unsigned int cpu, void *data)
{
	count = 0;
}

static void longest(unsigned int cpu, void *data)
{
	FILE *file = fopen(out, "w");
	size_t i;

	if (!file)
		fail("cannot write what was executed");
	for (i = 0; i < count; i++)
		fprintf(file, "%llx %zu\n",
			(unsigned long long)executed[i]->address,
			executed[i]->size);
	if (fclose(file))
		fail("cannot write what was executed");
}

static void enter(unsigned int cpu, void *data)
{
	if (count < BLOCKS)
		executed[count++] = data;
}

static void translated(uint64_t id, struct qemu_plugin_tb *tb)
{
	size_t i, size = qemu_plugin_tb_n_insns(tb);
	struct block *block = malloc(sizeof(*block));

	if (!size || !block)
		fail("a block without instructions, or out of memory");
	block->address = qemu_plugin_insn_vaddr(qemu_plugin_tb_get_insn(tb, 0));
	block->size = size;
	for (i = 0; i < size; i++)
		call_at(qemu_plugin_tb_get_insn(tb, i), BENCH_SUBMIT, submit,
			BENCH_LONGEST, longest);
	qemu_plugin_register_vcpu_tb_exec_cb(tb, enter, QEMU_PLUGIN_CB_NO_REGS,
					     block);
}

QEMU_PLUGIN_EXPORT
int qemu_plugin_install(uint64_t id, const struct qemu_info_t *info, int argc,
			char **argv)
{
	out = out_of(argc, argv);
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	return 0;
}
