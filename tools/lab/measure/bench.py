# SPDX-License-Identifier: GPL-2.0
"""`make bench`: the cost of an I/O with our NVMe and with the kernel's own, counted in instructions.

Two guests that differ in their modules only do the same (tests/bench/). Each has one emulated CPU whose clock counts
instructions. Their output becomes figures, most of them with a target: build/reports/bench.json, bench.md and
bench.svg. The report bench-profile.md says function by function where the instructions of a read go. A third guest,
with two paths only, has our NVMe on a library that does without block/lower.patch, and the lab compares it with stock,
too. A fourth has the drivers of samples/: the lab compares those in Rust with their twins in C.
"""

import collections
import json
import operator
import os
import shutil
import statistics
from dataclasses import asdict
from dataclasses import dataclass

from lab.builds import kernel
from lab.builds import modules
from lab.builds import plugins
from lab.builds import setup
from lab.host import log
from lab.host import paths
from lab.host import vm
from lab.measure import contention
from lab.measure import profile

TIMEOUT_SECONDS = 1200
VARIANTS = ("stock", "ours")
#: Ours without block/lower.patch, of which the lab measures little.
AROUND = "around"
#: The drivers of samples/.
SAMPLES = "samples"
POLICIES = ("numa", "round-robin", "queue-depth")
#: Without this the kernel takes the lock prefixes out of the code when there is one CPU only.
APPEND = "noreplace-smp"
#: How many CPUs a guest has in which several submit, and the parameter that a kernel needs there to find a timer for
#: each.
CPUS, APPEND_OF_CPUS = 4, f"{APPEND} hpet=disable"

#: The plugins with which QEMU counts.
PLUGINS = paths.ROOT / "tests" / "bench"

#: The number of paths and the load that most figures are for.
FEW, LOAD = 2, "4 KiB"
#: The profile does not list fewer instructions of a read's longest wait than this.
WORTH_A_LINE_OF_A_WAIT = 200
#: The modules of the driver, and of the library.
DRIVER = ("nvme_core", "nvme_loop", "nvme_fabrics", "libmultipath")
#: An operation that happens less often in a read than this is not its steady state.
STEADY = 0.1

#: Instructions that the layer added to a read at 60667ee, when the library knew of no patch: stock's and ours, by policy
#: and load.
EARLIER = {
    ("numa", "4 KiB"): (553.7, 438.3),
    ("numa", "128 KiB"): (752.9, 504.8),
    ("numa", "128 KiB, split in two"): (1531.7, 1217.4),
    ("round-robin", "4 KiB"): (575.8, 443.2),
    ("round-robin", "128 KiB"): (782.9, 510.1),
    ("round-robin", "128 KiB, split in two"): (1571.8, 1214.4),
    ("queue-depth", "4 KiB"): (606.4, 468.4),
    ("queue-depth", "128 KiB"): (813.8, 535.5),
    ("queue-depth", "128 KiB, split in two"): (1632.7, 1264.9),
}

#: The drivers of samples/ that are twins, by what their paths take: in C, and in Rust.
TWINS = {"bios": ("c", "rust"), "requests": ("c_mq", "rust_mq")}
#: How many digits behind the point are shown of some units.
DIGITS = {"ms": 3, "reads": 2, "times": 3}

REPORT = paths.REPORTS / "bench.json"


@dataclass(frozen=True)
class Target:
    """The target of a figure: its `of`, "ratio" or "ours", is `how` `limit`."""

    of: str
    limit: float
    how: str = "<="

    def __str__(self) -> str:
        return f"{self.of} {self.how} {self.limit:.4g}"

    def met(self, figure) -> bool:
        compare = {"<=": operator.le, "=": operator.eq, ">=": operator.ge, "<": operator.lt}[self.how]
        return compare(getattr(figure, self.of), self.limit)


