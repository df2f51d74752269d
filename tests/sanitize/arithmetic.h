/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Faults that only Rust's own checks notice: see arithmetic.rs.
 */
#ifndef _SANITIZE_ARITHMETIC_H
#define _SANITIZE_ARITHMETIC_H

void provoke_overflow(unsigned int operand);
void provoke_assertion(unsigned int operand);

#endif /* _SANITIZE_ARITHMETIC_H */
