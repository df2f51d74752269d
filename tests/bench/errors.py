# SPDX-License-Identifier: GPL-2.0
"""The guest's side of `make errors`: random reads while a part of the commands on some paths fails.

NVMe's fault injection ends every so many reads with a path error. The program runs each case several times for so many
seconds. It prints a line of JSON: the medians of fio's figures, the worst read of each round, and how long most of the
reads of all rounds took at most. While everything fails nothing can end. So the program runs that case once, and stops
the errors when its time is over.
"""

import collections
import contextlib
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

from tests.guest import modules
from tests.guest import wait
from tests.guest.target import Target

#: Paths, and how many of them fail commands.
PATHS = ((1, 1), (2, 1), (2, 2))
#: Percent of the reads on a failing path, and the settings of fault injection: every so many, with so many percent.
RATES = {0: (1, 0), 0.1: (10, 1), 1: (1, 1), 10: (1, 10), 100: (1, 100)}
#: The percentages of the reads for which the figures say how long they took at most.
SHARES = (99.9, 99.99, 99.999)
READ = 0x02
#: A path error that says nothing of why, and may go away.
STATUS = 0x300


def name_of(paths, failing, rate) -> str:
    return f"{failing} of {paths} at {rate:g} %"


def cases(only):
    """Paths, how many of them fail, and the rates: the cases with `only` in their name, and those that they compare
    with."""
    for paths, failing in PATHS:
        rates = [rate for rate in RATES if only in name_of(paths, failing, rate)]
        if rates:
            yield paths, failing, sorted({0, *rates})


def main(seconds, rounds, only) -> int:
    modules.install()
    modules.load("nvme-loop")
    for paths, failing, rates in cases(only):
        with Target("errors", ports=("loop",) * paths) as target:
            target.connect_all()
            (target.head.subsystem / "iopolicy").write_text("round-robin")
            # From here on fio is in memory: to fetch it from the host takes no instructions, and much time.
            _read(target.head, 1, lambda: None)
            for rate in rates:
                with _failing(target.head.paths()[:failing], *RATES[rate]) as stop:
                    seen = [_read(target.head, seconds, stop if rate == 100 else lambda: None)
                            for _ in range(1 if rate == 100 else rounds)]
                print(json.dumps({"paths": paths, "failing": failing, "rate": rate, **_summary(seen)}), flush=True)
    return 0


def _summary(rounds) -> dict:
    """Sums up all rounds of a case. The worst read of all is chance, so of those the median counts."""
    count = sum((each["count"] for each in rounds), collections.Counter())
    medians = {key: statistics.median(each[key] for each in rounds) for key in ("per_second", "errors", "worst_ms")}
    return {**medians, "worst_ms_of_rounds": sorted(each["worst_ms"] for each in rounds),
            "within_ms": {share: _within(count, share) / 1e6 for share in SHARES}}


def _within(count, share) -> int:
    """How long so many percent of the reads took at most."""
    left = count.total() * (100 - share) / 100
    for time_taken in sorted(count, reverse=True):
        left -= count[time_taken]
        if left < 0:
            return time_taken
    return 0


@contextlib.contextmanager
def _failing(paths, interval, probability):
    """Has commands on these paths fail, until the caller calls the function that this yields."""
    directories = [Path("/sys/kernel/debug", path.name, "fault_inject") for path in paths]
    values = {"verbose": 0, "opcode": READ, "status": STATUS, "dont_retry": "N", "times": -1, "interval": interval,
              "probability": probability}

    def stop():
        for directory in directories:
            (directory / "probability").write_text("0")

    for directory in directories:
        for name, value in values.items():
            (directory / name).write_text(str(value))
    try:
        yield stop
    finally:
        stop()


def _read(head, seconds, stop) -> dict:
    """fio's figures for reads that last so many seconds; then the reads that are left get their data."""
    before = head.completed()
    fio = subprocess.Popen(["fio", "--name=errors", f"--filename={head.device}", "--ioengine=libaio", "--direct=1", "--bs=4k",
                            "--iodepth=8", "--rw=randread", "--time_based", f"--runtime={seconds}", "--norandommap",
                            "--continue_on_error=all", "--clocksource=clock_gettime", "--output-format=json+"],
                           stdout=subprocess.PIPE, text=True, restore_signals=False)
    wait.until(lambda: head.completed() > before or any(map(int, head.read("inflight").split())) or fio.poll() is not None,
               "reads to begin", seconds=600)
    time.sleep(seconds + 1)
    stop()
    text = fio.communicate()[0]
    (job,) = json.loads(text[text.index("{"):])["jobs"]
    read = job["read"]
    # fio's buckets: how long, and how many reads took about that.
    count = collections.Counter({int(taken): reads for taken, reads in read["clat_ns"]["bins"].items()})
    return {"per_second": read["total_ios"] / seconds, "errors": job["total_err"],
            "worst_ms": read["lat_ns"]["max"] / 1e6, "count": count}


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