@dataclass(frozen=True)
class Figure:
    """A figure that was measured on both sides."""

    figure: str
    unit: str
    stock: float
    ours: float
    target: Target | None = None

    @property
    def ratio(self) -> float | None:
        return self.ours / self.stock if self.stock else None

    @property
    def met(self) -> bool | None:
        return self.target.met(self) if self.target else None

    def record(self) -> dict:
        return {**asdict(self), "stock": round(self.stock, 3), "ours": round(self.ours, 3),
                "ratio": None if self.ratio is None else round(self.ratio, 4),
                "target": str(self.target) if self.target else None, "met": self.met}


def run() -> tuple:
    """The last line for the user, and the exit status, which says whether every target is met."""
    setup.ensure()
    built = kernel.ensure()
    quick = bool(os.environ.get("QUICK"))
    seen = {which: _measure(built, which, quick) for which in VARIANTS}
    seen[AROUND] = _measure(built, AROUND, quick=True)
    return _report(built, seen, _measure_samples(built))


def _report(built, seen, samples) -> tuple:
    """Makes figures of what was seen and writes them down; returns the last line for the user, and 1 if a target was
    missed.
    """
    figures = [figure for part in (_choosing, _growth, _layers, _unlayered, _costly, _memory, _lives,
                                _balances, _flights, _flapping)
               for figure in part(*(seen[which] for which in VARIANTS))]
    figures += _layers_without_patch(seen["stock"], seen[AROUND])
    figures += _twins(samples)
    figures += [Figure(*row, target and Target(*target)) for *row, target in contention.figures()]
    _write(built, figures, seen)
    return _last_line(figures), int(any(figure.met is False for figure in figures))


def _measure(built, which, quick) -> "Seen":
    """Boots guests with one set of modules; returns their output."""
    shared = paths.BUILD / "bench" / which
    shutil.rmtree(shared, ignore_errors=True)
    shared.mkdir(parents=True)
    seen = Seen(shared)
    _boot(built, which, "guest", [shared, *(["quick"] if quick else [])], shared, seen, plugin="profile")
    if not quick:
        _boot(built, which, "life", [], shared, seen)
        _boot(built, which, "loss", [shared], shared, seen, plugin="longest")
        _boot(built, which, "flap", [], shared, seen)
        _boot(built, which, "flight", [], shared, seen, cpus=CPUS)
    return seen


def _measure_samples(built) -> "Seen":
    """Boots a guest with the drivers of samples/; returns what it said."""
    shared = paths.BUILD / "bench" / SAMPLES
    shared.mkdir(parents=True, exist_ok=True)
    seen = Seen(shared)
    _boot(built, SAMPLES, "samples", [], shared, seen)
    return seen


def _boot(built, which, act, arguments, shared, seen, plugin="", cpus=1) -> None:
    directory = modules.ensure_bench_samples() if which == SAMPLES else modules.ensure_bench(which)
    with log.step(f"bench {act} {which}", "counting") as step:
        def take(line):
            with open(step.log, "a") as output:
                output.write(line + "\n")
            step.progress(line[:80])
            seen.take(line)
        result = vm.run(built, ["python3", "-m", f"tests.bench.{act}", *arguments], directory, vm.Topology(),
                        TIMEOUT_SECONDS, paths.LOGS / f"bench-{act}-{which}-console.log", shared,
                        append=APPEND if cpus == 1 else APPEND_OF_CPUS, smp=cpus, icount=True, output=take,
                        plugin=f"{plugins.ensure(PLUGINS / f'{plugin}.c')},out={shared / plugin}" if plugin else "")
        if not result.ok:
            step.failed(f"the guest: {result}")


