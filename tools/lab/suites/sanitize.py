# SPDX-License-Identifier: GPL-2.0
"""`make sanitize`: the tests on a kernel that looks for wrong accesses, locks and objects while they run.

A report of that kernel fails the test during which it came. At its end a guest looks for memory that it has lost
(tests/sanitize/guest.py). First the lab shows that the sanitizers would notice: a boot of its own makes each fault of
tests/sanitize/faults.c, and they must find it.
"""

import collections
import os
import re
import shutil
from collections import Counter

from lab.builds import crate
from lab.builds import doctest
from lab.builds import kernel
from lab.builds import setup
from lab.host import log
from lab.host import paths
from lab.host import process
from lab.host import vm
from lab.suites import e2e
from lab.suites import kunit
from lab.suites import rotation
from lab.verdicts import parts
from lab.verdicts.counts import Counts

from tests.e2e import suite
from tests.sanitize.sanitizers import SANITIZERS

#: Rust's own checks, by option: what each finds, and the flags that the compiler got.
RUST_CHECKS = {
    "CONFIG_RUST_OVERFLOW_CHECKS": ("Rust: arithmetic that overflows", "-Coverflow-checks=y"),
    "CONFIG_RUST_DEBUG_ASSERTIONS": ("Rust: assertions that do not hold", "-Cdebug-assertions=y"),
}
#: The faults that a guest can make: which option has found each, and the words of the report.
FAULTS = {
    "none": (None, None),
    "use_after_free": ("CONFIG_KASAN_GENERIC", "KASAN: slab-use-after-free"),
    "out_of_bounds": ("CONFIG_KASAN_GENERIC", "KASAN: slab-out-of-bounds"),
    "lock_order": ("CONFIG_PROVE_LOCKING", "possible circular locking dependency"),
    "srcu_order": ("CONFIG_PROVE_LOCKING", "possible circular locking dependency"),
    "lock_context": ("CONFIG_PROVE_LOCKING", "inconsistent lock state"),
    "no_section": ("CONFIG_PROVE_RCU", "suspicious RCU usage"),
    "sleep_in_atomic": ("CONFIG_DEBUG_ATOMIC_SLEEP", "sleeping function called from invalid context"),
    "armed_timer": ("CONFIG_DEBUG_OBJECTS_TIMERS", "ODEBUG: free active .* timer_list"),
    "queued_work": ("CONFIG_DEBUG_OBJECTS_WORK", "ODEBUG: free active .* work_struct"),
    "rcu_head_twice": ("CONFIG_DEBUG_OBJECTS_RCU_HEAD", "ODEBUG: activate active .* rcu_head"),
    "corrupt_list": ("CONFIG_DEBUG_LIST", "list_del corruption"),
    "lost_memory": ("CONFIG_DEBUG_KMEMLEAK", r"unreferenced object \S+ \(size 512\)"),
    "overflow": ("CONFIG_RUST_OVERFLOW_CHECKS", "attempt to add with overflow"),
    "assertion": ("CONFIG_RUST_DEBUG_ASSERTIONS", "left == right"),
}
FAULT_SECONDS = 120
#: Until when `make test` begins to build the kernel with sanitizers: it takes up to as long again.
BUILD_UNTIL_SECONDS = 30 * 60
_FAULTS_SOURCE = paths.ROOT / "tests" / "sanitize"
#: The suites after which a short run looks for lost memory, others every day: to look takes longer than to test.
LEAKS_IN_TURNS = ["mpath_[a-c]*", "mpath_d*", "mpath_[e-l]*", "mpath_[m-r]*", "mpath_[s-z]*", f"{doctest.MODULE}*"]
#: The end-to-end tests that a short run always has: they need a kernel in which allocations, and bios, fail on demand, or
#: one with lockdep.
ALWAYS = (
    "a_head_takes_the_size_of_the_path_that_is_left",
    "a_head_whose_first_path_cannot_be_added_leaves_nothing_behind",
    "a_bio_that_the_disk_of_a_path_refuses_fails",
    "ram_a_bio_that_the_disk_of_a_path_refuses_fails_over_c",
)
#: The tests of which it has some, others every day: objects go while they are used.
IN_TURNS = [
    "an_error_of_a_path_is_not_seen_over_loop",
    "an_error_of_a_path_is_not_seen_over_tcp",
    "a_disconnected_path_costs_no_io_over_tcp",
    "io_fails_when_every_path_is_disconnected_over_loop",
    "heads_come_and_go_with_readers_on_them_over_loop",
    "a_namespace_that_goes_fails_its_io_and_comes_back",
    "only_a_fence_keeps_an_old_write_from_being_reported_when_the_head_goes_over_auto",
    "a_controller_unplugged_in_software_costs_no_io",
    "ioctls_survive_paths_that_come_and_go",
    "a_character_device_that_is_held_open_answers_with_errors_when_its_head_has_gone_over_loop",
    "ram_disks_come_and_go_with_readers_on_them_over_rust",
    "ram_paths_that_come_and_go_at_once_leave_a_disk_over_c",
]
#: How many of them.
SAMPLE = 2
#: The files with the tests on the drivers of samples/.
SAMPLES = ("test_samples", "test_lower", "test_requests", "test_rust_requests")


