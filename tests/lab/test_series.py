# SPDX-License-Identifier: GPL-2.0
"""The lab notices when the series takes something away from users who do not want the library."""

import re

import pytest

from lab.checks import prose
from lab.host import paths
from lab.runs import series

BEFORE = {"CONFIG_NVME_CORE": "y", "CONFIG_NVME_MULTIPATH": "y", "CONFIG_RUST": "n"}
AFTER = BEFORE | {"CONFIG_NVME_MULTIPATH_OWN": "y"}
#: The most `#if`s: more of them would make the in-tree files unreadable.
MOST_IFS = 12


def test_an_old_configuration_that_keeps_everything_is_good():
    assert series.differences(BEFORE, AFTER) == ""


@pytest.mark.parametrize("before,after,said", (
    (BEFORE, {option: value for option, value in AFTER.items() if option != "CONFIG_NVME_MULTIPATH"}, "loses"),
    (BEFORE, AFTER | {"CONFIG_NVME_MULTIPATH": "n"}, "loses CONFIG_NVME_MULTIPATH"),
    (BEFORE, AFTER | {"CONFIG_NVME_CORE": "m"}, "loses CONFIG_NVME_CORE"),
    (BEFORE, BEFORE, "does not do NVMe multipath"),
    (BEFORE | {"CONFIG_NVME_MULTIPATH": "n"}, AFTER, "before")))
def test_an_old_configuration_that_loses_something_is_bad(before, after, said):
    assert said in series.differences(before, after)


def test_the_files_of_the_kernel_gain_few_ifs():
    patches = [paths.ROOT / "drivers" / "nvme" / f"{name}.patch" for name in ("prepare", "in-tree")]
    lines = [line for patch in patches for line in patch.read_text().splitlines()]
    ifs = {sign: len([line for line in lines if re.match(rf"\{sign}#\s*(if|elif)", line)]) for sign in "+-"}
    assert ifs["+"] - ifs["-"] <= MOST_IFS


def test_new_entries_are_those_that_the_kernel_does_not_have():
    entries = prose.new_entries()
    assert "nvmeX/fence\n" in entries
    assert "diag/command_retry_count\n" in entries
    assert entries.count("What:") == entries.count("November 2026")
    assert "multipath_failover_count" not in entries
