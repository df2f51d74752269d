# SPDX-License-Identifier: GPL-2.0
"""The lab's output for the user: one line a step with the time since the start, and why it failed.

    with log.step("kernel") as step:
        step.run(["make", ...])
    log.info("one line")
    log.fail("one line that says what is wrong and what to do")

A step has its output in build/logs/kernel.log, and its progress on the terminal. `log.fail()` does not return.
"""

import shutil
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from lab.host import paths

#: How often a step that is still running says so when the output is not a terminal.
QUIET_SECONDS = 30
#: How much of a log the lab shows when its step failed, without make's words about itself.
TAIL_LINES = 15

#: How many characters of the reason for a failure a page has.
_SHORT_LENGTH = 200

_start = time.monotonic()
#: The failures in this command, a line each.
_failures = []
_live = False  # a progress line is on the terminal, without its newline


class Failure(Exception):
    """The end of a command: one line for the user."""


def info(text: str) -> None:
    """Prints one line, stamped with the time since the start."""
    _erase()
    print(f"{_stamp()} {text}", flush=True)


def fail(text: str) -> NoReturn:
    """Stops the command; its last line will be `error: <text>`."""
    raise Failure(text)


def error(text: str) -> None:
    _failures.append(text)
    _erase()
    print(f"error: {text}", file=sys.stderr, flush=True)


def failure(text: str, why: str = "") -> None:
    """Prints that something has failed, and why, in lines below it; the command goes on.

    The last of these lines that is not the kernel's counts as the reason.
    """
    info(text)
    lines = why.splitlines()
    for line in lines:
        print(f"    {line}", flush=True)
    last = next((line.strip() for line in reversed(lines) if line.strip() and not line.startswith("kernel: ")), "")
    _failures.append(f"{text}: {last}"[:_SHORT_LENGTH] if last else text)


def failures() -> list:
    """The failures that `failure()` and `error()` have printed, each once."""
    return list(dict.fromkeys(_failures))


def since_start() -> float:
    """Seconds since the command was started."""
    return time.monotonic() - _start


def elapsed(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


def _stamp() -> str:
    return f"[{elapsed(since_start()):>5}]"


def _erase() -> None:
    global _live
    if _live:
        print("\r\033[K", end="", flush=True)
        _live = False


class Step:
    """One long piece of work: its name, its log file, and its progress line."""

    def __init__(self, name: str, log: Path):
        self.name = name
        self.log = log
        self.begun = self._shown = time.monotonic()

    def progress(self, text: str) -> None:
        """Shows the progress of the step: at once on a terminal, now and then otherwise."""
        global _live
        now = time.monotonic()
        if sys.stdout.isatty():
            if now - self._shown >= 0.2:
                line = f"{_stamp()} {self.name}: {text}"[:shutil.get_terminal_size().columns - 1]
                print(f"\r\033[K{line}", end="", flush=True)
                self._shown, _live = now, True
        elif now - self._shown >= QUIET_SECONDS:
            info(f"{self.name}: {text}")
            self._shown = now

    def run(self, argv, why: str = "", **options) -> None:
        """Runs a child with its output in the log; fails the step when the child fails."""
        from lab.host import process
        argv = [str(word) for word in argv]
        status = process.logged(self, argv, **options)
        if status:
            self.failed(why or f"`{Path(argv[0]).name}` exited with {status}")

    def failed(self, why: str) -> NoReturn:
        """Fails the step, with the end of its log."""
        _erase()
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        told = [line for line in lines if line.strip() and not line.startswith("make")]
        for line in told[-TAIL_LINES:]:
            print(f"    {line}", file=sys.stderr)
        fail(f"{self.name} failed ({why}), see {_short(self.log)}")


@contextmanager
def step(name: str, doing: str = ""):
    """Announces a long piece of work and says how long it took; yields its `Step`."""
    file = paths.LOGS / (name.replace(" ", "-").replace("/", "-") + ".log")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("")
    info(f"{name}: {doing or 'started'}")
    work = Step(name, file)
    yield work
    info(f"{name}: done in {elapsed(time.monotonic() - work.begun)}")


def _short(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
