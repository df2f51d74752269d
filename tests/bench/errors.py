# SPDX-License-Identifier: GPL-2.0
"""The guest's side of `make errors`: random reads while a part of the commands on some paths fails.

NVMe's fault injection ends every so many reads with a path error. Each case is run several times for the seconds
that are the argument, and prints the medians of what fio says as a line of JSON. While everything fails nothing can
end, so that is run once, and the errors stop when its time is over.
"""

import contextlib
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

from tests.e2e import modules
from tests.e2e import wait
from tests.e2e.target import Target

#: Paths, and how many of them fail commands.
CASES = ((1, 1),)
#: Percent of the reads on a failing path, and how fault injection is told: every so many, with so many percent.
RATES = {0: (1, 0), 1: (1, 1)}
READ = 0x02
#: How often a case is run; of each figure the median counts. The worst read of all is chance.
ROUNDS = 7
#: A path error that says nothing of why, and may go away.
STATUS = 0x300


def main(seconds) -> int:
    modules.install()
    modules.load("nvme-loop")
    for paths, failing in CASES:
        with Target("errors", ports=("loop",) * paths) as target:
            target.connect_all()
            (target.head.subsystem / "iopolicy").write_text("round-robin")
            # From here on fio is in memory: to fetch it from the host takes no instructions, and much time.
            _read(target.head, 1, lambda: None)
            for rate, (interval, probability) in RATES.items():
                with _failing(target.head.paths()[:failing], interval, probability) as stop:
                    rounds = [_read(target.head, seconds, stop if number == ROUNDS else lambda: None)
                              for number in (range(1, ROUNDS + 1) if rate < 100 else [ROUNDS])]
                figures = {key: statistics.median(figures[key] for figures in rounds) for key in rounds[0]}
                print(json.dumps({"paths": paths, "failing": failing, "rate": rate, **figures}), flush=True)
    return 0


@contextlib.contextmanager
def _failing(paths, interval, probability):
    """Has commands on these paths fail, until what it gives is called."""
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
    """What fio says of reads for so many seconds; what is left then gets its data."""
    before = head.completed()
    fio = subprocess.Popen(["fio", "--name=errors", f"--filename={head.device}", "--ioengine=libaio", "--direct=1", "--bs=4k",
                            "--iodepth=8", "--rw=randread", "--time_based", f"--runtime={seconds}", "--norandommap",
                            "--continue_on_error=all", "--clocksource=clock_gettime", "--output-format=json"],
                           stdout=subprocess.PIPE, text=True, restore_signals=False)
    wait.until(lambda: head.completed() > before or any(map(int, head.read("inflight").split())) or fio.poll() is not None,
               "reads to begin", seconds=600)
    time.sleep(seconds + 1)
    stop()
    text = fio.communicate()[0]
    (job,) = json.loads(text[text.index("{"):])["jobs"]
    read = job["read"]
    return {"per_second": read["total_ios"] / seconds, "errors": job["total_err"],
            "worst_ms": read["lat_ns"]["max"] / 1e6, "p999_ms": read["clat_ns"].get("percentile", {}).get("99.900000", 0) / 1e6}


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
