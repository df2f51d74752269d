# SPDX-License-Identifier: GPL-2.0
"""`make long`: everything that `make test` runs or samples, whole. It takes hours.

Each part is a command of the lab in a process of its own. Its result goes to build/reports/long.json, under the state
of the sources that it is about: the content of all files, and the kernel that KVER= asks for. For most parts the files
are those that are no documents. A second start on the same state goes on with the first part that has not passed.
AGAIN=1 forgets the results for this state. build/reports/long.md is the page that `make long` leaves, after each part.
"""

import hashlib
import json
import os
import subprocess
import sys
import time
from collections import Counter
from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path

from lab.builds import versions
from lab.host import log
from lab.host import paths
from lab.host import process
from lab.runs import test
from lab.suites import kept
from lab.verdicts import parts
from lab.verdicts import record
from lab.verdicts import result
from lab.verdicts.counts import Counts
from lab.verdicts.result import Result

#: After so long the lab stops a part, and it has failed.
LIMIT_SECONDS = 6 * 3600
#: Variables with which a user chooses less, or another run.
_CHOICES = ("CASES", "BUILD", "CONFIG", "KERNEL", "LOCALMODCONFIG", "LONG", "MINUTES", "ONE_PASS", "QUICK", "SAMPLE",
            "SECONDS", "SEED", "SERIES", "STOCK")
#: The last part: it asks for the results of the others.
_LAST = "defects"
#: The number of states of the sources whose results the lab keeps.
_KEPT_STATES = 8
#: The documents that no part executes: the series has entries of sysfs.md, and the Debian guest commands of operating.md.
_DOCUMENTS = ("README.md", *(f"docs/{name}.md" for name in ("defects", "design", "lab", "performance", "porting", "scsi")))
#: All other files, as git selects them.
_NO_DOCUMENTS = ("--", ".", *(f":(exclude){name}" for name in _DOCUMENTS))
#: The parts that check what these documents say. A change of one leaves the results of other parts as they are.
_READ_DOCUMENTS = ("check", "lab", _LAST)
#: Failures, and reasons for which something was left out, that the page shows of one part.
_SHOWN = 30
#: The head of the page's table.
_COLUMNS = ("part", "command", "result", "time", "left out")


@dataclass(frozen=True)
class Part:
    """A command of the lab, with its variables."""

    words: tuple
    variables: dict = field(default_factory=dict)
    #: The part of `make test` that this contains, and so stands for.
    contains: str = ""

    def __str__(self) -> str:
        return " ".join([*(f"{name}={value}" for name, value in self.variables.items()), *self.words])


#: The parts that are more than those of `make test`, which has samples of some.
WHOLE = {
    "e2e": Part(("e2e", "--long"), contains="e2e"),
    "e2e around": Part(("e2e", "--long"), {"ONE_PASS": "n"}, contains="e2e around"),
    "e2e kept": Part(("e2e", "-k", kept.FILE), {"STOCK": "kept"}, contains="e2e kept"),
    "parity": Part(("parity",), contains="parity"),
    "sanitize": Part(("sanitize",), contains="sanitize"),
    "mutants": Part(("mutants",), contains="mutants"),
    "series built": Part(("series",), {"BUILD": "1"}),
    "deb": Part(("deb-test",)),
    "fuzz": Part(("fuzz",), {"CASES": "50000000"}),
    "faults": Part(("faults",)),
    "storm 600 s": Part(("storm",), {"SECONDS": "600"}),
    "bench": Part(("bench",)),
    "errors": Part(("errors",)),
}


@dataclass(frozen=True)
class Done:
    """A part that has run."""

    result: Result
    seconds: float
    #: When it ended.
    ended: str
    log: str
    #: The state of the sources on which it ran.
    state: str = ""

    @classmethod
    def read(cls, fields: dict) -> "Done":
        return cls(**fields | {"result": Result(**fields["result"])})

    @property
    def good(self) -> bool:
        return not self.result.failed

    @property
    def failures(self) -> list:
        """The failures, a line each; the last line where there is no such line."""
        return (self.result.failures or [self.result.last]) if self.result.failed else []


