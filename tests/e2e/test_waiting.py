# SPDX-License-Identifier: GPL-2.0
"""I/O that waits for a path ends when there is one, and when there will be none."""

import contextlib
import threading

from tests.e2e.case import test
from tests.e2e.test_pcie import path_on
from tests.e2e.test_pcie import pcie_head
from tests.guest import fio
from tests.guest import head as heads
from tests.guest import modules
from tests.guest import pci
from tests.guest import wait
from tests.guest.reader import Reader

#: Seconds after which the host gives up a controller that does not answer during a reset, on a machine of the usual
#: speed.
ADMIN_SECONDS = 2
#: How many resets a test tries until one fails: `pci.deaf()` may get no CPU at the wrong time.
ROUNDS = 5
POLL_QUEUES = "/sys/module/nvme/parameters/poll_queues"


@test
def a_read_that_waits_for_a_reset_ends_when_that_fails():
    """Shows A-2."""
    modules.unload()
    modules.load("nvme-core", admin_timeout=round(ADMIN_SECONDS * wait.SLOWNESS))
    with pcie_head() as head:
        pci.unbind(pci.address(path_on(head, 1).controller))
        wait.until(lambda: len(head.paths()) == 1, "the other path to go")
        controller = path_on(head, 0).controller
        for _ in range(ROUNDS):
            with Reader(head.device) as reader, pci.deaf(controller), _reset_that_fails(controller):
                heads.wait_for_state(controller, "resetting", "connecting")
                reader.start()
                head.wait_for_parking()
                heads.wait_for_state(controller, "dead", "gone", "live")
                has_failed = heads.controller_state(controller) != "live"
                outcome = reader.outcome()
            if has_failed:
                break
            print(f"{controller} has listened for long enough to be reset", flush=True)
        assert has_failed, f"{controller} has listened in each of {ROUNDS} resets"
        assert outcome != "data", "a controller that reads no command has delivered data"


@contextlib.contextmanager
def _reset_that_fails(controller):
    def reset():
        with contextlib.suppress(OSError):
            heads.reset_controller(controller)

    thread = threading.Thread(target=reset, daemon=True)
    thread.start()
    yield
    thread.join()


@test
def a_polled_read_that_waited_is_done_by_a_path_that_does_not_poll():
    """Shows A-4."""
    _poll(queues=0)


@test
def a_polled_read_that_waited_is_done_by_a_path_that_polls():
    _poll(queues=1)


def _poll(queues):
    """Has a polled read wait for controllers that come back with so many queues that are polled."""
    with pcie_head(poll_queues=1) as head:
        assert head.read("queue/io_poll") == "1", "the head cannot be polled"
        head.write("delayed_removal_secs", 60)
        places = [pci.address(path.controller) for path in head.paths()]
        for place in places:
            pci.unbind(place)
        with fio.PolledRead(head.device) as read:
            head.wait_for_parking()
            with open(POLL_QUEUES, "w") as parameter:
                parameter.write(str(queues))
            for place in places:
                pci.bind(place)
            read.finish()
        head.write("delayed_removal_secs", 0)
