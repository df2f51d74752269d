# SPDX-License-Identifier: GPL-2.0
"""The lab counts the instructions that order memory on a bio's way, in object code for arm64."""

import pytest

from lab.suites import acquires

#: The output of objdump for a library without faults.
GOOD = """
libmultipath.ko:\tfile format elf64-littleaarch64

Disassembly of section .text:

0000000000000208 <mpath_bdev_submit_bio>:
     2d8:      \tldxr\tx11, [x8]
     308:      \tldar\tx8, [x8]
     30c:      \tldr\tx10, [x19, #0x48]
     338:      \tldar\tw9, [x9]
     570:      \tcasal\tx11, x10, [x8]
     594:      \tstlxr\tw12, x10, [x8]
     59c:      \tdmb\tish

00000000000006f8 <_R10QueueDepth17choose_of_severalNtNtNtBc_6engine9shortlist6ListedEBc_>:
     738:      \tldr\tx0, [x10]

0000000000000800 <renewed>:
     804:      \tldar\tx0, [x10]
     808:      \tstlr\tx0, [x10]
"""


def test_a_library_without_faults_passes():
    assert acquires.differences(GOOD) == []


@pytest.mark.parametrize("old,new,says", (
    ("ldr\tx10, [x19, #0x48]", "ldar\tx10, [x9]", "3 ldar"),
    ("ldr\tx10, [x19, #0x48]", "ldapr\tx10, [x9]", "1 ldapr"),
    ("ldar\tx8, [x8]", "ldr\tx8, [x8]", "1 ldar"),
    ("ldxr\tx11", "ldaxr\tx11", "1 ldaxr"),
    ("ldxr\tx11, [x8]", "ldaddal\tx11, x11, [x8]", "1 ldaddal"),
    ("ldr\tx0, [x10]", "ldar\tx0, [x10]", "is to have nothing"),
    ("ldr\tx0, [x10]", "dmb\tishld", "1 dmb"),
    ("mpath_bdev_submit_bio", "submit_bio", "0 functions"),
    ("6ListedE", "7CarefulE", "0 functions"),
))
def test_more_or_less_of_it_does_not(old, new, says):
    assert old in GOOD
    (wrong,) = acquires.differences(GOOD.replace(old, new))
    assert says in wrong