class Seen:
    """The output of a guest."""

    def __init__(self, directory):
        self._directory = directory
        #: Instructions of a choice, by policy, number of paths, state of the paths, and whether they are busy.
        self.choices = {}
        #: Instructions of a read, by policy ("" without a head), number of paths, and load.
        self.reads = {}
        #: Profiles of the same.
        self.profiles = {}
        #: Profiles of choices, by policy.
        self.chosen = {}
        #: The objects of a head and its paths: address, bytes, name.
        self.objects = []
        #: Seconds of long operations, by their name.
        self.seconds = {}
        #: The longest read of each loss of a path, in milliseconds, by the number of namespaces.
        self.losses = {}
        #: Bytes that a namespace with two paths takes in all.
        self.namespace_bytes = None
        #: Of each run by policy and paths: reads per second, and by how much the most in flight on a path exceeded the
        #: least. And how many were in flight on a path by its kind, "slow" or "equal".
        self.balances = {}
        #: The same of the runs with several submitters, by policy and case: reads per second, and by how much the most
        #: in flight on a path exceeded the least.
        self.flights = {}
        #: The cost of a read by policy and whether a controller flaps that its head does not use. And how often that
        #: controller changed its state in a second.
        self.flapping = {}
        self.changes = {}
        #: By how much the first read of a head after such a change costs more than the next one, by policy and change.
        self.first = {}
        #: Instructions of a read of a driver of samples/, by its name and load.
        self.samples = {}
        self._symbols = {}
        self._files = 0

    def take(self, line) -> None:
        try:
            record = json.loads(line)
        except ValueError:
            return
        getattr(self, f"_take_{record.pop('type')}")(**record)

    def _take_choose(self, policy, paths, state, busy, count) -> None:
        self.choices[policy, paths, state, busy] = count

    def _take_read(self, policy, paths, load, times, count) -> None:
        self.reads[policy, paths, load] = statistics.median(count)
        self.profiles[policy, paths, load] = self._profile(len(count), times, "with" if policy else "without")

    def _take_profile(self, policy, times) -> None:
        self.chosen[policy] = self._profile(1, times, "with")

    def _take_objects(self, objects) -> None:
        self.objects = [(int(address, 16), int(size), what) for address, size, what in objects]

    def _take_life(self, what, value) -> None:
        self.seconds[what] = value

    def _take_memory(self, value) -> None:
        self.namespace_bytes = value

    def _take_losses(self, namespaces, longest) -> None:
        self.losses[namespaces] = longest

    def _take_balance(self, policy, paths, per_second, flight, spread) -> None:
        runs = self.balances.setdefault((policy, paths), collections.defaultdict(list))
        for what, value in {"per_second": per_second, "spread": spread, **flight}.items():
            runs[what].append(value)

    def _take_flight(self, policy, case, per_second, spread, **rest) -> None:
        runs = self.flights.setdefault((policy, case), collections.defaultdict(list))
        runs["per_second"].append(per_second)
        runs["spread"].append(spread)

    def _take_busy(self, policy, flaps, count, per_second) -> None:
        self.flapping[policy, flaps] = count
        if flaps:
            self.changes[policy] = per_second

    def _take_first(self, policy, what, more, **rest) -> None:
        self.first[policy, what] = more

    def _take_sample(self, driver, load, count) -> None:
        self.samples[driver, load] = statistics.median(count)

    def _profile(self, count, times, head) -> profile.Profile:
        """The profile of the files that come next: the plugin numbers them."""
        if head not in self._symbols:
            self._symbols[head] = profile.Symbols(self._directory / f"symbols-{head}-head")
        files = [self._directory / f"profile.{self._files + number}" for number in range(1, count + 1)]
        self._files += count
        return profile.Profile(files, self._symbols[head], times)

    def without_head(self, load) -> profile.Profile:
        return self.profiles["", 1, load]

    def layer(self, policy, paths, load) -> float:
        """The cost that a head adds to a read, but for functions whose cost varies without a head."""
        chance = self.without_head(load).chance
        return self.profiles[policy, paths, load].total(chance) - self.without_head(load).total(chance)

    def added(self, policy, kind) -> float:
        """How many instructions of a class a head adds to a read, but for chance."""
        return round(self.profiles[policy, FEW, LOAD].of_class(kind) - self.without_head(LOAD).of_class(kind), 1) + 0.0

    def shared_stores(self, policy) -> dict:
        """How often a read stores to an object that all CPUs use, by the object and the function.

        Functions that do the same without a head are not the layer's.
        """
        profiled, without = self.profiles[policy, FEW, LOAD], self.without_head(LOAD)
        found = collections.Counter()
        for address, size, what in self.objects:
            for function, count in profiled.stores(address, address + size).items():
                if abs(profiled.of_function(function) - without.of_function(function)) >= profile.WORTH_LISTING:
                    found[what, function] += count
        return {key: count for key, count in found.items() if count >= STEADY}

    def longest_wait(self) -> profile.Wait:
        """Of the longest read while a path was lost, the instructions executed while its disk did not have it."""
        return profile.Wait(self._directory / "longest", profile.Symbols(self._directory / "symbols-loss"),
                            "null_queue_rq", "null_cmd_timer_expired")

    def bytes_of(self, *names) -> int:
        """The memory of all objects of these names."""
        return sum(size for _, size, what in self.objects if what in names)


