# SPDX-License-Identifier: GPL-2.0
"""`make errors`: what errors of paths cost, our NVMe beside the kernel's own.

Two guests that differ in their modules only read at random while 0.1 to 100 % of the commands on one or all paths
fail (tests/bench/errors.py). The kernel is one that injects faults. As for the bench, a guest's clock is the number
of instructions that its one CPU has executed, and leaps to the next timer when there is nothing to execute; so the
figures do not depend on how busy the machine is. Throughput is in proportion to that without errors in the same
guest. build/reports/errors.json has the figures, errors.md the table.
"""

import json

from lab import kernel
from lab import log
from lab import modules
from lab import paths
from lab import setup
from lab import vm
from lab.bench import APPEND

CONFIGURATION = "x86_64+faults"
VARIANTS = ("stock", "ours")
#: Seconds of each round of a case.
SECONDS = 1
TIMEOUT_SECONDS = 1200


def run() -> tuple:
    """The last line for the user and the exit status, which says whether it could be measured."""
    setup.ensure()
    built = kernel.ensure(CONFIGURATION)
    seen = {which: _measure(built, which) for which in VARIANTS}
    rows = list(_rows(seen))
    paths.REPORTS.mkdir(parents=True, exist_ok=True)
    (paths.REPORTS / "errors.json").write_text(json.dumps(seen, indent=1) + "\n")
    text = "\n".join(rows) + "\n"
    (paths.REPORTS / "errors.md").write_text(text)
    print(text, end="")
    return f"{len(rows) - 2} cases are in {paths.REPORTS / 'errors.md'}", 0


def _measure(built, which) -> list:
    shared = paths.BUILD / "errors" / which
    records = []
    with log.step(f"errors {which}", "reading while commands fail") as step:
        def take(line):
            with open(step.log, "a") as output:
                output.write(line + "\n")
            if line.startswith("{"):
                records.append(json.loads(line))
                step.progress(f"{len(records)} cases")
        result = vm.run(built, ["python3", "-m", "tests.bench.errors", str(SECONDS)],
                        modules.ensure(which, CONFIGURATION), vm.Topology(), TIMEOUT_SECONDS,
                        paths.LOGS / f"errors-{which}-console.log", shared, append=APPEND, smp=1, icount=True, output=take)
        if not result.ok:
            step.failed(f"the guest: {result}")
    return records


def _rows(seen):
    """A Markdown table: of each case, the share of the throughput without errors, and the worst read."""
    yield "| paths | failing | errors | throughput: stock | ours | worst read, ms: stock | ours | failed reads: stock | ours |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for stock, ours in zip(*(seen[which] for which in VARIANTS), strict=True):
        shares = [f"{record['per_second'] / _without_errors(seen[which], record):.2f}"
                  for which, record in (("stock", stock), ("ours", ours))]
        yield (f"| {stock['paths']} | {stock['failing']} | {stock['rate']:g} % | {shares[0]} | {shares[1]} "
               f"| {stock['worst_ms']:.1f} | {ours['worst_ms']:.1f} | {stock['errors']} | {ours['errors']} |")


def _without_errors(records, record) -> float:
    (found,) = [other["per_second"] for other in records
                if (other["paths"], other["failing"], other["rate"]) == (record["paths"], record["failing"], 0)]
    return found
