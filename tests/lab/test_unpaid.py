# SPDX-License-Identifier: GPL-2.0
"""The comparison of code instruction by instruction, and the choice of that code."""

import pytest

from lab.suites import unpaid

#: The output of objdump for a module: `queue` calls `setup` of the core, and has a pointer to `done`; nobody names
#: `create`.
TRANSPORT = """
nvme.ko:\tfile format elf64-x86-64

Disassembly of section .text:

0000000000000010 <queue>:
      10: \tmovq\t0x8(%rdi), %rax
      14: \tcallq\t0x19 <queue+0x9>
\t\t0000000000000015:  R_X86_64_PLT32\tsetup-0x4
      19: \tmovq\t$0x0, %rsi
\t\t000000000000001c:  R_X86_64_32S\t.text+0x40
      20: \tjmp\t0x30 <finish>
0000000000000030 <finish>:
      30: \tretq
      31: \tnopl\t(%rax)
0000000000000040 <done>:
      40: \tcallq\t0x45 <done+0x5>
\t\t0000000000000041:  R_X86_64_PLT32\t.text+0x5c
0000000000000060 <last>:
      60: \tretq
0000000000000070 <create>:
      70: \tretq
"""


def test_a_function_names_what_it_calls_jumps_to_or_has_a_pointer_to():
    names = unpaid.names_of(TRANSPORT)
    assert names["queue"] >= {"setup", "done", "finish"}
    assert "last" in names["done"]
    assert names["create"] == set()


def test_the_way_of_a_request_is_followed_to_any_depth_and_no_further_than_its_ends():
    module = unpaid.Module(unpaid.functions_of(TRANSPORT), unpaid.names_of(TRANSPORT))
    assert module.reached_from(["queue"]) >= {"queue", "setup", "done", "finish", "last"}
    assert "create" not in module.reached_from(["queue"])
    assert "last" not in module.reached_from(["queue"], ends={"done"})


def body(old="", new=""):
    return unpaid.functions_of(TRANSPORT.replace(old, new) if old else TRANSPORT)


@pytest.mark.parametrize("old,new", (
    ("0x8(%rdi), %rax", "0x10(%rdi), %rax"),
    ("\tjmp\t0x30 <finish>", "\tjmp\t0x38 <finish>"),
    ("nopl\t(%rax)", "int3"),
    ("setup-0x4", "setup+0x0"),
))
def test_where_something_is_may_differ(old, new):
    assert all(unpaid.difference(body()[name], body(old, new)[name]) is None for name in body())


@pytest.mark.parametrize("old,new,function", (
    ("      10: \tmovq", "       c: \ttestb\t$0x1, 0x8(%rdi)\n      10: \tmovq", "queue"),
    ("0x8(%rdi), %rax", "0x8(%rdi), %rcx", "queue"),
    ("0x8(%rdi), %rax", "0x8(%rsi), %rax", "queue"),
    ("setup-0x4", "setup_other-0x4", "queue"),
    ("\tjmp\t0x30 <finish>", "\tjmp\t0x60 <last>", "queue"),
    ("      60: \tretq\n", "", "last"),
))
def test_an_operation_may_not_differ(old, new, function):
    assert unpaid.difference(body()[function], body(old, new)[function])


def test_a_function_that_one_side_lacks_differs():
    assert unpaid.difference(None, ["retq"]) and unpaid.difference(["retq"], None)


UNLIKE = {"nvme-loop.ko: create": (1, "why")}


def test_only_what_is_named_may_differ():
    assert unpaid.excused(["nvme-loop.ko: create: 7 instructions in stock, 8 in ours"], UNLIKE) == []
    other = "nvme-loop.ko: created: 7 instructions in stock, 8 in ours"
    assert other in unpaid.excused([other, "nvme-loop.ko: create: x"], UNLIKE)


@pytest.mark.parametrize("how", ("7 instructions in stock, 9 in ours", "9 instructions in stock, 7 in ours",
                                 "there is none in ours"))
def test_a_function_that_may_differ_may_not_differ_by_more(how):
    line = f"nvme-loop.ko: create: {how}"
    assert unpaid.excused([line], UNLIKE) == [line]


def test_a_function_that_may_differ_and_does_not_is_told():
    assert unpaid.excused([], UNLIKE) == ["nvme-loop.ko: create: may differ, and does not"]