def all_parts() -> dict:
    """The parts of `make test` that no whole one contains, the whole ones, and the check of docs/defects.md."""
    contained = {part.contains for part in WHOLE.values()}
    found = {name: Part(("one", f"test: {name}")) for name in test.PARTS if name not in contained}
    last = {name: found.pop(name) for name in (_LAST,) if name in found}
    return found | WHOLE | last


def run(only: str = "", again: bool = False) -> Counts:
    """Runs the parts that have not passed yet on this state of the sources; returns the sum of all."""
    chosen = choose(all_parts(), only)
    state = State.now()
    results = read(state)
    if again:
        results = {}
    for name, part in chosen.items():
        if name in results and results[name].good:
            log.info(f"long: {name}: passed already, at {results[name].ended}")
            continue
        results[name] = _run(name, part, state)
        if State.now() != state:
            del results[name]
            log.fail(f"long: the sources have changed while {name} ran; its result is not kept")
        _keep(state, results)
        _note(part, results[name])
        _write_page(state, results, chosen)
    page, counts = _write_page(state, results, chosen)
    # The caller that gets the counts prints the last line.
    print(page.rpartition("\n\n")[0], flush=True)
    return counts


def choose(every: dict, only: str) -> dict:
    """All parts, or those that `only` names, with a comma between them."""
    if not only:
        return every
    wanted = [word.strip() for word in only.split(",") if word.strip()]
    if unknown := [word for word in wanted if word not in every]:
        log.fail(f"long has no part {', '.join(unknown)}; there are: {', '.join(every)}")
    return {name: part for name, part in every.items() if name in wanted}


@dataclass(frozen=True)
class State:
    """The state of the sources: the commit, and a hash of the differences from it, or "" when there are none.

    It has the kernel's version, too, when the user asks for one, and a hash of all files but the documents.
    """

    commit: str
    difference: str
    kernel: str = ""
    #: "" where there is no repository.
    sources: str = ""

    def __str__(self) -> str:
        changes = f", with changes ({self.difference[:12]})" if self.difference else ""
        return self.commit[:12] + changes + (f", on Linux {self.kernel}" if self.kernel else "")

    def key(self, part: str) -> str:
        """The name under which the lab keeps the result of a part."""
        files = (self.sources,) if self.sources and part not in _READ_DOCUMENTS else (self.commit, self.difference)
        return "+".join(each for each in (*files, self.kernel) if each)

    @classmethod
    def now(cls, root: Path = paths.ROOT) -> "State":
        """The state of a checkout; where there is no repository, the hash of all files that no build has made."""
        def git(*words):
            return subprocess.run(["git", "-C", root, *words], capture_output=True, check=True).stdout
        try:
            commit = git("rev-parse", "HEAD").decode().strip()
            changed = git("diff", "--binary", "HEAD")
            new = git("ls-files", "-z", "--others", "--exclude-standard").decode().split("\0")[:-1]
            known = git("ls-files", "-z", "--stage", *_NO_DOCUMENTS) + git("diff", "--binary", *_NO_DOCUMENTS)
        except (OSError, subprocess.CalledProcessError):
            commit, changed, known = "no commit", b"", b""
            new = sorted(str(file.relative_to(root)) for file in root.rglob("*")
                         if file.is_file() and file.relative_to(root).parts[0] not in ("build", "target", ".git"))
        contents = {name: name.encode() + b"\0" + hashlib.sha256((root / name).read_bytes()).digest() for name in new}
        others = b"".join(content for name, content in contents.items() if name not in _DOCUMENTS)
        return cls(commit, _hash(changed + b"".join(contents.values())) if changed or new else "",
                   versions.asked() or "", _hash(known + others) if known else "")


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def read(state: State) -> dict:
    """The parts that have run on this state."""
    everything = _everything()
    return {name: Done.read(everything[state.key(name)][name]) for name in all_parts()
            if name in everything.get(state.key(name), {})}


def _everything() -> dict:
    file = paths.REPORTS / "long.json"
    return json.loads(file.read_text()) if file.exists() else {}


def _keep(state: State, results: dict) -> None:
    """Writes the results for this state, whole or not at all."""
    states = _everything()
    found = {}
    for name in all_parts():
        results_then = found.setdefault(state.key(name), {})
        if name in results:
            results_then[name] = asdict(results[name])
    states = {key: each for key, each in states.items() if key not in found}
    states |= {key: each for key, each in found.items() if each}
    kept = dict(list(states.items())[-_KEPT_STATES:])
    file = paths.REPORTS / "long.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    scratch = file.with_suffix(".new")
    scratch.write_text(json.dumps(kept, indent=1) + "\n")
    scratch.replace(file)


