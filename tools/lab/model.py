# SPDX-License-Identifier: GPL-2.0
"""The host tests: the library's pure parts under cargo, as they are and under loom.

Under `--cfg loom` the atomics are loom's, which only work inside a model; so of that build only the
models of tests/model/ are run.
"""

import re

from lab import log
from lab import paths
from lab import process
from lab import toolchain
from lab.counts import Counts

_RESULT = re.compile(r"^test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored", re.MULTILINE)
_TEST = re.compile(r"^test (\S+)(?: - should panic)? \.\.\. (\w+)", re.MULTILINE)


def run() -> Counts:
    """Runs `cargo test`, and the models under loom."""
    if not toolchain.have("cargo"):
        log.fail("there is no cargo in PATH (rustup or Debian's cargo-web has it)")
    counts = _cargo_test("model", "testing on the host", [])
    return counts + _cargo_test("model-loom", "trying every interleaving", ["--release", "--test", "model"],
                                RUSTFLAGS="--cfg loom")


def _cargo_test(name: str, doing: str, options: list, **variables: str) -> Counts:
    with log.step(name, doing) as step:
        environment = process.environment(CARGO_TARGET_DIR=str(paths.CARGO / name), **variables)
        status = process.logged(step, ["cargo", "test", "--workspace", "--no-fail-fast", *options],
                                cwd=paths.ROOT, env=environment)
        counts = _count(step)
        if status and not counts.failed or not counts.passed:
            step.failed(f"`cargo test` exited with {status} after {counts}")
    return counts


def _count(step) -> Counts:
    text = step.log.read_text(errors="replace")
    counts = Counts()
    for passed, failed, _ in _RESULT.findall(text):
        counts += Counts(int(passed), int(failed))
    for test, result in _TEST.findall(text):
        if result == "FAILED":
            log.info(f"{step.name}: {test} failed, see {step.log}")
        elif result == "ignored":
            counts.skipped.append(f"{test} is ignored")
    return counts
