# SPDX-License-Identifier: GPL-2.0
"""ANA logs that a target must not send, transitions that last too long, and groups."""

import contextlib
import struct
import time

from tests.e2e.case import test
from tests.e2e.proxy import ANA_LOG
from tests.e2e.proxy import IDENTIFY_CONTROLLER
from tests.e2e.proxy import Proxy
from tests.guest import fio
from tests.guest import head as heads
from tests.guest import kernel_log
from tests.guest import modules
from tests.guest import wait
from tests.guest.skip import Skip
from tests.guest.target import GROUP
from tests.guest.target import Target

TRANSPORTS = ("loop", "tcp")

#: Offsets in the log of a target with one group, which holds one namespace.
GROUPS = 8
GROUP_ID = 16
NAMESPACES = 20
STATE = 32
FIRST_NSID = 48
#: The log's size with the 128 groups and 1024 namespaces that nvmet may have.
LOG_SIZE = 16 + 128 * 32 + 1024 * 4
#: How many namespaces fit behind the first group.
ROOM = (LOG_SIZE - FIRST_NSID) // 4
#: Where Identify Controller says how many seconds a transition may take.
TRANSITION_TIME = 342
MALFORMED = "Malformed ANA log"
#: Half the seconds after which a transition has taken too long, where a test has that come after all else. And for how
#: many seconds the test then looks.
TRANSITION_SECONDS = 3
OBSERVED = 0.5
TIMED_OUT = "ANATT timeout, resetting controller."
INTERNAL_ERROR = 0x006


def _number(value, size=4) -> bytes:
    return value.to_bytes(size, "little")


REFUSED = {
    "one group more than there is": {GROUPS: _number(2, 2)},
    "more groups than fit": {GROUPS: _number(0xFFFF, 2)},
    "one namespace more than fits": {NAMESPACES: _number(ROOM + 1)},
    "more namespaces than can be counted in bytes": {NAMESPACES: _number(0x40000000)},
    "as many namespaces as there are numbers": {NAMESPACES: _number(0xFFFFFFFF)},
    "a group cut off by the end": {GROUPS: _number(2, 2), NAMESPACES: _number(ROOM - 7)},
    "a group behind the end": {GROUPS: _number(2, 2), NAMESPACES: _number(ROOM)},
    "group 0": {GROUP_ID: _number(0)},
    "a group above the highest": {GROUP_ID: _number(129)},
    "a group with the highest number there is": {GROUP_ID: _number(0xFFFFFFFF)},
    "no state": {STATE: _number(0, 1)},
    "a state above the highest": {STATE: _number(0x10, 1)},
    "the highest state there is": {STATE: _number(0xFF, 1)},
}
#: Odd, and yet nothing that could lead out of the log.
ACCEPTED = {
    "as many namespaces as fit": {NAMESPACES: _number(ROOM)},
    "no group": {GROUPS: _number(0, 2)},
    "no namespace": {NAMESPACES: _number(0)},
    "a namespace that does not exist": {FIRST_NSID: _number(0xFFFFFFFE)},
    "a change count of all ones": {0: bytes([0xFF] * 8)},
    "a last group that just fits": {
        GROUPS: _number(2, 2), NAMESPACES: _number(ROOM - 8),
        LOG_SIZE - 32: struct.pack("<IIQB", 128, 0, 0, 1)},
}


@test
def a_malformed_ana_log_is_refused_without_harm():
    _only_ours()
    with _proxied() as (target, proxy, changed, other), fio.Load(target.head.device) as load:
        log = kernel_log.KernelLog()
        path = _path_of(target.head, changed)
        for what, edits in REFUSED.items():
            proxy.change(ANA_LOG, edits)
            # When a target has news about any of its ports, the host asks.
            target.ports[0].ana_state = "non-optimized"
            wait.until(lambda: proxy.changed(ANA_LOG), f"the host to see {what}")
            load.wait_for_io(target.head, ios=20)
            assert path.read("ana_state") == "optimized", f"{what} has changed the state"
            proxy.restore(ANA_LOG)
            target.ports[0].ana_state = "optimized"
        assert any(f"{changed}: {MALFORMED}" in line for line in log.new_lines())
        target.ports[0].ana_state = "inaccessible"
        wait.until(lambda: path.read("ana_state") == "inaccessible", "a right log to be believed again")
        load.wait_for_carriers(target.head, other)
        load.finish()


@test
def an_odd_ana_log_is_accepted():
    with _proxied() as (target, proxy, changed, _), fio.Load(target.head.device) as load:
        log = kernel_log.KernelLog()
        path = _path_of(target.head, changed)
        for what, edits in ACCEPTED.items():
            proxy.change(ANA_LOG, edits)
            target.ports[0].ana_state = "optimized"
            load.wait_for_io(target.head, ios=20)
            proxy.restore(ANA_LOG)
            for state in ("non-optimized", "optimized"):
                target.ports[0].ana_state = state
                wait.until(lambda: path.read("ana_state") == state, f"the path to be {state} after {what}")
        assert not any(MALFORMED in line for line in log.new_lines())
        load.finish()


