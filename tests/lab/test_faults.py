# SPDX-License-Identifier: GPL-2.0
"""`make faults` counts each report of a guest, but those of memory refused and of what the block layer itself loses."""

import pytest

from lab.host.reports import Report
from lab.suites import faults


def _lost(*functions) -> list[str]:
    return ["unreferenced object 0xffff888050bdc800 (size 1024):", '  comm "python3", pid 75, jiffies 4295009749',
            "  backtrace (crc fbd5aa8):", *(f"    {function}+0x203/0xb40" for function in functions)]


@pytest.mark.parametrize("lines", [
    _lost("__kmalloc_cache_node_noprof", "blk_mq_alloc_and_init_hctx", "blk_mq_init_allocated_queue"),
    _lost("kvasprintf", "kobject_set_name_vargs", "kobject_add", "blk_mq_register_hctx", "blk_mq_sysfs_register"),
    ["[  1.0] Call Trace:", "[  1.0]  dump_stack_lvl+0x50/0x70", "[  1.0]  warn_alloc+0x1/0x2"],
])
def test_the_kernels_own_is_no_fault(lines):
    assert not faults._counts(Report("", lines))


@pytest.mark.parametrize("lines", [
    _lost("__kmalloc_cache_node_noprof", "mpath_alloc_head"),
    _lost("kmem_cache_alloc_node_noprof", "blk_alloc_queue", "blk_mq_alloc_queue", "__blk_mq_alloc_disk"),
    ["[  1.0] BUG: KASAN: slab-use-after-free in blk_mq_run_hw_queue+0x1/0x2", "[  1.0] Call Trace:",
     "[  1.0]  kasan_report+0x1/0x2", "[  1.0] Allocated by task 1:", "[  1.0]  blk_mq_alloc_and_init_hctx+0x1/0x2"],
    ["[  184.8] BUG mpath_head (Tainted: G          IO       ): Objects remaining on __kmem_cache_shutdown()"],
])
def test_any_other_report_is_a_fault(lines):
    assert faults._counts(Report("", lines))
