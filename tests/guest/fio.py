# SPDX-License-Identifier: GPL-2.0
"""I/O by fio, verified.

A load writes blocks in random order, never one of them twice, and reads each back soon after. A lost write is therefore
zeros where a checksum should be. When it ends, fio reads and verifies once more everything that it ever wrote.
"""

import json
import os
import signal
import subprocess
import tempfile
from contextlib import contextmanager
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.guest import wait

BLOCK = 4096
#: How long fio may take to end when it is killed.
SECONDS_TO_DIE = 20
GLOBAL = f"""\
[global]
ioengine=libaio
direct=1
bs={BLOCK}
iodepth=8
rw=randwrite
verify=crc32c
continue_on_error=all
"""
#: The options of a job that verifies nothing. The job cannot be left out: the blocks of a job depend on how many jobs
#: come before it, whatever its seed.
IDLE = f"rw=read\nverify=0\nio_size={BLOCK}\n"


@dataclass
class Report:
    """The work of fio, and how much of it went wrong."""

    ios: int = 0
    bytes_written: int = 0
    bytes_verified: int = 0
    errors: int = 0
    #: How long the slowest of all I/Os took.
    slowest_ms: int = 0


class Load:
    """Verified I/O on a device until `finish()`: one job on each of the first `jobs` CPUs.

    A job has `mib` of its own on the device and makes `rate` writes a second at most, so that a fast machine does not
    run out of blocks. Loads that write the same blocks one after the other need another `seed` each, so that no load
    takes the data of an earlier one for its own.
    """

    def __init__(self, device, jobs=None, mib=64, rate=200, seed=1):
        self._device = device
        self._jobs = jobs or os.cpu_count()
        self._mib = mib
        self._seed = seed
        self._directory = tempfile.TemporaryDirectory(prefix="fio-")
        self._fio = self._start("write", f"verify_backlog=64\nrate_iops={rate},{rate}\n",
                                [""] * self._jobs)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.kill()

    @property
    def running(self) -> bool:
        return self._fio.poll() is None

    def wait_for_io(self, disk, ios=200, seconds=30) -> None:
        """Waits until `disk` has completed some more I/Os."""
        begin = disk.completed()[0]
        wait.until(lambda: disk.completed()[0] >= begin + ios or not self.running,
                   f"{ios} more I/Os on {disk}", seconds)
        assert self.running, f"fio ended early:\n{self._messages('write')}"

    def wait_until_pinned(self) -> None:
        """Waits until each job is on its CPU. One that finds it gone does nothing."""
        wait.until(lambda: [os.sched_getaffinity(job) for job in self._processes()]
                   == [{number} for number in range(self._jobs)], "every job to be on its CPU")

    def _processes(self) -> list[int]:
        """The numbers of the jobs' processes."""
        found = []
        for file in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                number, _, rest = file.read_text().partition(" ")
                if rest.rpartition(")")[2].split()[1] == str(self._fio.pid):
                    found.append(int(number))
        return sorted(found)

    def carriers(self, head) -> set[str]:
        """The controllers whose paths carry I/O now."""
        paths = head.paths()
        before = [path.completed()[0] for path in paths]
        self.wait_for_io(head, ios=50)
        return {path.controller for path, count in zip(paths, before, strict=True) if path.completed()[0] > count}

    def wait_for_carriers(self, head, *controllers) -> None:
        """Waits until these carry all I/O, each its share."""
        wait.until(lambda: self.carriers(head) == set(controllers), f"I/O to run through {' and '.join(controllers)}")

    def finish(self) -> Report:
        """Stops the load, verifies all that it wrote, and fails when anything went wrong."""
        report = self.end()
        assert report.errors == 0, f"fio: {report}\n{self._messages('write')}\n{self._messages('verify')}"
        return report

    def end(self, seconds=90) -> Report:
        """Stops the load, reads back all that it wrote, and says how that went."""
        assert self.running, f"fio ended early:\n{self._messages('write')}"
        self._fio.send_signal(signal.SIGINT)
        wait.until(lambda: not self.running, "fio to end its I/O", seconds)
        written = self._results("write")
        sizes = [job["write"]["io_bytes"] for job in written]
        self._fio = self._start("verify", "", [
            f"verify_only=1\nio_size={size}\n" if size else IDLE for size in sizes])
        wait.until(lambda: not self.running, "fio to verify what it wrote", seconds)
        report = _report(written)
        again = _report([job for job, size in zip(self._results("verify"), sizes, strict=True) if size])
        # A block that was written and could not be read is an error, whether fio counts it or not. A verify_only run
        # counts the writes that it only pretends to do, so its reads are counted here.
        report.errors += again.errors + (report.bytes_written - again.bytes_verified) // BLOCK
        report.ios += again.bytes_verified // BLOCK
        report.bytes_verified += again.bytes_verified
        return report

    def failed(self, seconds=60) -> Report:
        """Waits for a load that has lost its device to end by itself; returns its report."""
        wait.until(lambda: not self.running, "fio to notice that its device failed", seconds)
        return _report(self._results("write"))

    def kill(self) -> None:
        if self.running:
            self._fio.kill()
            # One that cannot die is an error of its own, before the kernel takes it for a hung task.
            self._fio.wait(SECONDS_TO_DIE * wait.SLOWNESS)
        self._directory.cleanup()

    def _start(self, name, options, each):
        """Starts fio with as many jobs as there are further options, for one job each, in `each`."""
        jobs = "".join(
            f"[cpu{number}]\ncpus_allowed={number}\nrandseed={self._seed + number}\n"
            f"offset={number * self._mib}m\nsize={self._mib}m\n{extra}"
            for number, extra in enumerate(each))
        file = self._file(name, "fio")
        file.write_text(f"{GLOBAL}filename={self._device}\n{options}{jobs}")
        with open(self._file(name, "messages"), "w") as messages:
            # With SIGPIPE ignored, as it is here. Now and then a job that ends writes to a parent that has gone on
            # already, and the signal would kill it before it has written its figures.
            return subprocess.Popen(
                ["fio", "--output-format=json", f"--output={self._file(name, 'json')}", str(file)],
                stdin=subprocess.DEVNULL, stdout=messages, stderr=messages, restore_signals=False)

    def _file(self, name, suffix) -> Path:
        return Path(self._directory.name, f"{name}.{suffix}")

    def _messages(self, name) -> str:
        return "\n".join(self._file(name, "messages").read_text().splitlines()[:5])

    def _results(self, name) -> list[dict]:
        text = self._file(name, "json").read_text()
        assert "{" in text, f"fio said nothing:\n{text}\n{self._messages(name)}"
        return json.loads(text[text.index("{"):])["jobs"]


