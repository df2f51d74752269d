# SPDX-License-Identifier: GPL-2.0
"""Paths that go away under I/O and come back, or do not."""

import errno
import os
import threading
import time
from pathlib import Path

from tests.e2e.case import test
from tests.guest import fio
from tests.guest import head as heads
from tests.guest import modules
from tests.guest import wait
from tests.guest.reader import Reader
from tests.guest.target import Target

TRANSPORTS = ("loop", "tcp")
#: For how long a test looks whether a removal waits, in seconds.
OBSERVED = 0.3


@test(over=TRANSPORTS)
def a_disconnected_path_costs_no_io(transport):
    with Target("loss", ports=(transport,) * 2) as target:
        target.connect_all()
        head = target.head
        with fio.Load(head.device) as load:
            for _ in range(3):
                (carrier,) = load.carriers(head)
                port = port_of(target, carrier)
                heads.delete_controller(carrier)
                load.wait_for_io(head)
                target.connect(port)
                wait.until(lambda: len(head.paths()) == 2, "the path to be back")
            load.finish()


@test(over=TRANSPORTS)
def a_read_that_is_on_its_way_to_a_path_that_goes_costs_no_io(transport):
    with Target("loss", ports=(transport,) * 2) as target:
        target.ports[1].ana_state = "non-optimized"
        first, _ = target.connect_all()
        with _HeldRead(target.head) as read:
            removal = threading.Thread(target=heads.delete_controller, args=(first,), daemon=True)
            removal.start()
            wait.until(lambda: heads.controller_state(first).startswith("deleting"), "the removal to begin")
            # A library that hands bios to paths in one pass need not wait: the path has the read.
            time.sleep(OBSERVED)
            assert read.outcome() == "data", f"the read ended with {read.outcome()}"
            removal.join()


class _HeldRead:
    """A read for which the head has chosen a path, and that has not come to that path; see tests/hold/."""

    _control = Path("/sys/kernel/debug/hold_bio")

    def __init__(self, head):
        modules.load("hold_bio", disk=head.device)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        wait.until(lambda: (self._control / "held").read_text() == "Y\n", "the read to be held")

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.outcome()
        modules.unload("hold_bio")

    def outcome(self) -> str:
        """Lets the read go on; returns "data" or the name of the error."""
        (self._control / "hold").write_text("N")
        self._thread.join()
        return self._outcome

    def _read(self):
        try:
            (self._control / "read").write_text("1")
            self._outcome = "data"
        except OSError as error:
            self._outcome = errno.errorcode[error.errno]


@test(over=TRANSPORTS)
def a_port_that_closes_costs_no_io(transport):
    with Target("loss", ports=(transport,) * 2) as target:
        target.connect_all()
        head = target.head
        with fio.Load(head.device) as load:
            (carrier,) = load.carriers(head)
            (other,) = {path.controller for path in head.paths()} - {carrier}
            port_of(target, carrier).stop()
            load.wait_for_carriers(head, other)
            load.finish()


@test
def a_path_that_reconnects_is_used_again():
    with Target("loss", ports=("tcp",)) as target:
        (controller,) = target.connect_all()
        with fio.Load(target.head.device) as load:
            for _ in range(2):
                load.wait_for_io(target.head)
                target.ports[0].stop()
                heads.wait_for_state(controller, "connecting")
                target.ports[0].start()
                heads.wait_for_state(controller, "live")
            load.wait_for_io(target.head)
            load.finish()


@test
def io_waits_while_every_path_reconnects():
    with Target("loss", ports=("tcp", "tcp")) as target:
        controllers = target.connect_all()
        head = target.head
        with fio.Load(head.device) as load:
            load.wait_for_io(head)
            for port, controller in zip(target.ports, controllers, strict=True):
                port.stop()
                heads.wait_for_state(controller, "connecting")
            head.wait_for_parking()
            assert load.running, "fio did not wait"
            target.ports[1].start()
            load.wait_for_io(head)
            load.finish()


