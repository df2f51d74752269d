# SPDX-License-Identifier: GPL-2.0
"""The host tests: the library's pure parts under cargo."""

import re

from lab import log
from lab import paths
from lab import process
from lab import toolchain
from lab.counts import Counts

_RESULT = re.compile(r"^test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored", re.MULTILINE)
_TEST = re.compile(r"^test (\S+) \.\.\. (\w+)", re.MULTILINE)


def run() -> Counts:
    """Runs `cargo test` on the workspace."""
    if not toolchain.have("cargo"):
        log.fail("there is no cargo in PATH (rustup or Debian's cargo-web has it)")
    with log.step("model", "testing on the host") as step:
        status = process.logged(step, ["cargo", "test", "--workspace", "--no-fail-fast"], cwd=paths.ROOT)
        text = step.log.read_text(errors="replace")
        counts = Counts()
        for passed, failed, _ in _RESULT.findall(text):
            counts += Counts(int(passed), int(failed))
        counts.skipped = [f"{name} is ignored" for name, result in _TEST.findall(text) if result == "ignored"]
        if status and not counts.failed or not counts.passed:
            step.failed(f"`cargo test` exited with {status} after {counts}")
    for name, result in _TEST.findall(text):
        if result == "FAILED":
            log.info(f"model: {name} failed, see {step.log}")
    return counts