def _choosing(stock, ours):
    for key in ours.choices:
        policy, paths, state, busy = key
        yield Figure(f"choosing: {policy}, {paths} {state} {'busy' if busy else 'idle'} paths", "instructions",
                     stock.choices[key], ours.choices[key], _choosing_target(*key))


def _choosing_target(policy, paths, state, busy) -> Target | None:
    if state == "optimized":
        if paths == 2:
            return Target("ratio", 0.45)
        if policy == "queue-depth" and busy:
            return {32: Target("ratio", 0.15), 128: Target("ratio", 0.05)}.get(paths)
    elif policy == "round-robin" and paths == 32:
        return Target("ratio", 0.25)
    return None


def _growth(stock, ours):
    for key in ours.choices:
        policy, paths, *rest = key
        if paths == 128:
            few = (policy, 2, *rest)
            state, busy = rest
            yield Figure(f"choosing: {policy}, 128 {state} {'busy' if busy else 'idle'} paths against 2", "times",
                         stock.choices[key] / stock.choices[few], ours.choices[key] / ours.choices[few],
                         Target("ours", 1.5))


def _layers(stock, ours):
    for policy, count, load in ours.reads:
        if policy:
            yield Figure(f"layer: {policy}, {count} paths, {load}", "instructions per I/O",
                         stock.layer(policy, count, load), ours.layer(policy, count, load),
                         _layer_target(policy, load) if count == FEW else None)


def _layer_target(policy, load) -> Target:
    if load == LOAD:
        return Target("ratio", 0.55 if policy == "queue-depth" else 0.5)
    return Target("ratio", 0.65 if "split" in load else 0.45)


def _layers_without_patch(stock, ours):
    """A library that submits bios to paths as to any other disk: no worse than it once was."""
    for policy, load in EARLIER:
        yield Figure(f"layer without the patch: {policy}, {FEW} paths, {load}", "instructions per I/O",
                     stock.layer(policy, FEW, load), ours.layer(policy, FEW, load),
                     Target("ratio", _ratio_of_earlier(policy, load)))


def _ratio_of_earlier(policy, load) -> float:
    """Stock costs more in a kernel of another configuration, and so does ours."""
    stock, ours = EARLIER[policy, load]
    return ours / stock


def _unlayered(stock, ours):
    for policy, count, load in ours.reads:
        if not policy:
            yield Figure(f"no head: {load}", "instructions per I/O", stock.reads[policy, count, load],
                         ours.reads[policy, count, load])
            yield Figure(f"no head, in the driver and the library: {load}", "instructions per I/O",
                         *(seen.without_head(load).of_modules(DRIVER) for seen in (stock, ours)), Target("ratio", 1))


