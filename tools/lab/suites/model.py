# SPDX-License-Identifier: GPL-2.0
"""The host tests: the library's pure parts under cargo, as they are and under loom.

Under `--cfg loom` the atomics are loom's, which only work inside a model. So the lab runs only the models of
tests/model/ of that build. The parsers of tests/fuzz/ get a few cases with the other host tests, and from `make fuzz`
as many as the user has time for.
"""

import datetime
import os
import re

from lab.builds import crates
from lab.builds import programs
from lab.builds import toolchain
from lab.host import digest
from lab.host import log
from lab.host import paths
from lab.host import patterns
from lab.host import process
from lab.verdicts import memo
from lab.verdicts import record
from lab.verdicts.counts import Counts

_RESULT = re.compile(r"^test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored", re.MULTILINE)
_TEST = re.compile(r"^test (\S+)(?: - should panic)? \.\.\. (\w+)", re.MULTILINE)
#: The lines of tests/model/explore.rs, below the name of the test.
_SAID = re.compile(r"^---- (\S+) stdout ----$|^mutant .* caught in execution \d+.*$"
                   r"|^holds in (?:all )?(\d+) executions(?: with at most (\d+) preemptions)?$", re.MULTILINE)
#: The lines of tests/fuzz/ about a parser, and about one with a mistake.
_PARSED = re.compile(r"^[\w ]+: \d+ cases$|^mutant .*$", re.MULTILINE)
#: All files that are compiled for the models.
_SOURCES = ("Cargo.toml", "Cargo.lock", "rust/host.rs", "rust/pure.rs", "rust/pure/**/*.rs", "tests/model/*.rs")
#: cargo's words for a test's end, in the words of a record.
_OUTCOMES = {"ok": record.PASSED, "FAILED": record.FAILED, "ignored": record.SKIPPED}


def run(only: str = "") -> Counts:
    """Runs `cargo test`, and the models under loom; all tests, or those whose name contains `only`."""
    counts = run_host(only) + run_models(only)
    if not counts.passed and not counts.failed:
        log.fail(f"no test of the host is called {only}")
    return counts


def run_host(only: str = "") -> Counts:
    """Runs the tests that need no loom; takes the old programs if nothing has changed since."""
    at = programs.key()
    if known := programs.recall(at):
        with log.step("model", "testing on the host, with programs that were built before") as step:
            statuses = [programs.run(step, program, [only][:bool(only)]) for program in known]
            return _concluded("host", step, any(statuses), only)
    return _cargo_test("host", "model", "testing on the host", [], only, at)


def run_models(only: str = "") -> Counts:
    """Runs the models under loom, unless they have come to their end with the same sources before."""
    at = "" if only else _identity()
    if kept := at and memo.recall("model", at):
        return _recalled(kept)
    counts = _cargo_test("model", "model-loom", "interleaving threads",
                         ["--release", "--test", "model", "--", "--show-output"], only, RUSTFLAGS="--cfg loom")
    _tell()
    if at and not counts.failed and _identity() == at:
        memo.keep("model", at, {"said": (paths.LOGS / "model-loom.log").read_text(errors="replace"),
                                "day": str(datetime.date.today())})
    return counts


def _identity() -> str:
    """A hash of all that loom's results depend on: the sources, the crates that they use, and the compiler."""
    options = sorted(f"{name}={value}" for name, value in os.environ.items() if name.startswith("LOOM_"))
    return digest.key(process.output(["rustc", "-Vv"]), *options, *digest.named(patterns.files(*_SOURCES), paths.ROOT))


def _recalled(kept: dict) -> Counts:
    """The result of loom with these sources."""
    with log.step("model-loom", "nothing has changed") as step:
        step.log.write_text(kept["said"])
        counts, outcomes = _count(step)
        record.write("model", outcomes, whole=True)
        log.info(f"model: {counts}, on {kept['day']}, when loom last ran; its sources are the same (AGAIN=1 runs it)")
    _tell()
    return counts


def run_fuzz() -> Counts:
    """Has every parser read a million cases, or `CASES=`; an overflow panics."""
    counts = _cargo_test("fuzz", "fuzz", "parsing what comes from outside",
                         ["--release", "--exclude", "libmultipath", "--", "--show-output"], "",
                         CASES=os.environ.get("CASES") or "1000000", CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS="true",
                         CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS="true")
    for line in _PARSED.findall((paths.LOGS / "fuzz.log").read_text(errors="replace")):
        log.info(line)
    return counts


def _tell() -> None:
    """Prints the result of each model, and leaves it in the report."""
    table = summary((paths.LOGS / "model-loom.log").read_text(errors="replace"))
    report = paths.REPORTS / "model.txt"
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text(table)
    print(table, end="")


def summary(log_text: str) -> str:
    """The result of each model by cargo's log, and their sum.

    The sum says how many tried all executions, and how many only those with few preemptions.
    """
    test, lines, whole, bounded, mutants = "", {}, [], {}, 0
    for said in _SAID.finditer(log_text):
        if said[1]:
            test = said[1]
            continue
        lines.setdefault(test, []).append(said[0])
        if not said[2]:
            mutants += 1
        elif said[3]:
            bounded.setdefault(int(said[3]), []).append(int(said[2]))
        else:
            whole.append(int(said[2]))
    table = "".join(f"{name}\n" + "".join(f"    {said}\n" for said in lines[name]) for name in sorted(lines))
    table += f"{len(whole)} models hold in all their {sum(whole)} executions\n"
    for most, counts in sorted(bounded.items()):
        table += f"{len(counts)} models hold in {sum(counts)} executions with at most {most} preemptions\n"
    return table + f"{mutants} mutants are caught\n"


def _cargo_test(part: str, name: str, doing: str, options: list, only: str, at: str = "", **variables: str) -> Counts:
    """Has cargo build and run tests. With `at`, the programs are kept under this key."""
    if not toolchain.have("cargo"):
        log.fail("there is no cargo in PATH (rustup or Debian's cargo-web has it)")
    with log.step(name, doing) as step:
        target = paths.CARGO / name
        crates.lend(target, **variables)
        environment = process.environment(CARGO_TARGET_DIR=str(target), **variables)
        words = ["cargo", "test", "--locked", "--workspace", "--no-fail-fast", *options, *[only][:bool(only)]]
        status = process.logged(step, words, cwd=paths.ROOT, env=environment)
        if not status:
            crates.keep(target, **variables)
        counts = _concluded(part, step, status, only)
        # Cargo has built a test that failed, too.
        programs.keep(at, step, target)
    return counts


def _concluded(part: str, step, status: int, only: str) -> Counts:
    """Counts and notes the outcomes of the tests, which exited with this status."""
    counts, outcomes = _count(step)
    record.write(part, outcomes, whole=not only)
    if status and not counts.failed or not counts.passed and not only:
        step.failed(f"`cargo test` exited with {status} after {counts}")
    return counts


def _count(step) -> tuple:
    """The counts, and the outcome of each test."""
    text = step.log.read_text(errors="replace")
    counts = Counts()
    for passed, failed, _ in _RESULT.findall(text):
        counts += Counts(int(passed), int(failed))
    tests = _TEST.findall(text)
    for test, result in tests:
        if result == "FAILED":
            log.failure(f"{step.name}: {test} failed, see {step.log}")
        elif result == "ignored":
            counts.skipped.append(f"{test} is ignored")
    return counts, {test: _OUTCOMES[result] for test, result in tests if result in _OUTCOMES}
