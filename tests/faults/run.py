# SPDX-License-Identifier: GPL-2.0
"""The guest's side of the allocation faults: has allocations fail, one at a time, and looks at the consequences.

    python3 -m tests.faults.run GLUE FIRST STRIDE SCENARIO...

For each scenario (scenarios.py) a trace tells where our code asks for memory. Then the first allocation of each of
these sites fails. The scenario must end with an error, or do without, or be done. Its undoing must bring back all that
was there before, and the next time the scenario must be done.

A site may stand for many allocations of the functions that it calls. So a scenario of one thread also runs with the
allocation number FIRST failing, then the one STRIDE behind it, and so on to the last. Loading a module does the same.
GLUE is a file with the names of the functions of NVMe that are on the library.

Each record is a line of JSON. A failure is the last one.
"""

import ctypes
import errno
import json
import os
import subprocess
import sys
import traceback
from collections import Counter
from pathlib import Path

from tests.faults.injection import Failing
from tests.faults.injection import FailingNth
from tests.faults.injection import Trace
from tests.faults.injection import function
from tests.faults.injection import text_of
from tests.faults.injection import without_refusals
from tests.faults.scenarios import LOADS
from tests.faults.scenarios import SCENARIOS
from tests.guest import modules
from tests.guest import wait
from tests.guest.kernel_log import KernelLog
from tests.guest.kernel_log import mark
from tests.guest.kernel_log import problems

_FINIT_MODULE = 313
#: The function of the kernel's below which no allocation of a module's load is to fail. The kernel's `configfs` in Rust
#: unregisters a subsystem whose registration failed, which was never registered, and dies: no module can help it.
_LOAD_WITHOUT = dict.fromkeys(("rust_mpath_lower", "rust_mpath_mq", "rust_mpath_ram"), "configfs_register_subsystem")
_libc = ctypes.CDLL(None, use_errno=True)


def main(glue, first, stride, names) -> int:
    modules.install()
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    glue = Path(glue).read_text().split()
    for name in names:
        log = KernelLog()
        numbers = range(int(first), sys.maxsize, int(stride))
        mark(f"faults: {name}")
        try:
            if name.startswith("load-"):
                _load(name.removeprefix("load-"), numbers, log)
            else:
                _walk(name, SCENARIOS[name](), glue, numbers, log)
        except Exception:
            _tell("failure", scenario=name, what=traceback.format_exc().splitlines(), kernel=log.new_lines()[-80:])
            return 1
    return 0


def _walk(name, scenario, glue, numbers, log) -> None:
    whole = [module for module in scenario.modules if module != "nvme_core"]
    with scenario:
        with Trace(whole, glue if "nvme_core" in scenario.modules else ()) as trace:
            scenario.act()
            scenario.settle(lambda: False)
        _assure(scenario)
    sites = sorted(trace.sites, key=str)
    _tell("sites", scenario=name, sites=[str(site) for site in sites if site.kind],
          per_cpu=[str(site) for site in sites if not site.kind])
    tried = [site for site in sites if site.kind]
    with scenario:
        for site in tried:
            outcome = _fail_at(scenario, site)
            if outcome is None:
                # A module needs this memory once in its life.
                scenario.__exit__(None, None, None)
                scenario.__enter__()
                outcome = _fail_at(scenario, site)
            assert outcome, f"no allocation failed at {site}"
            _look_at(log)
            _tell("fault", scenario=name, site=str(site), outcome=outcome)
        if scenario.own_context:
            _count_through(name, scenario, text_of(*scenario.modules), numbers, log)


def _fail_at(scenario, site) -> str | None:
    """The outcome of a scenario in which an allocation at a site failed; None when the scenario made none."""
    failing = Failing(site)
    with failing:
        outcome = _act(scenario, failing)
    if not failing.happened:
        scenario.undo()
        return None
    return _judge(scenario, outcome)


def _count_through(name, scenario, code, numbers, log) -> None:
    """Has the allocations of these numbers fail in a scenario, one at a time, until there is none."""
    def once(failing):
        with failing:
            outcome = _act(scenario, None)
        if failing.happened:
            return _judge(scenario, outcome)
        assert outcome == "done", f"without a fault: {outcome}"
        scenario.undo()
        return outcome
    _each(name, numbers, lambda number: FailingNth(number, code), once, log)


def _each(name, numbers, fails, once, log) -> None:
    """Does something `once` with each allocation failing, until it makes no allocation of such a number."""
    outcomes = Counter()
    for number in numbers:
        failing = fails(number)
        outcome = once(failing)
        if not failing.happened:
            break
        outcomes[outcome] += 1
        _look_at(log)
        _tell("numbered", scenario=name, number=number, outcome=outcome)
    _tell("counted", scenario=name, below=number, outcomes=outcomes)


def _act(scenario, failing) -> str:
    try:
        scenario.act()
    except OSError as error:
        return errno.errorcode[error.errno]
    scenario.settle(failing.has_happened if failing else lambda: True)
    return "done"


def _judge(scenario, outcome) -> str:
    """Checks that nothing is left of a failure; returns the outcome."""
    if outcome == "done":
        if scenario.is_done():
            scenario.check()
        else:
            outcome = "not done, in the background"
    scenario.undo()
    wait.until(scenario.is_undone, "everything to be as it was")
    scenario.act()
    scenario.settle()
    _assure(scenario)
    return outcome


def _assure(scenario) -> None:
    assert scenario.is_done(), "it is not done, without a fault"
    scenario.check()
    scenario.undo()
    wait.until(scenario.is_undone, "everything to be as it was")


def _load(name, numbers, log) -> None:
    """Loads a module with the allocations of these numbers failing, one at a time, when it is initialised."""
    code = function("do_one_initcall")

    def once(failing):
        for other in modules.depends(name):
            modules.load(other)
        with open(Path(os.environ["MODULES"], f"{name}.ko"), "rb") as file, failing:
            failed = _libc.syscall(_FINIT_MODULE, file.fileno(), LOADS[name].encode(), 0)
            error = ctypes.get_errno()
        assert failing.happened or not failed, f"without a fault: {os.strerror(error)}"
        if not failed:
            wait.until(lambda: modules.references(name.replace("-", "_")) == 0, f"{name} to be let go")
        # The library goes, too: an object that the module has left behind shows then.
        modules.unload()
        return errno.errorcode[error] if failed else "done"
    _each(f"load-{name}", numbers, lambda number: FailingNth(number, code, _LOAD_WITHOUT.get(name, "fill_pool")), once,
          log)


def _look_at(log) -> None:
    found = problems(without_refusals(log.new_lines()))
    assert not found, "the kernel says:\n" + "\n".join(found)


def _tell(type, **values) -> None:
    print(json.dumps({"type": type, **values}), flush=True)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:4], sys.argv[4:]))