def _costly(stock, ours):
    """Instructions that cost more than others, which a read has with a head and lacks without."""
    kinds = (("full barriers", profile.BARRIER, Target("ours", 0)), ("atomic operations", profile.ATOMIC, None))
    for policy in POLICIES:
        for name, kind, target in kinds:
            yield Figure(f"{name} that the layer adds: {policy}, {FEW} paths, {LOAD}", "per I/O",
                         stock.added(policy, kind), ours.added(policy, kind), target)
        yield Figure(f"stores to lines that all CPUs use: {policy}, {FEW} paths, {LOAD}", "per I/O",
                     *(round(sum(seen.shared_stores(policy).values()), 1) for seen in (stock, ours)),
                     Target("ours", 0) if policy != "numa" else None)


def _memory(stock, ours):
    """Allocated memory, but for the parts that both have alike: the disk, its queue, SRCU's counters."""
    for figure, names, target in (("a head", ("head", "head of the library", "shortlist"), Target("ratio", 1, "<")),
                                  (f"{FEW} paths", ("path",), None)):
        yield Figure(f"memory of {figure}, 2 possible nodes", "bytes",
                     stock.bytes_of(*names), ours.bytes_of(*names), target)


    if ours.namespace_bytes is not None:
        yield Figure(f"memory of a namespace with {FEW} paths in all", "bytes",
                     stock.namespace_bytes, ours.namespace_bytes)


def _lives(stock, ours):
    for what in ours.seconds:
        yield Figure(what, "s", stock.seconds[what], ours.seconds[what],
                     Target("ratio", 0.5 if "namespaces" in what else 1) if "removing" in what else None)
    for count, longest in ours.losses.items():
        what = f"longest read while one of 2 paths is lost, {count} namespaces"
        yield Figure(what, "ms", statistics.median(stock.losses[count]), statistics.median(longest), Target("ratio", 1))
        yield Figure(f"{what}, in the worst of {len(longest)} losses", "ms", max(stock.losses[count]), max(longest),
                     Target("ratio", 1.1))


def _balances(stock, ours):
    for policy, which in ours.balances:
        def figure(name, unit, what, target=None):
            return Figure(name, unit, *(statistics.mean(seen.balances[policy, which][what]) for seen in (stock, ours)),
                          target)

        slow = "slow" in which
        yield figure(f"throughput: {policy}, {which}", "reads/s", "per_second",
                     Target("ratio", 1, ">=") if slow and policy == "queue-depth" else None)
        yield figure(f"in flight on {which}, the most less the least: {policy}", "reads", "spread")
        if slow:
            yield figure(f"in flight on the slow path, {which}: {policy}", "reads", "slow")
        yield figure(f"in flight on each {'other' if slow else 'path'}, {which}: {policy}", "reads", "equal")


def _flights(stock, ours):
    for policy, case in ours.flights:
        def figure(name, unit, what, target=None):
            return Figure(f"{name}: {policy}, {case}", unit,
                          *(statistics.mean(seen.flights[policy, case][what]) for seen in (stock, ours)), target)

        yield figure("in flight of several CPUs, the most less the least", "reads", "spread",
                     Target("ratio", 1) if policy == "queue-depth" else None)
        yield figure("throughput of several CPUs", "reads/s", "per_second")


def _flapping(stock, ours):
    for policy in ours.changes:
        yield Figure(f"heads beside a controller that flaps, against without: {policy}", "times",
                     *(seen.flapping[policy, True] / seen.flapping[policy, False] for seen in (stock, ours)),
                     Target("ours", 1.02))
        yield Figure(f"changes of state of that controller: {policy}", "per second",
                     stock.changes[policy], ours.changes[policy])
    for policy, what in ours.first:
        yield Figure(f"first read of a head after a {what} of a controller of others, more than the next: {policy}",
                     "instructions", stock.first[policy, what], ours.first[policy, what])


