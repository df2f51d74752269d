/* SPDX-License-Identifier: GPL-2.0 */
/* The order that an instruction of a 64-bit x86 CPU gives to memory accesses. */
#ifndef _TESTS_QEMU_X86_H
#define _TESTS_QEMU_X86_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

enum x86_order {
	X86_NONE,
	X86_FENCE,		/* mfence */
	X86_LOCKED_STACK,	/* a locked access to the stack: only a barrier */
	X86_LOCKED,		/* any other locked access, and xchg with memory */
};

static inline bool x86_is_prefix(unsigned char byte)
{
	return (byte & 0xf0) == 0x40 || (byte && strchr("\x26\x2e\x36\x3e\x64\x65"
							"\x66\xf0\xf2\xf3", byte));
}

static inline enum x86_order x86_order_of(const unsigned char *code, size_t size)
{
	bool locked = false;
	size_t i, left;

	for (i = 0; i < size && x86_is_prefix(code[i]); i++)
		locked |= code[i] == 0xf0;
	code += i;
	left = size - i;
	if (left >= 3 && code[0] == 0x0f && code[1] == 0xae && code[2] == 0xf0)
		return X86_FENCE;
	if (left >= 2 && (code[0] == 0x86 || code[0] == 0x87) && code[1] < 0xc0)
		return X86_LOCKED;
	if (!locked)
		return X86_NONE;
	/* ModRM and SIB of (%rsp) and of 8 bits from it */
	if (left >= 3 && (code[1] & 0x87) == 0x04 && code[2] == 0x24)
		return X86_LOCKED_STACK;
	return X86_LOCKED;
}

#endif /* _TESTS_QEMU_X86_H */
