# SPDX-License-Identifier: GPL-2.0
"""`make soak`: boots a kernel and lets everything happen to paths, at random, under verified I/O.

MINUTES= says for how long, SEED= repeats a sequence of events, as far as timing lets it. The guest's side is
tests/soak/. What happened goes to build/reports/soak.json.
"""

import json
import os
import random
import shutil

from lab import kernel
from lab import log
from lab import modules
from lab import paths
from lab import setup
from lab import vm

MINUTES = 10
#: What the guest may take for a round's verification, and for taking everything down.
GRACE_SECONDS = 300
#: A round with everything that may make it wait.
SILENCE_SECONDS = 300
PLANTS = ("loop", "tcp", "pcie")
TOPOLOGY = vm.Topology(subsystems=(vm.Subsystem("soak", {"c0": 0, "c1": 1}, namespaces=(256,)),))


def run() -> tuple:
    """Returns the last line for the user and the exit status."""
    which = "stock" if os.environ.get("STOCK") else "ours"
    minutes = float(os.environ.get("MINUTES") or MINUTES)
    seed = int(os.environ.get("SEED") or random.randrange(1 << 31))
    setup.ensure()
    built, directory = kernel.ensure(), modules.ensure(which)
    shared = paths.BUILD / "soak"
    shutil.rmtree(shared, ignore_errors=True)
    with log.step(f"soak {which}", f"{minutes:g} minutes, SEED={seed}") as step:
        story = _Story(step)
        result = vm.run(built, ["python3", "-m", "tests.soak.run", minutes, seed, *PLANTS], directory, TOPOLOGY,
                        60 * minutes + GRACE_SECONDS, paths.LOGS / f"soak-{which}-console.log", shared,
                        smp=2, output=story.take, silence=SILENCE_SECONDS)
    return _tell(story, result, {"minutes": minutes, "seed": seed, "modules": which})


def _tell(story, result, about) -> tuple:
    file = paths.REPORTS / "soak.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({**about, "passed": result.ok, **story.last}, indent=1) + "\n")
    events = story.last.get("events", {})
    for name, count in sorted(events.items()):
        log.info(f"soak: {count:6} {name}")
    sums = (f"{sum(events.values())} events, {story.last.get('opens', 0)} opens, {story.last.get('ios', 0)} I/Os, "
            f"{story.last.get('bytes_verified', 0) >> 20} MiB verified, "
            f"slowest I/O {story.last.get('slowest_ms', 0) / 1000:.1f} s")
    if not result.ok:
        for line in story.remarks:
            print(f"    {line}", flush=True)
        return f"soak failed: {result}; repeat with SEED={about['seed']}; until then {sums}", 1
    return f"soak passed: {sums}, no error", 0


class _Story:
    """What the guest says: the last sums, and what is no record."""

    def __init__(self, step):
        self._step = step
        self.last = {}
        self.remarks = []

    def take(self, line) -> None:
        with open(self._step.log, "a") as file:
            file.write(line + "\n")
        if not line.startswith("{"):
            self.remarks.append(line)
            return
        record = json.loads(line)
        if record["type"] == "failure":
            self.remarks += [record["what"], *record["kernel"]]
            return
        self.last = record
        self._step.progress(f"{log.elapsed(record['t'])}, {sum(record['events'].values())} events, "
                            f"{record['ios']} I/Os verified")
