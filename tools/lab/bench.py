# SPDX-License-Identifier: GPL-2.0
"""`make bench`: what an I/O costs with our NVMe and with the kernel's own, counted in instructions.

Two guests that differ in their modules only, each with one emulated CPU whose clock counts
instructions, do the same (tests/bench/). What they say becomes figures, most of them with a target:
build/reports/bench.json, bench.md and bench.svg, and bench-profile.md, which says function by function
where the instructions of a read go.
"""

import json
import os
import shutil
import statistics
from dataclasses import asdict
from dataclasses import dataclass

from lab import kernel
from lab import log
from lab import modules
from lab import paths
from lab import profile
from lab import setup
from lab import vm

TIMEOUT_SECONDS = 1200
VARIANTS = ("stock", "ours")
POLICIES = ("numa", "round-robin", "queue-depth")
#: Without this the kernel takes the lock prefixes out of the code when there is one CPU only.
APPEND = "noreplace-smp"

REPORT = paths.REPORTS / "bench.json"


@dataclass(frozen=True)
class Target:
    """What a figure should come to: its `of`, "ratio" or "ours", is at most `limit`, or exactly that."""

    of: str
    limit: float
    exactly: bool = False

    def __str__(self) -> str:
        return f"{self.of} {'=' if self.exactly else '<='} {self.limit:g}"

    def met(self, figure) -> bool:
        value = round(getattr(figure, self.of), 2)
        return value == self.limit if self.exactly else value <= self.limit


@dataclass(frozen=True)
class Figure:
    """One thing that was measured on both sides."""

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
    """The last line for the user and the exit status, which says whether it could be measured."""
    setup.ensure()
    built = kernel.ensure()
    quick = bool(os.environ.get("QUICK"))
    return _report(built, {which: _measure(built, which, quick) for which in VARIANTS}), 0


def _report(built, seen) -> str:
    """Makes figures of what was seen and writes them down; returns the last line for the user."""
    figures = [figure for part in (_choosing, _growth, _layers, _unlayered, _costly)
               for figure in part(*(seen[which] for which in VARIANTS))]
    _write(built, figures, seen)
    return _last_line(figures)


def _measure(built, which, quick) -> "Seen":
    """Boots a guest with one set of modules; returns what it said."""
    directory = modules.ensure_bench(which)
    shared = paths.BUILD / "bench" / which
    shutil.rmtree(shared, ignore_errors=True)
    shared.mkdir(parents=True)
    seen = Seen(shared)
    with log.step(f"bench {which}", "counting") as step:
        def take(line):
            with open(step.log, "a") as output:
                output.write(line + "\n")
            step.progress(line)
            seen.take(line)
        result = vm.run(built, ["python3", "-m", "tests.bench.guest", shared, *(["quick"] if quick else [])], directory,
                        vm.Topology(), TIMEOUT_SECONDS, paths.LOGS / f"bench-{which}-console.log", shared,
                        append=APPEND, smp=1, icount=True, plugin=f"{_plugin()},out={shared / 'profile'}", output=take)
        if not result.ok:
            step.failed(f"the guest: {result}")
    return seen


def _plugin():
    """Compiles the plugin that counts for QEMU."""
    plugin = paths.BUILD / "bench" / "profile.so"
    plugin.parent.mkdir(parents=True, exist_ok=True)
    with log.step("bench plugin", "compiling") as step:
        step.run(["gcc", "-O2", "-Wall", "-Wextra", "-Wno-unused-parameter", "-Werror", "-shared", "-fPIC",
                  "-o", plugin, paths.ROOT / "tests" / "bench" / "profile.c"])
    return plugin


