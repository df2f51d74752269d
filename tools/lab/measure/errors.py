# SPDX-License-Identifier: GPL-2.0
"""`make errors`: the cost of errors of paths, our NVMe beside the kernel's own.

Two guests that differ in their modules only read at random while 0.1 to 100 % of the commands on one or all paths fail
(tests/bench/errors.py). As for the bench, a guest's clock is the number of instructions that its one CPU has executed,
and leaps to the next timer when there is nothing to execute. So the figures do not depend on how busy the machine is.
Throughput is in proportion to that without errors in the same guest. build/reports/errors.json has the figures,
errors.md the table.

`tools/lab.py errors -k "1 of 1 at 1 %" --rounds 21` measures more often one case, and the case without errors that it
is compared with.
"""

import json

from lab.builds import kernel
from lab.builds import modules
from lab.builds import setup
from lab.host import log
from lab.host import paths
from lab.host import vm
from lab.measure.bench import APPEND

from tests.bench import errors as guest

VARIANTS = ("stock", "ours")
#: The percentage of the reads for which the table says how long they took at most.
SHARE = "99.99"
#: Seconds of each round of a case.
SECONDS = 1
#: Seconds that a round of a case may take here, and everything else.
ROUND_SECONDS, OTHER_SECONDS = 30, 300


def run(only, rounds) -> tuple:
    """The last line for the user, and the exit status, which says whether the measurement worked."""
    if not list(guest.cases(only)):
        return f"no case has {only} in its name", 1
    setup.ensure()
    built = kernel.ensure()
    seen = {which: _measure(built, which, only, rounds) for which in VARIANTS}
    rows = list(_rows(seen))
    paths.REPORTS.mkdir(parents=True, exist_ok=True)
    (paths.REPORTS / "errors.json").write_text(json.dumps(seen, indent=1) + "\n")
    text = "\n".join(rows) + "\n"
    (paths.REPORTS / "errors.md").write_text(text)
    print(text, end="")
    return f"{len(rows) - 2} cases are in {paths.REPORTS / 'errors.md'}", 0


def _measure(built, which, only, rounds) -> list:
    shared = paths.BUILD / "errors" / which
    limit = OTHER_SECONDS + ROUND_SECONDS * rounds * sum(len(rates) for _, _, rates in guest.cases(only))
    records = []
    with log.step(f"errors {which}", "reading while commands fail") as step:
        def take(line):
            with open(step.log, "a") as output:
                output.write(line + "\n")
            if line.startswith("{"):
                records.append(json.loads(line))
                step.progress(f"{len(records)} cases")
        result = vm.run(built, ["python3", "-m", guest.__name__, SECONDS, rounds, only],
                        modules.ensure(which), vm.Topology(), limit,
                        paths.LOGS / f"errors-{which}-console.log", shared, append=APPEND, smp=1, icount=True, output=take)
        if not result.ok:
            step.failed(f"the guest: {result}")
    return records


def _rows(seen):
    """A Markdown table of the cases.

    A row has the share of the throughput without errors, the worst read of a round, and how long nearly all reads took
    at most.
    """
    yield ("| paths | failing | errors | throughput: stock | ours | worst read, ms: stock | ours "
           f"| {SHARE} %, ms: stock | ours | failed reads: stock | ours |")
    yield "|---|---|---|---|---|---|---|---|---|---|---|"
    for stock, ours in zip(*(seen[which] for which in VARIANTS), strict=True):
        shares = [f"{record['per_second'] / _without_errors(seen[which], record):.3f}"
                  for which, record in (("stock", stock), ("ours", ours))]
        both = " | ".join(f"{record['within_ms'][SHARE]:.2f}" for record in (stock, ours))
        yield (f"| {stock['paths']} | {stock['failing']} | {stock['rate']:g} % | {shares[0]} | {shares[1]} "
               f"| {stock['worst_ms']:.2f} | {ours['worst_ms']:.2f} | {both} | {stock['errors']:g} | {ours['errors']:g} |")


def _without_errors(records, record) -> float:
    (found,) = [other["per_second"] for other in records
                if (other["paths"], other["failing"], other["rate"]) == (record["paths"], record["failing"], 0)]
    return found
