# SPDX-License-Identifier: GPL-2.0
"""Transports beside loop, tcp and PCIe, and hosts that have to authenticate."""

import base64
import zlib

from tests.e2e.case import test
from tests.e2e.test_io import set_policy
from tests.guest import fio
from tests.guest import head as heads
from tests.guest import wait
from tests.guest.target import Target

TRANSPORTS = ("fc", "rdma")


@test(over=TRANSPORTS, limit=180)
def one_of_two_paths_goes_and_comes_back_and_no_io_is_lost(transport):
    with Target("transports", ports=(transport,) * 2) as target:
        _lose_each_path_once(target, target.connect_all())


@test(over=TRANSPORTS)
def both_paths_of_a_transport_carry_io(transport):
    with Target("transports", ports=(transport,) * 2) as target:
        controllers = target.connect_all()
        set_policy(target.head, "round-robin")
        with fio.Load(target.head.device) as load:
            load.wait_for_carriers(target.head, *controllers)
            assert load.finish().bytes_verified


@test
def a_path_whose_rdma_adapter_goes_costs_no_io():
    with Target("transports", ports=("rdma",) * 2) as target:
        controllers = target.connect_all()
        head = target.head
        with fio.Load(head.device) as load:
            carrier = _carrier(load, head)
            (other,) = set(controllers) - {carrier}
            target.ports[controllers.index(carrier)].wire.break_down()
            wait.until(lambda: heads.controller_state(carrier) != "live", f"{carrier} to notice")
            load.wait_for_carriers(head, other)
            load.finish()


@test(limit=180)
def one_of_two_paths_with_authentication_goes_and_comes_back_and_no_io_is_lost():
    with Target("transports", ports=("tcp",) * 2, secrets=_secrets(b"host", b"target")) as target:
        for wrong in (_secrets(b"other", b"target"), _secrets(b"host", b"other")):
            assert not _may_connect(target, wrong), f"{wrong} is as good as the right secrets"
        _lose_each_path_once(target, target.connect_all())


def _lose_each_path_once(target, controllers) -> None:
    """Takes away the path that carries I/O, twice, each time until it is connected again.

    The port goes. With FC the cable goes instead: fcloop completes a request twice when the host aborts it while the
    target, whose port has gone, refuses it.
    """
    head = target.head
    with fio.Load(head.device) as load:
        for _ in range(2):
            carrier = _carrier(load, head)
            (other,) = set(controllers) - {carrier}
            port = target.ports[controllers.index(carrier)]
            cable = port.transport == "fc"
            port.wire.break_down() if cable else port.stop()
            wait.until(lambda: heads.controller_state(carrier) != "live", f"{carrier} to be lost")
            load.wait_for_carriers(head, other)
            port.wire.mend() if cable else port.start()
            heads.wait_for_state(carrier, "live")
        load.wait_for_io(head)
        assert load.finish().bytes_verified


def _carrier(load, head) -> str:
    """The controller that carries all I/O, once that is settled."""
    (carrier,) = wait.until(lambda: len(found := load.carriers(head)) == 1 and found, "one path to carry all I/O")
    return carrier


def _secrets(host, target) -> dict:
    return {"dhchap_secret": _secret(host), "dhchap_ctrl_secret": _secret(target)}


def _secret(seed) -> str:
    """The output of `nvme gen-dhchap-key`, of 32 bytes that are always the same."""
    key = seed.ljust(32, b"-")
    return f"DHHC-1:00:{base64.b64encode(key + zlib.crc32(key).to_bytes(4, 'little')).decode()}:"


def _may_connect(target, secrets) -> bool:
    try:
        target.connect(target.ports[0], **secrets)
    except OSError:
        return False
    return True