def _run(name: str, part: Part, state: State) -> Done:
    """Runs a part in a process of its own."""
    answer = paths.BUILD / "long-result.json"
    answer.parent.mkdir(parents=True, exist_ok=True)
    answer.unlink(missing_ok=True)
    environment = {key: value for key, value in os.environ.items() if key not in _CHOICES}
    environment |= part.variables | {"AGAIN": "1", result.VARIABLE: str(answer)}
    words = ["timeout", "--foreground", "--kill-after=60", str(LIMIT_SECONDS), *_command(part)]
    begun = time.monotonic()
    with log.step(f"long {name}", str(part)) as step:
        status = process.logged(step, words, env=environment, cwd=paths.ROOT)
        came_to = result.read(answer)
        if not came_to or bool(status) != bool(came_to.failed):
            came_to = Result.of(f"the command exited with {status} and gave no result", 1, None)
        log.info(f"long: {name}: {came_to.last}")
    return Done(came_to, round(time.monotonic() - begun, 1), time.strftime("%Y-%m-%d %H:%M:%S"), str(step.log),
                str(state))


def _command(part: Part) -> list:
    return [sys.executable, str(paths.ROOT / "tools" / "lab.py"), *part.words]


def _note(part: Part, done: Done) -> None:
    """Notes the result also for the part of `make test` that this part contains."""
    if part.contains:
        record.write("test", {part.contains: parts.outcome(done.result.counts)}, whole=False)


def _write_page(state: State, results: dict, chosen: dict) -> tuple:
    """Writes the page; returns it, and the sum of the results on it."""
    every = all_parts()
    done = {name: results[name] for name in every if name in results}
    missing = [name for name in every if name not in done]
    counts = sum((each.result.counts for each in done.values()), Counts(left_out=missing))
    page = "\n".join(_page(state, {name: every[name] for name in done}, done, missing, chosen, counts)) + "\n"
    paths.REPORTS.mkdir(parents=True, exist_ok=True)
    (paths.REPORTS / "long.md").write_text(page)
    return page, counts


def _page(state: State, ran: dict, done: dict, missing: list, chosen: dict, counts: Counts):
    yield from (f"# `make long` at {state}", "")
    yield _row(_COLUMNS)
    yield _row("---" for _ in _COLUMNS)
    for name, each in done.items():
        verdict = "passed" if each.good else "FAILED"
        yield _row((name, f"`{ran[name]}`", f"{verdict}: {each.result.last}", _time(each.seconds),
                    "; ".join(_left_out(each.result)) or "nothing"))
    yield from ("", f"{_time(sum(each.seconds for each in done.values()))} in all. Logs: build/logs/long-PART.log.")
    if before := [f"{name} ({each.state})" for name, each in done.items() if each.state != str(state)]:
        yield from ("", f"Only documents have changed since these ran: {', '.join(before)}.")
    if missing:
        why = "was not asked for" if set(missing).isdisjoint(chosen) else "has not run yet"
        yield from ("", f"Without a result, since it {why}: {', '.join(missing)}.")
    yield from ("", "## Failures", "")
    lines = [line for name, each in done.items() for line in _failures(name, each)]
    yield from lines or ["None."]
    yield from ("", str(counts))


def _failures(name: str, each: Done):
    """The lines of the page on the failures in a part."""
    yield from (f"- {name}: {failure}" for failure in parts.some(each.failures, _SHOWN, f"more, see {each.log}"))


def _left_out(came_to: Result) -> list:
    """Why tests were skipped or left out: each reason once, and how often where that is more than once."""
    reasons = Counter([*came_to.left_out, *(reason.partition(": ")[2] or reason for reason in came_to.skipped)])
    told = [f"{count} times: {reason}" if count > 1 else reason for reason, count in reasons.most_common()]
    return parts.some(told, _SHOWN, "more reasons")


def _time(seconds: float) -> str:
    minutes = int(seconds) // 60
    return f"{minutes // 60}:{minutes % 60:02}:{int(seconds) % 60:02}"


def _row(cells) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
