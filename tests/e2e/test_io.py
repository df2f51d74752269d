# SPDX-License-Identifier: GPL-2.0
"""Data through a head, and which paths it takes."""

import errno

from tests.e2e.case import test
from tests.guest import fio
from tests.guest import wait
from tests.guest.skip import Skip
from tests.guest.target import Target

TRANSPORTS = ("loop", "tcp")


@test(over=TRANSPORTS)
def data_is_intact_on_one_path(transport):
    _write_and_verify(transport, paths=1)


@test(over=TRANSPORTS)
def data_is_intact_on_two_paths(transport):
    _write_and_verify(transport, paths=2)


@test(over=TRANSPORTS)
def data_is_intact_on_four_paths(transport):
    _write_and_verify(transport, paths=4)


def _write_and_verify(transport, paths):
    with Target("io", ports=(transport,) * paths) as target:
        target.connect_all()
        with fio.Load(target.head.device) as load:
            load.wait_for_io(target.head, ios=1000)
            assert load.finish().bytes_verified


@test
def every_head_of_a_subsystem_works_by_itself():
    with Target("io", ports=("loop", "tcp"), namespaces=2, mib=128) as target:
        target.connect_all()
        first, second = target.heads()
        with fio.Load(first.device) as one, fio.Load(second.device) as other:
            one.wait_for_io(first)
            other.wait_for_io(second)
            one.finish()
            other.finish()


@test
def the_counters_of_the_head_count_its_io():
    with Target("io", ports=("loop",)) as target:
        target.connect_all()
        with fio.Load(target.head.device) as load:
            load.wait_for_io(target.head)
            report = load.finish()
        # Buffered reads may be among them, as by a program that looks for partitions.
        ios, size = target.head.completed()
        assert ios >= report.ios, f"fio made {report.ios} I/Os, the head counted {ios}"
        assert size >= report.bytes_written + report.bytes_verified


@test
def round_robin_uses_every_path():
    with Target("io", ports=("loop", "loop", "tcp")) as target:
        controllers = target.connect_all()
        set_policy(target.head, "round-robin")
        with fio.Load(target.head.device) as load:
            load.wait_for_carriers(target.head, *controllers)
            load.finish()


@test
def queue_depth_uses_every_path_under_load():
    """Shows L-10."""
    with Target("io", ports=("loop", "tcp")) as target:
        controllers = target.connect_all()
        set_policy(target.head, "queue-depth")
        with fio.Load(target.head.device) as load:
            wait.until(lambda: load.carriers(target.head) == set(controllers), "I/O on both paths")
            load.finish()
        wait.until(lambda: all(path.read("queue_depth") == "0" for path in target.head.paths()),
                   "every queue to be empty again")


@test
def the_policy_changes_under_io():
    """Shows L-10, L-16."""
    with Target("io", ports=("loop", "tcp")) as target:
        target.connect_all()
        set_policy(target.head, "round-robin")
        with fio.Load(target.head.device) as load:
            for policy in ("numa", "queue-depth", "round-robin", "queue-depth", "numa", "round-robin") * 2:
                set_policy(target.head, policy)
                # No node is nearer to one of these paths than to the other.
                used = 1 if policy == "numa" else 2
                wait.until(lambda used=used: len(load.carriers(target.head)) == used,
                           f"I/O to run through as many paths as by {policy}")
            load.finish()


def set_policy(head, policy):
    """Stores a policy, or skips the test where the driver says that it does not have it."""
    try:
        (head.subsystem / "iopolicy").write_text(policy)
    except OSError as refusal:
        if refusal.errno == errno.EINVAL:
            raise Skip(f"the driver has no policy {policy}") from None
        raise
