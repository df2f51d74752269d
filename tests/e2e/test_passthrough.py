# SPDX-License-Identifier: GPL-2.0
"""Commands by io_uring on the character device of a head, and polling."""

import errno
import json
import subprocess
import time

from tests.e2e.case import test
from tests.e2e.test_pcie import pcie_head
from tests.guest import head as heads
from tests.guest import modules
from tests.guest import passthrough
from tests.guest import wait
from tests.guest.target import Target

TRANSPORTS = ("loop", "tcp")
SIZE = 4 << 20
COMMANDS = ("--ioengine=io_uring_cmd", "--cmd_type=nvme")
BLOCKS = ("--ioengine=io_uring", "--direct=1")


@test(over=TRANSPORTS)
def io_uring_commands_carry_data(transport):
    with Target("commands", ports=(transport,) * 2) as target:
        controllers = target.connect_all()
        head = target.head
        device = passthrough.character_device(head)
        _write_and_verify(device, *COMMANDS)
        with open(device, "r+b", buffering=0) as file:
            passthrough.command(file, passthrough.FLUSH)
        heads.delete_controller(controllers[0])
        wait.until(lambda: len(head.paths()) == 1, "a path to go")
        _write_and_verify(device, *COMMANDS)
        # The disk reads the data that commands wrote.
        _verify(head.device, *BLOCKS)


# Not over tcp: there a command may end elsewhere while a process polls it, and the kernel's
# nvme_ns_chr_uring_cmd_iopoll() then polls a request that has no queue any more.
@test
def io_uring_commands_are_polled_over_pcie():
    with pcie_head(poll_queues=1) as head:
        assert head.read("queue/io_poll") == "1"
        _write_and_verify(passthrough.character_device(head), *COMMANDS, "--hipri")
        _write_and_verify(head.device, *BLOCKS, "--hipri")


def _write_and_verify(device, *options):
    _fio(device, *options, "--do_verify=1")


def _verify(device, *options):
    _fio(device, *options, "--verify_only=1")


def _fio(device, *options):
    done = subprocess.run(
        ["fio", "--name=commands", f"--filename={device}", "--rw=randwrite", "--bs=4k", f"--size={SIZE}",
         "--iodepth=8", "--verify=crc32c", "--randseed=1", "--output-format=json", *options],
        capture_output=True, text=True, timeout=60 * wait.SLOWNESS)
    assert done.returncode == 0, f"fio says {done.stdout[:500]}{done.stderr[:500]}"
    job = json.loads(done.stdout[done.stdout.index("{"):])["jobs"][0]
    assert job["read"]["io_bytes"] == SIZE and not job["error"], f"fio verified {job['read']['io_bytes']} bytes"


@test(over=TRANSPORTS)
def a_character_device_that_is_held_open_answers_with_errors_when_its_head_has_gone(transport):
    """Shows L-31."""
    with Target("commands", ports=(transport,) * 2) as target:
        target.connect_all()
        device = passthrough.character_device(target.head)
        with open(device, "r+b", buffering=0) as held:
            passthrough.command(held, passthrough.FLUSH)
            target.disconnect()
            begun = time.monotonic()
            for _ in range(3):
                assert _refusal(held) in (errno.EWOULDBLOCK, errno.ENXIO, errno.EIO, errno.ENODEV)
            assert time.monotonic() - begun < 5
            target.connect_all()
            assert _refusal(held), "a file of the head that went leads to its successor"
        with open(passthrough.character_device(target.head), "r+b", buffering=0) as new:
            passthrough.command(new, passthrough.FLUSH)
    modules.unload()


def _refusal(file):
    try:
        passthrough.command(file, passthrough.FLUSH)
    except OSError as error:
        return error.errno
    return None
