# SPDX-License-Identifier: GPL-2.0
"""`make faults`: every allocation of the library and of the code on it fails, each in turn.

The guest's side is tests/faults/, in the kernel with sanitizers. That kernel has the fault injection, too, and reports
lost memory at the end. build/reports/faults.json says which allocation failed where, and with which outcome.
"""

import json
import os
import random
import re
import shutil
import subprocess

from lab.builds import kernel
from lab.builds import modules
from lab.builds import setup
from lab.host import log
from lab.host import paths
from lab.host import process
from lab.host import vm
from lab.suites import e2e
from lab.verdicts.counts import Counts

from tests.faults.injection import without_refusals
from tests.faults.scenarios import LOADS
from tests.faults.scenarios import SCENARIOS

TOPOLOGY = vm.Topology(subsystems=(vm.Subsystem("faults", {"c0": 0, "c1": 1}, namespaces=(64,)),))
LIMIT_SECONDS = 1200
SILENCE_SECONDS = 120
#: Of the allocations that only their number tells apart, one of so many fails. There are hundreds of them, in functions
#: that our code calls, and below a site that all fail.
STRIDE = 16
#: The block layer adds the kobject of a CPU of a disk to each of its hardware queues, of which there may be several types.
#: It puts only the last of these queues when the disk goes. It loses the others, and their names; kmemleak may see it.
_BLOCK_LAYERS_OWN = re.compile(r" blk_mq_(alloc_and_init|register)_hctx\+")
#: The scenarios of two guests, side by side.
SHARES = (
    [name for name in SCENARIOS if name.startswith(("loop-", "pcie-"))] + ["load-nvme-core"],
    [f"load-{name}" for name in LOADS if name != "nvme-core"]
    + [name for name in SCENARIOS if name.startswith(("c-", "rust-"))],
)


def run(only=None) -> Counts:
    """Runs all scenarios with failing allocations, or only those of these names. SEED= repeats a choice."""
    first = random.Random(os.environ.get("SEED") or None).randrange(1, STRIDE + 1)
    setup.ensure()
    built, directory = kernel.ensure(kernel.SANITIZE), modules.ensure("ours", kernel.SANITIZE)
    shares = [[name for name in share if not only or name in only] for share in SHARES]
    with log.step("faults", f"{sum(map(len, shares))} scenarios") as step:
        guests = [_Guest(number, step, share, first) for number, share in enumerate(shares, 1) if share]
        process.all_at_once(lambda guest=guest: guest.run(built, directory) for guest in guests)
    return _tell(guests)


class _Guest:
    """Runs scenarios, and keeps their records."""

    def __init__(self, number, step, scenarios, first):
        self.number = number
        self._first = first
        self._step = step
        self.scenarios = scenarios
        self.records = []
        self.faults = []

    def run(self, built, directory) -> None:
        shared = kernel.place(kernel.SANITIZE) / f"faults-{self.number}"
        shutil.rmtree(shared, ignore_errors=True)
        shared.mkdir(parents=True)
        (shared / "glue").write_text("\n".join(_glue()))
        console = paths.LOGS / f"faults-console-{self.number}.log"
        result = vm.run(built, ["python3", "-m", "tests.faults.run", shared / "glue", self._first, STRIDE,
                                *self.scenarios], directory, TOPOLOGY, LIMIT_SECONDS, console, shared, smp=e2e.CPUS, output=self._take,
                        silence=SILENCE_SECONDS)
        for report in filter(_counts, result.reports):
            self.faults += ["the kernel says:", *report.lines[:60]]
        if result.status != 0:
            self.faults.append(f"the guest: {result}, see {console}")

    def _take(self, line) -> None:
        with open(self._step.log, "a") as file:
            file.write(line + "\n")
        if not line.startswith("{"):
            return
        record = json.loads(line)
        self.records.append(record)
        if record["type"] == "failure":
            self.faults += [record["scenario"], *record["what"], *record["kernel"]]
        self._step.progress(f"{record['scenario']}: {record.get('site', record['type'])}")


def _counts(report) -> bool:
    """Whether a report says that something is wrong that we could have done."""
    lost = report.lines[0].find("unreferenced object") >= 0 and any(map(_BLOCK_LAYERS_OWN.search, report.lines))
    return not lost and without_refusals(report.lines) == report.lines


def _glue() -> list:
    """The functions of NVMe that are on the library."""
    built = kernel.place(kernel.SANITIZE) / "nvme" / "ours" / "drivers" / "nvme" / "host" / "multipath_lib.o"
    try:
        symbols = process.output(["nm", "--defined-only", built])
    except subprocess.CalledProcessError as failure:
        log.fail(f"faults: nm: {failure.stderr.decode().strip()}")
    return [words[2] for words in map(str.split, symbols.splitlines()) if words[1] in "tT"]


def _tell(guests) -> Counts:
    records = [record for guest in guests for record in guest.records]
    of = {type: [record for record in records if record["type"] == type] for type in ("sites", "fault", "counted")}
    found = {site for record in of["sites"] for site in record["sites"]}
    failed = {record["site"] for record in of["fault"]}
    report = {
        "faults": [{key: record[key] for key in ("site", "scenario", "outcome")} for record in of["fault"]],
        "counted": [{key: record[key] for key in ("scenario", "below", "outcomes")} for record in of["counted"]],
        "per_cpu": sorted({site for record in of["sites"] for site in record["per_cpu"]}),
        "not_failed": sorted(found - failed),
    }
    paths.REPORTS.mkdir(parents=True, exist_ok=True)
    (paths.REPORTS / "faults.json").write_text(json.dumps(report, indent=1) + "\n")
    for record in of["fault"]:
        log.info(f"faults: {record['scenario']}: {record['site']}: {record['outcome']}")
    for record in of["counted"]:
        outcomes = ", ".join(f"{count} {outcome}" for outcome, count in sorted(record["outcomes"].items()))
        log.info(f"faults: {record['scenario']}: by number, below {record['below']}: {outcomes or 'none'}")
    log.info(f"faults: {len(found)} sites, {len(failed)} of them failed, {len(of['fault'])} times; "
             f"{sum(sum(record['outcomes'].values()) for record in of['counted'])} allocations failed by their number; "
             f"{len(report['per_cpu'])} sites of per-CPU memory, which no fault injection knows of")
    for guest in guests:
        if guest.faults:
            log.failure(f"faults: guest {guest.number} failed", "\n".join(guest.faults))
    for site in sorted(found - failed):
        log.failure(f"faults: {site} was never made to fail")
    broken = sum(bool(guest.faults) for guest in guests) + len(found - failed)
    return Counts(len(failed) + len(of["counted"]), broken)
