// SPDX-License-Identifier: GPL-2.0
/*
 * A plugin of QEMU's TCG, -plugin barriers.so[,out=FILE]. It executes a full
 * barrier of the host at each of the guest's.
 *
 * QEMU emits a guest's barriers only when the guest's CPUs run at the same time
 * (tcg_gen_mb() in QEMU 7.2, whose locked instructions are plain ones then, too).
 * One CPU, or CPUs that take turns, see their own stores in order. But QEMU's
 * devices run in another thread. A driver stores an index, and then loads the
 * index at which the device wants to be told. Without a barrier between the two,
 * the device may sleep on while its queue fills.
 *
 * Only a store and a later load change places on an x86 host. So the plugin knows
 * the instructions of an x86 guest that keep these in order: mfence, locked
 * accesses and xchg. It does not know any other guest's, and refuses it. At the
 * end of QEMU it writes to FILE how many of them the guest has executed.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "qemu_plugin.h"
#include "x86.h"

QEMU_PLUGIN_EXPORT int qemu_plugin_version = 1;

static const char *out;
static uint64_t executed;

static void execute_barrier(void)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	/* The CPUs of a guest that needs this plugin run in one thread */
	executed++;
}

static void at_barrier(unsigned int cpu, void *data)
{
	execute_barrier();
}

static void after_store(unsigned int cpu, uint32_t info, uint64_t address, void *data)
{
	/* Old QEMUs tell of loads, too, even when asked for stores only */
	if (qemu_plugin_mem_is_store(info))
		execute_barrier();
}

static void translated(uint64_t id, struct qemu_plugin_tb *tb)
{
	size_t i, size = qemu_plugin_tb_n_insns(tb);

	for (i = 0; i < size; i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
		const unsigned char *code = qemu_plugin_insn_data(insn);
		enum x86_order order = x86_order_of(code, qemu_plugin_insn_size(insn));

		/* A locked access orders its own store, too, so that the barrier comes after it */
		if (order == X86_FENCE)
			qemu_plugin_register_vcpu_insn_exec_cb(insn, at_barrier,
				QEMU_PLUGIN_CB_NO_REGS, NULL);
		else if (order != X86_NONE)
			qemu_plugin_register_vcpu_mem_cb(insn, after_store,
				QEMU_PLUGIN_CB_NO_REGS, QEMU_PLUGIN_MEM_W, NULL);
	}
}

static void write_count(uint64_t id, void *data)
{
	FILE *file = fopen(out, "w");

	if (!file || fprintf(file, "%llu\n", (unsigned long long)executed) < 0 ||
	    fclose(file)) {
		fprintf(stderr, "barriers.so: cannot write %s\n", out);
		exit(1);
	}
}

QEMU_PLUGIN_EXPORT
int qemu_plugin_install(uint64_t id, const struct qemu_info_t *info, int argc,
			char **argv)
{
	if (strcmp(info->target_name, "x86_64"))
		return -1;
	if (argc > 1 || (argc && strncmp(argv[0], "out=", 4)))
		return -1;
	if (argc) {
		out = strdup(argv[0] + 4);
		qemu_plugin_register_atexit_cb(id, write_count, NULL);
	}
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	return 0;
}
