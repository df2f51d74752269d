/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The marks that the plugins look for: instructions that do nothing, with
 * operands that no compiler makes. The plugin profile.c counts from BENCH_BEGIN
 * to BENCH_END. The plugin longest.c keeps the blocks that the guest executed
 * from BENCH_SUBMIT to BENCH_LONGEST.
 */
#ifndef _BENCH_MARKS_H
#define _BENCH_MARKS_H

#define BENCH_BEGIN	0x6d706201
#define BENCH_END	0x6d706202
#define BENCH_SUBMIT	0x6d706203
#define BENCH_LONGEST	0x6d706204

/* nopl mark(%rax) */
#define BENCH_MARK(mark) \
	({ asm volatile(".byte 0x0f, 0x1f, 0x80; .long %c0" : : "i"(mark) : "memory"); })

#endif /* _BENCH_MARKS_H */
