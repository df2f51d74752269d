# SPDX-License-Identifier: GPL-2.0
"""The end-to-end tests of `ONE_PASS=n make e2e` for which `make test` has time: some of them, others every day.

The library submits bios to paths as to any other disk, as it has to in a kernel without block/lower.patch.
"""

from lab.host import log
from lab.suites import e2e
from lab.suites import rotation
from lab.verdicts.counts import Counts

#: Tests of the steps that such a library does in another way: it submits, takes paths away, waits for queues and dead
#: disks.
IN_TURNS = [
    "data_is_intact_on_two_paths_over_loop",
    "round_robin_is_exactly_fair_over_loop",
    "queue_depth_counts_all_namespaces_of_a_controller_over_loop",
    "the_statistics_of_the_head_are_exact_over_loop",
    "the_remap_trace_shows_the_head_as_the_old_device_over_loop",
    "a_disconnected_path_costs_no_io_over_loop",
    "a_disconnected_path_costs_no_io_over_tcp",
    "a_read_that_is_on_its_way_to_a_path_that_goes_costs_no_io_over_loop",
    "a_read_that_is_on_its_way_to_a_path_that_goes_costs_no_io_over_tcp",
    "io_fails_when_every_path_is_disconnected_over_loop",
    "a_controller_reset_costs_no_io_over_loop",
    "a_controller_unplugged_in_software_costs_no_io",
    "a_namespace_that_goes_fails_its_io_and_comes_back",
    "a_path_that_fails_everything_costs_no_io_and_is_seldom_tried",
    "an_error_of_a_path_is_not_seen_over_loop",
    "a_flush_that_paths_fail_is_done_by_another",
    "a_head_goes_when_its_time_is_over_over_loop",
    "ram_lost_paths_cost_no_io_over_rust",
    "ram_lost_paths_cost_no_io_over_c",
    "ram_a_flush_is_carried_out_by_a_path_over_rust",
    "bad_a_path_that_is_deleted_at_once_is_quiesced",
]
#: How many of them.
SAMPLE = 3


def check() -> Counts:
    """Runs the tests whose day it is."""
    names = rotation.some_of(IN_TURNS, SAMPLE)
    log.info(f"e2e around: {len(names)} end-to-end tests, as DAY={rotation.day()} has them")
    return e2e.run_cases(names, "around", part="check", most=1, in_turns=True)