def _twins(seen):
    """A read of a driver in Rust, as "ours", beside that of its twin in C, as "stock"."""
    for taken, (in_c, in_rust) in TWINS.items():
        for load in dict.fromkeys(load for _, load in seen.samples):
            yield Figure(f"samples whose paths take {taken}, C and Rust: a read of {load}", "instructions per I/O",
                         seen.samples[in_c, load], seen.samples[in_rust, load],
                         Target("ratio", 1.05) if taken == "requests" else None)


def _write(built, figures, seen) -> None:
    paths.REPORTS.mkdir(parents=True, exist_ok=True)
    REPORT.write_text(json.dumps([figure.record() for figure in figures], indent=1) + "\n")
    title = f"# Linux {built.release}: stock and ours\n\n"
    REPORT.with_suffix(".md").write_text(title + _table(figures))
    print(_table([figure for figure in figures if figure.target]), flush=True)
    file = paths.REPORTS / "bench-profile.md"
    file.write_text(title + _profiles(*(seen[which] for which in (*VARIANTS, AROUND))))
    log.info(f"bench: the profile is {file.relative_to(paths.ROOT)}")
    with log.step("bench plot", f"drawing {REPORT.with_suffix('.svg').name}") as step:
        step.run([setup.venv() / "bin" / "python3", paths.ROOT / "tools" / "lab" / "measure" / "plot_bench.py", REPORT,
                  REPORT.with_suffix(".svg")])


def _profiles(stock, ours, around) -> str:
    """Where the instructions go: of a read without a head, those that a head adds, and of a choice."""
    pair = [seen.without_head(LOAD) for seen in (stock, ours)]
    texts = [profile.title(f"A read of {LOAD} without a head", pair), profile.compare(pair)]
    for policy in POLICIES:
        texts += _profile_of_reads(policy, stock, ours)
        for which, seen in zip(VARIANTS, (stock, ours), strict=True):
            texts.append(f"\nStores to lines that all CPUs use, {which}: " + (", ".join(
                f"{count:.2f} to the {what} in {profile.readable(function)}"
                for (what, function), count in seen.shared_stores(policy).items()) or "none") + "\n")
        chosen = [seen.chosen[policy] for seen in (stock, ours)]
        texts += [profile.title(f"A choice by {policy}, {FEW} paths", chosen), profile.compare(chosen)]
    for policy in POLICIES:
        texts += _profile_of_reads(policy, stock, around, ", without the patch")
    if ours.losses:
        waits = [seen.longest_wait() for seen in (stock, ours)]
        texts += [profile.title("The longest read while a path is lost, but for the time when the disk has it", waits),
                  profile.compare(waits, worth=WORTH_A_LINE_OF_A_WAIT)]
    return "\n".join(texts)


def _profile_of_reads(policy, stock, ours, how="") -> list:
    """The instructions that a head adds to a read, under a title."""
    pair = [seen.profiles[policy, FEW, LOAD] for seen in (stock, ours)]
    return [profile.title(f"A read of {LOAD} by {policy}, {FEW} paths{how}", pair),
            profile.compare(pair, [seen.without_head(LOAD) for seen in (stock, ours)])]


def _table(figures) -> str:
    lines = ["| figure | unit | stock | ours | ratio | target | met |", "|---|---|---:|---:|---:|---|---|"]
    for figure in figures:
        ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}"
        met = {None: "", True: "yes", False: "no"}[figure.met]
        digits = DIGITS.get(figure.unit, 1)
        lines.append(f"| {figure.figure} | {figure.unit} | {figure.stock:.{digits}f} | {figure.ours:.{digits}f} | "
                     f"{ratio} | {figure.target or ''} | {met} |")
    return "\n".join(lines) + "\n"


def _last_line(figures) -> str:
    judged = [figure for figure in figures if figure.target]
    met = sum(figure.met for figure in judged)
    return f"bench: {len(figures)} figures, {met} of {len(judged)} targets met; see {os.path.relpath(REPORT)}"
