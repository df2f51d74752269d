# SPDX-License-Identifier: GPL-2.0
"""A kernel's reports against itself, on its console and in its log."""

import pytest

from lab.host.reports import Story
from tests.guest import kernel_log

#: A line of each kind of report that the lab must know, as kernels have printed it.
REPORTS = """
WARNING: block/blk-core.c:123 at submit_bio_noacct+0x1a/0x420, CPU#1: fio/212
BUG: KASAN: slab-use-after-free in mpath_bdev_submit_bio+0x5c/0x200 [libmultipath]
BUG: kernel NULL pointer dereference, address: 0000000000000008
BUG: sleeping function called from invalid context at kernel/locking/mutex.c:591
BUG kmalloc-64 (Tainted: G           O): Freepointer corrupt
INFO: task kworker/0:1:8 blocked for more than 120 seconds.
INFO: trying to register non-static key.
WARNING: possible circular locking dependency detected
WARNING: inconsistent lock state
WARNING: suspicious RCU usage
DEBUG_LOCKS_WARN_ON(1)
UBSAN: array-index-out-of-bounds in drivers/nvme/host/core.c:100:7
ODEBUG: free active (active state 0) object: 000000007d8e1c2f object type: timer_list hint: 0x0
refcount_t: underflow; use-after-free.
list_del corruption. prev->next should be ffff888003a8c0c8, but was dead000000000100.
kmemleak: 3 new suspected memory leaks (see /sys/kernel/debug/kmemleak)
kmemleak: Kernel memory leak detector disabled
Oops: general protection fault, probably for non-canonical address 0xdead000000000108: 0000 [#1] SMP
kernel BUG at block/bio.c:1234!
Kernel panic - not syncing: Fatal exception
rust_kernel: panicked at 'attempt to add with overflow', rust/pure/policy.rs:10:5
Call Trace:
sysfs: cannot create duplicate filename '/devices/virtual/block/mpram0'
""".strip().splitlines()

#: Lines of good runs that look like reports, and are none.
HARMLESS = """
nvme nvme0: creating 2 I/O queues.
nvme nvme0: I/O tag 12 (000c) opcode 0x2 (I/O Cmd) QID 1 timeout, aborting req_op:READ(0) size:4096
block nvme0n1: no usable path - requeuing I/O
rcu: RCU lockdep checking is enabled.
kmemleak: Kernel memory leak detector initialized (mem pool available: 38391)
lab: test a_lost_path_costs_no_io_over_loop
""".strip().splitlines()

WARNING = """
[   12.000001] libmultipath: a path is added that is on a head
[   12.000002] ------------[ cut here ]------------
[   12.000003] WARNING: lib/multipath/x.c:1 at mpath_add_device+0x1/0x2, CPU#0: sh/1
[   12.000004] Call Trace:
[   12.000005] ---[ end trace 0000000000000000 ]---
""".strip().splitlines()


@pytest.mark.parametrize("line", REPORTS)
def test_a_report_is_a_problem(line):
    assert kernel_log.problems([f"[    1.000000] {line}"]) == [f"[    1.000000] {line}"]


@pytest.mark.parametrize("line", HARMLESS)
def test_a_line_that_is_no_report_is_no_problem(line):
    assert kernel_log.problems([f"[    1.000000] {line}"]) == []


def test_a_warning_that_a_test_brings_about_is_no_problem():
    assert kernel_log.problems(WARNING, ("a path is added that is on a head",)) == []


def test_a_warning_that_nobody_expects_is_a_problem():
    assert kernel_log.problems(WARNING)


def test_a_second_warning_is_a_problem_when_one_is_expected():
    assert kernel_log.problems(WARNING + WARNING, ("a path is added that is on a head",))


def test_a_warning_for_another_reason_is_a_problem_twice():
    found = kernel_log.problems(WARNING, ("a path is used that has never been added",))
    assert "the kernel did not warn: a path is used that has never been added" in found
    assert len(found) > 1


def test_a_warning_that_does_not_come_is_a_problem():
    assert kernel_log.problems(HARMLESS, ("a path is added",)) == ["the kernel did not warn: a path is added"]


def test_a_warning_that_is_cut_off_is_a_problem():
    assert kernel_log.problems(WARNING[:3], ("a path is added that is on a head",))


def test_a_report_behind_an_expected_warning_is_a_problem():
    assert kernel_log.problems([*WARNING, "[   13.0] BUG: KASAN: use"], ("a path is added that is on a head",))


def story(tmp_path, text):
    console = tmp_path / "console"
    console.write_text(text)
    return Story(console)


def test_a_report_is_of_the_test_that_ran(tmp_path):
    found = story(tmp_path, "[  1.0] lab: test one\n[  2.0] BUG: KASAN: slab-use-after-free\n[  2.1]  more of it\n"
                            "[  3.0] lab: test two\n[  4.0] nothing\n").reports
    assert [(report.during, len(report.lines)) for report in found] == [("one", 2)]


def test_a_report_before_any_test_is_of_none(tmp_path):
    assert [report.during for report in story(tmp_path, "[  0.5] WARNING: x\n").reports] == [""]


def test_a_report_after_all_tests_is_of_none(tmp_path):
    text = "[  1.0] lab: test one\n[  2.0] lab: test -\n[  3.0] WARNING: x\n"
    assert [report.during for report in story(tmp_path, text).reports] == [""]


def test_a_report_is_of_the_kunit_case_that_ends_after_it(tmp_path):
    text = ("[  1.0]     # Subtest: mpath_select\n[  1.1]     ok 1 good\n[  1.2] BUG: KASAN: use\n"
            "[  1.3]     not ok 2 bad\n[  1.4]     ok 3 other\n")
    assert [report.during for report in story(tmp_path, text).reports] == ["mpath_select: bad"]


def test_a_report_of_a_kunit_case_that_the_kernel_dies_in_is_of_its_suite(tmp_path):
    text = "[  1.0]     # Subtest: mpath_select\n[  1.1]     ok 1 good\n[  1.2] BUG: kernel NULL pointer dereference\n"
    assert [report.during for report in story(tmp_path, text).reports] == ["mpath_select"]


def test_a_leak_is_of_the_test_that_ran_when_it_was_allocated(tmp_path):
    found = story(tmp_path, "[  1.0] lab: test one\n[  5.0] lab: test two\n[  9.0] lab: test three\n")
    jiffies = (2**32 - 300 * 250 + 6 * 250) % 2**32
    text = f"unreferenced object 0x1 (size 8):\n  comm \"fio\", pid 1, jiffies {jiffies}\n"
    assert found.leak(text, 250).during == "two"


def test_a_console_that_is_not_there_has_no_reports(tmp_path):
    assert Story(tmp_path / "none").reports == []
