# SPDX-License-Identifier: GPL-2.0
"""The cost to each other of CPUs that choose a path at once, on the host: tests/bench/contention/.

These are times, and so different from machine to machine; the time of two CPUs against that of one says more.
"""

import json
import os
from dataclasses import dataclass

from lab.builds import source
from lab.builds import toolchain
from lab.host import log
from lab.host import paths
from lab.host import process

_PACKAGE = "contention"
#: The settings of the kernel's Rust, with inlining across crates of the functions that are inline there.
_PROFILE = {"CARGO_PROFILE_RELEASE_LTO": "fat", "CARGO_PROFILE_RELEASE_CODEGEN_UNITS": "1",
            "CARGO_PROFILE_RELEASE_OPT_LEVEL": "2"}


@dataclass(frozen=True)
class Times:
    """Nanoseconds of a choice."""

    #: On one CPU.
    one: float
    #: On two CPUs that choose from one head.
    two: float
    #: On two CPUs with a head each.
    apart: float
    #: On more CPUs that choose from one head, by how many they are.
    more: dict


def figures():
    """The figures: a name and unit, the value of either side, and its target: of which value, and at most."""
    if len(os.sched_getaffinity(0)) < 2:
        log.info("contention: no figures, since there is one CPU only, and nothing is chosen at once")
        return
    for (policy, count, busy), sides in _measure().items():
        name = f"contention: {policy}, {count} {'busy' if busy else 'idle'} paths, 2 CPUs"
        stock, ours = sides["stock"], sides["ours"]
        yield (f"{name} against 1", "times", stock.two / stock.one, ours.two / ours.one,
               _target(policy, busy, "ours", 1.5))
        yield f"{name} with a head each against 1", "times", stock.apart / stock.one, ours.apart / ours.one, None
        yield name, "ns", stock.two, ours.two, _target(policy, busy, "ratio", 0.25)
        for cpus in ours.more:
            name = f"contention: {policy}, {count} {'busy' if busy else 'idle'} paths, {cpus} CPUs"
            yield (f"{name} against 1", "times", stock.more[cpus] / stock.one, ours.more[cpus] / ours.one,
                   _target(policy, busy, "ours", 2))
            yield name, "ns", stock.more[cpus], ours.more[cpus], None


def _target(policy: str, busy: bool, of: str, limit: float) -> tuple | None:
    return (of, limit) if policy == "queue-depth" and busy else None


def _measure() -> dict:
    """The times of both sides, by policy, number of paths, and whether they are busy."""
    tree = source.kernel().tree
    if not toolchain.have("cargo"):
        log.fail("there is no cargo in PATH (rustup or Debian's cargo-web has it)")
    target = paths.CARGO / "contention"
    with log.step("bench contention", "choosing on two CPUs at once") as step:
        step.run(["cargo", "build", "--locked", "--release", "--package", _PACKAGE], cwd=paths.ROOT,
                 env=process.environment(CARGO_TARGET_DIR=str(target), KERNEL_SOURCE=str(tree),
                                         CC=str(toolchain.find().llvm.bin / "clang"), **_PROFILE))
        seen = {}

        def take(line):
            try:
                record = json.loads(line)
            except ValueError:
                return line
            policy, count, busy, side = (record.pop(name) for name in ("policy", "paths", "busy", "side"))
            seen.setdefault((policy, count, busy), {})[side] = Times(**record)
            return f"{policy}, {count} paths"

        if status := process.logged(step, [str(target / "release" / _PACKAGE)], show=take):
            step.failed(f"what chooses exited with {status}")
        return seen
