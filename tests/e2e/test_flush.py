# SPDX-License-Identifier: GPL-2.0
"""Data that a disk reported as stored is stored: flushes, and paths that fail them."""

import os
import time
from contextlib import ExitStack

from tests.e2e.case import test
from tests.e2e.flush import BLOCK
from tests.e2e.flush import DiskFlushes
from tests.e2e.flush import Fsync
from tests.e2e.flush import PathFlushes
from tests.e2e.flush import SyncedWrite
from tests.e2e.flush import Syncer
from tests.e2e.flush import lost
from tests.e2e.proxy import connected
from tests.e2e.test_events import mounted
from tests.e2e.test_events import write_through
from tests.e2e.test_pcie import pcie_head
from tests.guest import head as heads
from tests.guest import passthrough
from tests.guest import pci
from tests.guest import wait
from tests.guest.passthrough import FLUSH
from tests.guest.passthrough import WRITE
from tests.guest.target import Target

TRANSPORTS = ("loop", "tcp")
#: The settings that give a null_blk disk a cache, in MiB, and have every operation take 30 ms. That is so long that a
#: reset of a controller comes upon a flush.
CACHED = {"cache_size": 16}
SLOW = {**CACHED, "irqmode": 2, "completion_nsec": 30_000_000}
#: Errors that blame a path: the controller, the host's side of it, and a command that was given up.
PATH_ERRORS = (0x300, 0x370, 0x371)
RESETS, MANY_RESETS = 24, 200
PCIE_RESETS = 8


@test(over=TRANSPORTS)
def every_fsync_has_its_flush_while_controllers_are_reset(transport):
    """Shows A-1."""
    _fsync_while_controllers_are_reset(transport, RESETS)


@test(over=TRANSPORTS, limit=900, long=True)
def every_fsync_has_its_flush_over_200_resets(transport):
    _fsync_while_controllers_are_reset(transport, MANY_RESETS)


def _fsync_while_controllers_are_reset(transport, resets):
    with Target("flush", ports=(transport,) * 2, disk=SLOW) as target:
        controllers = target.connect_all()
        with DiskFlushes(target.backing_disk()) as flushes, ExitStack() as stack:
            # While the path does one process's flush, the other's waits; both are in a queue that is reset.
            syncers = [stack.enter_context(Syncer(target.head.device, cpu=0)) for _ in range(2)]
            for number in range(resets):
                syncers[0].wait_for_calls()
                heads.reset_controller(controllers[number % 2])
                heads.wait_for_state(controllers[number % 2], "live")
            for syncer in syncers:
                syncer.wait_for_calls()
                syncer.stop()
            flushes.check(sorted(call for syncer in syncers for call in syncer.calls))


@test
def every_fsync_has_its_flush_while_pcie_controllers_are_reset():
    """Shows A-1."""
    with pcie_head() as head:
        _fsync_while_pcie_controllers_are_reset(head)