class Seen:
    """What a guest has said."""

    def __init__(self, directory):
        self._directory = directory
        #: Instructions of a choice, by policy, number of paths, state of the paths, and whether they are busy.
        self.choices = {}
        #: Instructions of an I/O, by policy ("" without a head), number of paths, and load.
        self.reads = {}
        #: By what was counted and the policy.
        self.profiles = {}

    def take(self, line) -> None:
        try:
            record = json.loads(line)
        except ValueError:
            return
        getattr(self, f"_take_{record.pop('type')}")(**record)

    def _take_choose(self, policy, paths, state, busy, count) -> None:
        self.choices[policy, paths, state, busy] = count

    def _take_read(self, policy, paths, load, count) -> None:
        self.reads[policy, paths, load] = statistics.median(count)

    def _take_profile(self, what, policy, times, symbols) -> None:
        number = len(self.profiles) + 1
        self.profiles[what, policy] = profile.Profile(
            self._directory / f"profile.{number}", self._directory / symbols, times)

    def added(self, policy, kind) -> float:
        """How many instructions of a class a read has more with a head than without, but for chance."""
        with_head, without = (self.profiles["read", which].of_class(kind) for which in (policy, ""))
        return round(with_head - without, 1) + 0.0

    def layer(self, policy, paths, load) -> float:
        return self.reads[policy, paths, load] - self.reads["", 1, load]


def _choosing(stock, ours):
    for key in ours.choices:
        policy, paths, state, busy = key
        yield Figure(f"choosing: {policy}, {paths} {state} {'busy' if busy else 'idle'} paths", "instructions",
                     stock.choices[key], ours.choices[key], _choosing_target(*key))


def _choosing_target(policy, paths, state, busy) -> Target | None:
    if state == "optimized":
        if paths == 2:
            return Target("ratio", 0.5)
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
                         Target("ratio", 0.8) if count == 2 else None)


def _unlayered(stock, ours):
    for policy, count, load in ours.reads:
        if not policy:
            yield Figure(f"no head: {load}", "instructions per I/O", stock.reads[policy, count, load],
                         ours.reads[policy, count, load], Target("ratio", 1, exactly=True))


def _costly(stock, ours):
    """Instructions that cost more than others, which a read has with a head and has not without."""
    kinds = (("full barriers", profile.BARRIER, Target("ours", 0)), ("atomic operations", profile.ATOMIC, None))
    for policy in POLICIES:
        for name, kind, target in kinds:
            yield Figure(f"{name} that the layer adds: {policy}, 2 paths, 4 KiB", "per I/O",
                         stock.added(policy, kind), ours.added(policy, kind), target)


def _write(built, figures, seen) -> None:
    paths.REPORTS.mkdir(parents=True, exist_ok=True)
    REPORT.write_text(json.dumps([figure.record() for figure in figures], indent=1) + "\n")
    title = f"# Linux {built.release}: stock and ours\n\n"
    REPORT.with_suffix(".md").write_text(title + _table(figures))
    print(_table([figure for figure in figures if figure.target]), flush=True)
    file = paths.REPORTS / "bench-profile.md"
    file.write_text(title + profile.compare(*(seen[which].profiles for which in VARIANTS)))
    log.info(f"bench: the profile is {file.relative_to(paths.ROOT)}")
    with log.step("bench plot", f"drawing {REPORT.with_suffix('.svg').name}") as step:
        step.run([setup.venv() / "bin" / "python3", paths.ROOT / "tools" / "lab" / "plot_bench.py", REPORT,
                  REPORT.with_suffix(".svg")])


def _table(figures) -> str:
    lines = ["| figure | unit | stock | ours | ratio | target | met |", "|---|---|---:|---:|---:|---|---|"]
    for figure in figures:
        ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}"
        met = {None: "", True: "yes", False: "no"}[figure.met]
        lines.append(f"| {figure.figure} | {figure.unit} | {figure.stock:.1f} | {figure.ours:.1f} | {ratio} | "
                     f"{figure.target or ''} | {met} |")
    return "\n".join(lines) + "\n"


def _last_line(figures) -> str:
    judged = [figure for figure in figures if figure.target]
    met = sum(figure.met for figure in judged)
    return f"bench: {len(figures)} figures, {met} of {len(judged)} targets met; see {os.path.relpath(REPORT)}"