class PolledRead:
    """Reads a block of a device, and polls for its end instead of waiting for an interrupt."""

    def __init__(self, device):
        self._fio = subprocess.Popen(
            ["fio", "--name=polled", f"--filename={device}", "--ioengine=io_uring", "--hipri", "--direct=1",
             "--rw=read", f"--bs={BLOCK}", f"--size={BLOCK}", "--invalidate=0"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._fio.kill()
        if not exception[0]:
            self._fio.wait()

    def finish(self) -> None:
        """Waits for the block, and fails when the device could not read it."""
        status = wait.until(lambda: self._fio.poll() is not None and (self._fio.returncode,), "a polled read to end")
        assert status == (0,), f"fio: {self._fio.stdout.read()}"


@contextmanager
def pinned_to(cpu):
    """Keeps this process on a CPU, and so on a NUMA node, for the time of a block."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _report(jobs) -> Report:
    return Report(
        sum(job["read"]["total_ios"] + job["write"]["total_ios"] for job in jobs),
        sum(job["write"]["io_bytes"] for job in jobs),
        sum(job["read"]["io_bytes"] for job in jobs),
        sum(job["total_err"] for job in jobs) + sum(bool(job["error"]) for job in jobs),
        round(max((job[way]["lat_ns"]["max"] for job in jobs for way in ("read", "write")), default=0) / 1e6))