@test(over=TRANSPORTS)
def io_fails_when_every_path_is_disconnected(transport):
    with Target("loss", ports=(transport,) * 2) as target:
        target.connect_all()
        head = target.head
        with fio.Load(head.device) as load:
            load.wait_for_io(head)
            target.disconnect()
            assert load.failed().errors, "I/O on no path did not fail"
        wait.until(lambda: not os.path.exists(head.device), "the head to go")
    modules.unload()


@test
def parked_io_fails_when_reconnecting_is_given_up():
    """Shows L-19b."""
    with Target("loss", ports=("tcp",)) as target:
        target.connect_all(ctrl_loss_tmo=3)
        head = target.head
        with Reader(head.device) as reader:
            target.set_ana_state("inaccessible")
            reader.start()
            head.wait_for_parking()
            target.ports[0].stop()
            assert reader.outcome() != "data", "a read on no path did not fail"
        wait.until(lambda: not os.path.exists(head.device), "the head to go")


@test
def parked_io_fails_when_it_was_to_fail_fast():
    """Shows L-19b."""
    with Target("loss", ports=("tcp",)) as target:
        (controller,) = target.connect_all(fast_io_fail_tmo=2)
        with Reader(target.head.device) as reader:
            target.set_ana_state("inaccessible")
            reader.start()
            target.head.wait_for_parking()
            target.ports[0].stop()
            assert reader.outcome() == "EIO"
        assert heads.controller_state(controller) == "connecting", "it did not fail any faster"
        target.ports[0].ana_state = "optimized"
        target.ports[0].start()
        heads.wait_for_state(controller, "live")
        with Reader(target.head.device) as reader:
            reader.start()
            assert reader.outcome() == "data", "the head did not recover"


@test(over=TRANSPORTS)
def a_controller_reset_costs_no_io(transport):
    with Target("loss", ports=(transport,) * 2) as target:
        controllers = target.connect_all()
        with fio.Load(target.head.device) as load:
            for controller in controllers * 2:
                load.wait_for_io(target.head)
                heads.reset_controller(controller)
                heads.wait_for_state(controller, "live")
            load.finish()


@test(over=TRANSPORTS)
def a_reset_of_the_only_controller_costs_no_io(transport):
    with Target("loss", ports=(transport,)) as target:
        (controller,) = target.connect_all()
        with fio.Load(target.head.device) as load:
            for _ in range(3):
                load.wait_for_io(target.head)
                heads.reset_controller(controller)
                heads.wait_for_state(controller, "live")
            load.finish()


@test(over=TRANSPORTS, limit=180)
def heads_come_and_go_with_readers_on_them(transport):
    """Shows L-19."""
    with Target("loss", ports=(transport,) * 2) as target:
        for round in range(8):
            target.connect_all()
            device = target.head.device
            readers = [Reader(device) for _ in range(4)]
            if round % 2:
                for port in target.ports:
                    port.ana_state = "inaccessible"
            for reader in readers:
                reader.start()
            target.disconnect()
            for reader in readers:
                with reader:
                    reader.outcome()
            wait.until(lambda: not os.path.exists(device), "the head to go")
            for port in target.ports:
                port.ana_state = "optimized"


@test
def a_namespace_that_goes_fails_its_io_and_comes_back():
    with Target("loss", ports=("loop", "tcp")) as target:
        target.connect_all()
        head = target.head
        with fio.Load(head.device) as load:
            load.wait_for_io(head)
            target.disable_namespace()
            assert load.failed().errors, "I/O on no namespace did not fail"
        wait.until(lambda: not target.heads(), "the head to go")
        target.enable_namespace()
        wait.until(lambda: target.heads() and len(target.head.paths()) == 2, "the head to be back")
        with fio.Load(target.head.device) as load:
            load.wait_for_io(target.head)
            load.finish()


def port_of(target, controller):
    (port,) = (port for port in target.ports if f"{port.transport} {port.where}" == heads.address(controller))
    return port