def run() -> Counts:
    """Runs all parts, and shows how many tests each sanitizer has watched."""
    results = parts.run(PARTS, "sanitize")
    table = _table(results)
    for line in table:
        print(line, flush=True)
    paths.REPORTS.mkdir(parents=True, exist_ok=True)
    (paths.REPORTS / "sanitize.txt").write_text("\n".join(table) + "\n")
    return sum(results.values(), Counts())


def check_in_time() -> Counts:
    """check(), unless its kernel would have to be built, and it is too late for that. Then the run is incomplete."""
    if os.environ.get("KDIR"):
        return Counts(left_out=["KDIR= names one kernel, and this needs another one"])
    if not kernel.is_built(kernel.SANITIZE) and log.since_start() > BUILD_UNTIL_SECONDS:
        return Counts(left_out=[f"{log.elapsed(log.since_start())} have passed, and the kernel with sanitizers takes "
                                "longer to build than the hour that all of this may: `make sanitize QUICK=1` does it"])
    return check()


def check() -> Counts:
    """The most important of it, in less time: all KUnit suites and some end-to-end tests.

    It looks for lost memory after some of those suites.
    """
    names = [*ALWAYS, *rotation.some_of(IN_TURNS, SAMPLE)]
    suites = rotation.one_of(LEAKS_IN_TURNS, 0)
    log.info(f"sanitize: {len(names)} end-to-end tests, and lost memory after {suites}, as DAY={rotation.day()} has them")
    return (kunit.run(name=kernel.SANITIZE, leaks=False)
            + kunit.run(name=kernel.SANITIZE, suites=suites)
            + e2e.run_cases(names, name=kernel.SANITIZE, part="check", leaks=False, most=1))


def _e2e(part: str):
    """The end-to-end tests on the sample drivers, or all others."""
    names = [name for name in suite.SHORT
             if (suite.file_of(name) in SAMPLES) == (part == "samples")]
    return lambda: e2e.run_cases(names, name=kernel.SANITIZE, part=part)


def _faults() -> Counts:
    """Makes every fault, two guests at a time."""
    setup.ensure()
    built = kernel.ensure(kernel.SANITIZE)
    directory = kernel.place(kernel.SANITIZE) / "modules" / "faults"
    with log.step("faults", "building the faults") as step:
        step.run([*built.make(), f"M={_FAULTS_SOURCE}", f"MO={directory}", "modules"], env=kernel.environment(),
                 show=kernel.show)
    queue = collections.deque(FAULTS)
    outcomes = []
    with log.step("faults found", f"making {len(queue)} faults") as step:
        def work(slot):
            while queue:
                fault = queue.popleft()
                step.progress(fault)
                outcomes.append(_make(fault, built, directory, slot))
        process.all_at_once(lambda slot=slot: work(slot) for slot in range(1, e2e.GUESTS + 1))
    return sum(outcomes, Counts())


def _make(fault, built, directory, slot) -> Counts:
    """Boots a guest, makes one fault in it, and checks that the guest fails for it."""
    option, text = FAULTS[fault]
    shared = kernel.place(kernel.SANITIZE) / f"fault-{slot}"
    shutil.rmtree(shared, ignore_errors=True)
    console = paths.LOGS / f"fault-{fault}-console.log"
    result = vm.run(built, ["insmod", directory / "provoke.ko", f"fault={fault}"], directory, vm.Topology(),
                    FAULT_SECONDS, console, shared, smp=e2e.CPUS, output=lambda line: None)
    if option is None:
        missing = [each.option for each in SANITIZERS if each.option not in result.at_work]
        found = result.ok and not missing
        what = f"a guest without a fault: {result}; not at work: {', '.join(missing) or 'none'}"
    else:
        found = not result.ok and any(re.search(text, line) for report in result.reports for line in report.lines)
        what = f"{fault} was not reported by {option}: {result}"
    if found:
        return Counts(passed=1, under=Counter({option: 1} if option else ()))
    log.failure(f"faults: {what}, see {console}")
    for report in result.reports:
        log.info(f"faults: the kernel says: {report}")
    return Counts(failed=1)


#: All the parts that run on the kernel with sanitizers.
PARTS = {
    "faults": _faults,
    "kunit": lambda: kunit.run(name=kernel.SANITIZE),
    "nvme": _e2e("nvme"),
    "samples": _e2e("samples"),
}


def _table(results: dict) -> list:
    """How many tests of each part ran under which sanitizer, as the guests said at their ends."""
    options = kernel.ensure(kernel.SANITIZE).options()
    flags = crate.ensure(kernel.SANITIZE).flags
    rows = [("", "finds", *results)]
    for each in SANITIZERS:
        set_up = options.get(each.option) == "y"
        rows.append((each.option, each.finds, *(counts.under[each.option] if set_up else "off"
                                                for counts in results.values())))
    for option, (finds, flag) in RUST_CHECKS.items():
        rows.append((option, finds, *(_under_rust(name, option, counts) if flag in flags else "off"
                                      for name, counts in results.items())))
    widths = [max(len(str(cell)) for cell in column) for column in zip(*rows, strict=True)]
    return ["  ".join(str(cell).ljust(width) if number < 2 else str(cell).rjust(width)
                      for number, (cell, width) in enumerate(zip(row, widths, strict=True))).rstrip() for row in rows]


def _under_rust(part: str, option: str, counts: Counts) -> int:
    """How many tests ran under these checks: they are in the code, so all that ran; faults are one each."""
    return counts.under[option] if part == "faults" else counts.passed + counts.failed
