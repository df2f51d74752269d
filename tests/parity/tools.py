# SPDX-License-Identifier: GPL-2.0
"""The output of the usual programs."""

import json
import subprocess


def note(seen, head, character) -> None:
    controller = f"/dev/{head.paths()[0].controller}"
    note_list(seen)
    _note(seen, "nvme", "list-subsys", head.device, "-o", "json")
    _note(seen, "nvme", "list-ns", controller)
    _note(seen, "nvme", "show-topology")
    for device in (head.device, character):
        for command in ("id-ns", "ns-descs", "id-ctrl", "get-ns-id", "ana-log"):
            _note(seen, "nvme", command, device)
    _note(seen, "nvme", "ana-log", controller)
    _note(seen, "nvme", "read", head.device, "-c", "0", "-z", "512")
    _note(seen, "lsblk", head.device)
    _note(seen, "lsblk", "-t", head.device)
    _note(seen, "lsblk", "-D", head.device)
    _note(seen, "lsblk", "-z", head.device)
    _note(seen, "lsblk", "-O", "-J", head.device)
    _note(seen, "blockdev", "--report", head.device)
    _note(seen, "blkid", "-p", head.device)
    _note(seen, "iostat", "-d", "-x", "-p", head.name)


def note_list(seen) -> None:
    _note(seen, "nvme", "list")
    _note(seen, "nvme", "list", "-v")
    _note(seen, "nvme", "list", "-v", "-o", "json")
    _note(seen, "nvme", "list-subsys")


def note_io_uring(seen, character) -> None:
    """Notes the outcome of passthrough by io_uring, polled and not."""
    for polled in (0, 1):
        words = ["--name=parity", "--ioengine=io_uring_cmd", "--cmd_type=nvme", f"--filename={character}",
                 "--rw=randwrite", "--bs=4k", "--size=1m", "--iodepth=8", "--verify=crc32c", f"--hipri={polled}", "--output-format=json"]
        done = subprocess.run(["fio", *words], capture_output=True, text=True)
        job = json.loads(done.stdout[done.stdout.index("{"):])["jobs"][0]
        seen.note("io_uring", f"passthrough, polled {polled}",
                  f"exit {done.returncode} error {job['error']} reads {job['read']['total_ios']} "
                  f"writes {job['write']['total_ios']}")


def note_shape(seen, head) -> None:
    """Notes the output of the programs about the special properties of a namespace."""
    _note(seen, "nvme", "id-ns", "-H", head.device)
    _note(seen, "lsblk", "-t", "-z", head.device)


def note_reservations(seen, head) -> None:
    _note(seen, "nvme", "resv-report", head.device)
    _note(seen, "nvme", "resv-report", head.device, "-e", "-o", "json")


def note_zones(seen, head) -> None:
    for command in ("id-ns", "report-zones", "id-ctrl"):
        _note(seen, "nvme", "zns", command, head.device)


def _note(seen, *command) -> None:
    done = subprocess.run(command, capture_output=True, text=True, errors="backslashreplace")
    seen.note("printed", " ".join(command), f"{done.stdout}{done.stderr}exit {done.returncode}")