@test(limit=900, long=True)
def every_fsync_has_its_flush_over_200_pcie_resets():
    with pcie_head() as head:
        # A trace of all that would be too long.
        for _ in range(MANY_RESETS // PCIE_RESETS):
            _fsync_while_pcie_controllers_are_reset(head)


def _fsync_while_pcie_controllers_are_reset(head):
    with PathFlushes() as flushes, Syncer(head.device, cpu=0, writes=False) as syncer:
        for _ in range(PCIE_RESETS):
            controller = wait.until(lambda: _deafened(head, syncer), "a flush that a controller does not hear")
            heads.reset_controller(controller)
            heads.wait_for_state(controller, "live")
        syncer.wait_for_calls()
        syncer.stop()
        flushes.check(syncer.calls)


def _deafened(head, syncer) -> str | None:
    """Deafens the controller that the host tells to flush; returns it, once it has missed that."""
    controller = _carrier(head, syncer)
    pci.deafen(controller)
    calls = len(syncer.calls)
    # After a reset there comes a time at which the policy chooses again the path that was reset.
    wait.until(lambda: pci.has_failed(controller) or len(syncer.calls) > calls + 1, "a flush")
    if not pci.has_failed(controller):
        pci.deafen(controller, False)
    return controller if pci.has_failed(controller) else None


def _carrier(head, syncer) -> str:
    """The controller that the host tells to flush now."""
    before = {path: path.flushed() for path in head.paths()}
    syncer.wait_for_calls()
    return wait.until(lambda: [path.controller for path in before if path.flushed() > before[path]], "a flush")[0]


@test
def a_flush_that_paths_fail_is_done_by_another():
    """Shows A-1."""
    with (Target("flush", ports=("tcp", "tcp"), disk=CACHED) as target, connected(target) as proxies,
          DiskFlushes(target.backing_disk()) as flushes):
        for status in PATH_ERRORS:
            _check_one(flushes, proxies, FLUSH, status, Fsync(target.head.device))


@test
def a_synchronous_write_that_paths_fail_is_stored_by_another():
    # Without FUA, the disk flushes after a write that has to be stored.
    with (Target("flush", ports=("tcp", "tcp"), disk=CACHED | {"fua": 0}) as target, connected(target) as proxies,
          DiskFlushes(target.backing_disk()) as flushes):
        for status in PATH_ERRORS:
            _check_one(flushes, proxies, WRITE, status, SyncedWrite(target.head.device))


def _check_one(flushes, proxies, command, status, process):
    """Has each path fail a command once, while a process does something that needs a flush."""
    for proxy in proxies:
        proxy.refuse(command, status, times=1)
    with process:
        begin = time.monotonic()
        process.start()
        outcome = process.outcome()
        end = time.monotonic()
    assert outcome == process.DONE, f"with {status:#x} it ended with {outcome}"
    assert sum(proxy.refused(command) for proxy in proxies) > 0, "no path has failed a command"
    flushes.check([(begin, end)])


@test
def a_commit_of_a_file_system_that_paths_fail_is_stored_by_another():
    """Shows A-1."""
    with (Target("flush", ports=("tcp", "tcp"), disk=CACHED) as target, connected(target) as proxies,
          DiskFlushes(target.backing_disk()) as flushes):
        # The commits of the file system are writes before which the disk flushes.
        with mounted(target.head.device) as directory:
            for status in PATH_ERRORS:
                for proxy in proxies:
                    proxy.refuse(FLUSH, status, times=1)
                begin = time.monotonic()
                write_through(directory / f"{status:x}", "written\n")
                flushes.check([(begin, time.monotonic())])
                assert any(proxy.refused(FLUSH) for proxy in proxies), "no path has failed a flush"


@test
def a_flush_waits_for_a_path_as_a_write_does():
    """Shows A-1."""
    with (Target("flush", ports=("tcp",), disk=CACHED) as target, connected(target) as (proxy,),
          DiskFlushes(target.backing_disk()) as flushes):
        (path,) = target.head.paths()
        with Fsync(target.head.device) as fsync:
            proxy.refuse(FLUSH, None)
            parked, begin = target.head.parked, time.monotonic()
            fsync.start()
            wait.until(lambda: proxy.refused(FLUSH), "a flush that is not answered")
            proxy.accept(FLUSH)
            target.ports[0].stop()
            heads.wait_for_state(path.controller, "connecting")
            said = wait.until(lambda: fsync.done or target.head.parked > parked and "it waits", "the flush to wait")
            assert said == "it waits", f"fsync() without a path: {said}"
            target.ports[0].start()
            assert fsync.outcome() == fsync.DONE
            flushes.check([(begin, time.monotonic())])


@test(over=TRANSPORTS)
def stored_data_outlives_a_loss_of_power(transport):
    with Target("flush", ports=(transport,) * 2, disk=CACHED) as target:
        controllers = target.connect_all()
        for controller in controllers * 2:
            with Syncer(target.head.device) as syncer:
                syncer.wait_for_calls(5)
                heads.reset_controller(controller)
                heads.wait_for_state(controller, "live")
                syncer.wait_for_calls(5)
            target.lose_power()
            found = lost(syncer, target.head.device)
            assert not found, f"of {len(syncer.stored)} blocks, these have not what was stored: {found}"


@test
def data_stored_by_a_path_that_fails_outlives_a_loss_of_power():
    """Shows A-1."""
    with Target("flush", ports=("tcp", "tcp"), disk=CACHED) as target, connected(target) as proxies:
        for status in PATH_ERRORS:
            block = os.urandom(BLOCK)
            passthrough.write_directly(target.head.device, 0, block)
            for proxy in proxies:
                proxy.refuse(FLUSH, status, times=1)
            with Fsync(target.head.device) as fsync:
                fsync.start()
                assert fsync.outcome() == fsync.DONE
            target.lose_power()
            assert passthrough.read_directly(target.head.device) == block, f"with {status:#x} it was not stored"
