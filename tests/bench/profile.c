// SPDX-License-Identifier: GPL-2.0
/*
 * A plugin of QEMU's TCG, -plugin profile.so,out=FILE. It counts the instructions
 * that the guest executes between two marks (marks.h). The n-th pair of marks
 * leaves FILE.n, with two kinds of lines:
 *
 *	i <address> <times> <class>	an instruction
 *	s <address> <line> <times>	an instruction that stored to a cache
 *					line more than 64 times
 *
 * The class is b for a full barrier, a for any other atomic read-modify-write, -
 * for the rest.
 *
 * The plugin counts a block of instructions when the guest enters it. With icount
 * QEMU emulates only one CPU at a time, so nothing here is locked.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../qemu/qemu_plugin.h"
#include "../qemu/x86.h"
#include "marks.h"
#include "plugin.h"

#define LINE_BYTES	64
#define STORES		(1 << 18)
#define FEW_STORES	64
#define KERNEL		0xffff800000000000ULL

struct insn {
	uint64_t address;
	char class;
};

struct block {
	struct block *next;
	uint64_t count;
	uint64_t before;
	size_t size;
	struct insn insns[];
};

struct store {
	uint64_t address;
	uint64_t line;
	uint64_t count;
};

QEMU_PLUGIN_EXPORT int qemu_plugin_version = 1;

static const char *out;
static unsigned int marked;
static bool counting;
static struct block *blocks;
static struct store stores[STORES];

static char class_of(const unsigned char *code, size_t size)
{
	switch (x86_order_of(code, size)) {
	case X86_FENCE:
	case X86_LOCKED_STACK:
		return 'b';
	case X86_LOCKED:
		return 'a';
	default:
		return '-';
	}
}

static void begin(unsigned int cpu, void *data)
{
	struct block *block;

	for (block = blocks; block; block = block->next)
		block->before = block->count;
	memset(stores, 0, sizeof(stores));
	counting = true;
}

static void write_block(FILE *file, const struct block *block)
{
	uint64_t count = block->count - block->before;
	size_t i;

	for (i = 0; count && i < block->size; i++)
		fprintf(file, "i %llx %llu %c\n",
			(unsigned long long)block->insns[i].address,
			(unsigned long long)count, block->insns[i].class);
}

static void end(unsigned int cpu, void *data)
{
	struct block *block;
	char name[4096];
	FILE *file;
	size_t i;

	if (!counting)
		return;
	counting = false;
	snprintf(name, sizeof(name), "%s.%u", out, ++marked);
	file = fopen(name, "w");
	if (!file)
		fail("cannot write what was counted");
	for (block = blocks; block; block = block->next)
		write_block(file, block);
	for (i = 0; i < STORES; i++) {
		if (stores[i].count > FEW_STORES)
			fprintf(file, "s %llx %llx %llu\n",
				(unsigned long long)stores[i].address,
				(unsigned long long)stores[i].line,
				(unsigned long long)stores[i].count);
	}
	if (fclose(file))
		fail("cannot write what was counted");
}

static void note_store(unsigned int cpu, uint32_t info, uint64_t where, void *data)
{
	uint64_t line = where / LINE_BYTES * LINE_BYTES;
	uint64_t address = (uintptr_t)data;
	size_t i, tries;

	/* Old QEMUs tell of loads, too, even when asked for stores only */
	if (!counting || !qemu_plugin_mem_is_store(info))
		return;
	i = (line / LINE_BYTES * 31 + address) * 0x9e3779b97f4a7c15ULL >> 46;
	for (tries = 0; tries < STORES; tries++, i = (i + 1) % STORES) {
		if (stores[i].count && (stores[i].address != address ||
					stores[i].line != line))
			continue;
		stores[i].address = address;
		stores[i].line = line;
		stores[i].count++;
		return;
	}
	fail("too many lines are stored to between two marks");
}

static void translated(uint64_t id, struct qemu_plugin_tb *tb)
{
	size_t i, size = qemu_plugin_tb_n_insns(tb);
	struct block *block;

	block = calloc(1, sizeof(*block) + size * sizeof(block->insns[0]));
	if (!block)
		fail("out of memory");
	block->size = size;
	for (i = 0; i < size; i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
		const unsigned char *code = qemu_plugin_insn_data(insn);
		size_t bytes = qemu_plugin_insn_size(insn);

		block->insns[i].address = qemu_plugin_insn_vaddr(insn);
		block->insns[i].class = class_of(code, bytes);
		call_at(insn, BENCH_BEGIN, begin, BENCH_END, end);
		if (block->insns[i].address >= KERNEL)
			qemu_plugin_register_vcpu_mem_cb(insn, note_store,
				QEMU_PLUGIN_CB_NO_REGS, QEMU_PLUGIN_MEM_W,
				(void *)(uintptr_t)block->insns[i].address);
	}
	/* Blocks of user space are not counted */
	if (!size || block->insns[0].address < KERNEL) {
		free(block);
		return;
	}
	block->next = blocks;
	blocks = block;
	qemu_plugin_register_vcpu_tb_exec_inline(tb, QEMU_PLUGIN_INLINE_ADD_U64,
						 &block->count, 1);
}

QEMU_PLUGIN_EXPORT
int qemu_plugin_install(uint64_t id, const struct qemu_info_t *info, int argc,
			char **argv)
{
	out = out_of(argc, argv);
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	return 0;
}