@test
def a_controller_with_a_malformed_ana_log_does_not_come_up():
    _only_ours()
    with _proxied() as (target, proxy, changed, _), fio.Load(target.head.device) as load:
        log = kernel_log.KernelLog()
        proxy.change(ANA_LOG, REFUSED["no state"])
        with contextlib.suppress(OSError):
            heads.reset_controller(changed)
        _wait_for_line(log, f"{changed}: {MALFORMED}", "a log that was malformed after a reset")
        heads.wait_for_state(changed, "connecting")
        load.wait_for_io(target.head)
        proxy.restore(ANA_LOG)
        heads.wait_for_state(changed, "live")
        load.wait_for_io(target.head)
        load.finish()


def _only_ours():
    if not modules.ours():
        raise Skip("the in-tree driver warns with a call trace")


@contextlib.contextmanager
def _proxied():
    """A target, a proxy on its first port, and the controllers behind the proxy and beside it."""
    with Target("log", ports=("tcp", "loop")) as target, Proxy(target.ports[0]) as proxy:
        changed, other = target.connect(proxy), target.connect(target.ports[1])
        wait.until(lambda: target.heads() and len(target.head.paths()) == 2, "two paths")
        yield target, proxy, changed, other
        target.disconnect()


def _path_of(head, controller):
    (path,) = (path for path in head.paths() if path.controller == controller)
    return path


def _wait_for_line(log, text, what):
    wait.until(lambda: any(text in line for line in log.new_lines()), f"the log to say {text!r} of {what}")


@test
def a_transition_that_takes_too_long_resets_the_controller():
    with Target("log", ports=("tcp", "loop")) as target, Proxy(target.ports[0]) as proxy:
        proxy.change(IDENTIFY_CONTROLLER, {TRANSITION_TIME: _number(1, 1)})
        slow, other = target.connect(proxy), target.connect(target.ports[1])
        wait.until(lambda: target.heads() and len(target.head.paths()) == 2, "two paths")
        with fio.Load(target.head.device) as load:
            log = kernel_log.KernelLog()
            target.ports[0].ana_state = "change"
            _wait_for_line(log, f"{slow}: {TIMED_OUT}", "a transition")
            load.wait_for_carriers(target.head, other)
            target.ports[0].ana_state = "optimized"
            heads.wait_for_state(slow, "live")
            wait.until(lambda: _path_of(target.head, slow).read("ana_state") == "optimized",
                       "the end of the transition")
            load.finish()
        target.disconnect()


@test
def a_transition_is_not_timed_after_its_controller_has_gone():
    """Shows A-5."""
    seconds = round(TRANSITION_SECONDS * wait.SLOWNESS)
    with Target("log", ports=("tcp",)) as target, Proxy(target.ports[0]) as proxy:
        proxy.change(IDENTIFY_CONTROLLER, {TRANSITION_TIME: _number(seconds, 1)})
        controller = target.connect(proxy)
        target.wait_for_heads(1)
        log = kernel_log.KernelLog()
        begin = time.monotonic()
        target.set_ana_state("change")
        latest = time.monotonic() + 2 * seconds
        # It reconnects, hears nothing about groups, and so forgets that it ever was in transition.
        proxy.refuse(ANA_LOG, INTERNAL_ERROR)
        proxy.cut()
        wait.until(lambda: proxy.refused(ANA_LOG), "the host to come back")
        heads.delete_controller(controller)
        wait.until(lambda: heads.controller_state(controller) == "gone", "the controller to go")
        assert time.monotonic() < begin + 2 * seconds, "the transition took too long before the controller had gone"
        time.sleep(latest - time.monotonic() + OBSERVED)
        lines = [line for line in log.new_lines() if TIMED_OUT in line]
        assert not lines, f"nobody is left, and yet: {lines}"


@test(over=TRANSPORTS)
def a_path_that_is_lost_for_good_is_not_used(transport):
    with Target("log", ports=(transport,) * 2) as target:
        first, second = target.connect_all()
        with fio.Load(target.head.device) as load:
            target.ports[0].ana_state = "persistent-loss"
            load.wait_for_carriers(target.head, second)
            assert _path_of(target.head, first).read("ana_state") == "persistent-loss"
            target.ports[0].ana_state = "optimized"
            target.ports[1].ana_state = "persistent-loss"
            load.wait_for_carriers(target.head, first)
            load.finish()


@test(over=TRANSPORTS)
def a_namespace_that_moves_to_another_group_has_the_state_of_that(transport):
    group = GROUP + 1
    with Target("log", ports=(transport,) * 2, namespaces=2, mib=128) as target:
        first, second = target.connect_all()
        one, other = target.ports
        with one.ana_group(group, "inaccessible"), other.ana_group(group, "optimized"):
            moved, stays = target.heads()
            other.ana_state = "non-optimized"
            wait.until(lambda: _path_of(stays, second).read("ana_state") == "non-optimized", "the host to hear of it")
            with fio.Load(moved.device) as load:
                load.wait_for_carriers(moved, first)
                target.configure(ana_grpid=group)
                wait.until(lambda: [path.read("ana_grpid") for path in moved.paths()] == [str(group)] * 2,
                           "the group to change")
                load.wait_for_carriers(moved, second)
                states = [path.read("ana_state") for path in stays.paths()]
                assert states == ["optimized", "non-optimized"], f"the other namespace's states are {states}"
                target.configure(ana_grpid=GROUP)
                load.wait_for_carriers(moved, first)
                load.finish()
