# SPDX-License-Identifier: GPL-2.0
"""Children: every process the lab starts, and the promise that none of them outlives it.

Each child is in a process group of its own, below a shell. The shell stops the whole group when the lab dies in
whatever way, or when the lab is interrupted and says so. The lab adopts each process that escapes into another group,
and stops it at the end. No child has anything to read on stdin.
"""

import ctypes
import os
import selectors
import signal
import subprocess
import threading
import time

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36

#: How long a child may take to clean up after SIGTERM.
GRACE_SECONDS = 5

#: Variables of the user's environment, or of the make that called the lab, that would change a build.
FOREIGN = {
    "ARCH", "C", "CC", "CROSS_COMPILE", "GNUMAKEFLAGS", "HOSTCC", "KDIR", "KSRC", "KVER", "LLVM", "LOCALVERSION", "M",
    "MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MFLAGS", "MO", "O", "RUSTFLAGS", "SUBARCH", "V", "W",
    "KCFLAGS", "KCPPFLAGS", "KRUSTFLAGS",
}

#: Leads a child's group and stops all of it on SIGTERM, which the lab's own death also sends. It does nothing when the
#: lab, whose number it gets, died before it asked for that signal.
_LEADER = """[ "$PPID" = "$0" ] || exit; trap 'trap "" TERM; kill -TERM 0; exit 143' TERM; "$@" & wait $!"""
#: The same for one that gives way to guests. Where the scheduler has a group for each session, the group has to.
_GIVES_WAY = "{ echo 10 > /proc/self/autogroup; } 2>/dev/null; renice -n 10 $$ >/dev/null; "
#: Set in the environment of commands beside which guests run: two CPUs of a guest wait for each other when one gets no
#: time.
GIVE_WAY = "LAB_GIVE_WAY"

_libc = ctypes.CDLL(None, use_errno=True)


def environment(**changes: str) -> dict:
    """The user's environment without variables that would leak into a build, with `changes`."""
    kept = {name: value for name, value in os.environ.items()
            if name not in FOREIGN and not name.startswith(("KBUILD_", "KCONFIG_", "GIT_"))}
    return kept | {"LC_ALL": "C.UTF-8"} | changes


def adopt_orphans() -> None:
    """Makes the lab the parent of every descendant whose own parent ended."""
    _libc.prctl(PR_SET_CHILD_SUBREAPER, 1)


def bind_to_make() -> None:
    """Ends the lab with the make that runs it."""
    if "MAKELEVEL" in os.environ:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def start(argv, **options) -> subprocess.Popen:
    """Starts a child in a group that ends with the lab, or with the thread that has started it."""
    script = (_GIVES_WAY if os.environ.get(GIVE_WAY) else "") + _LEADER
    leader = ["setpriv", "--pdeathsig", "TERM", "sh", "-c", script, str(os.getpid())]
    return subprocess.Popen([*leader, *argv], stdin=subprocess.DEVNULL, start_new_session=True,
                            **{"env": environment(), **options})


def stop(child: subprocess.Popen) -> None:
    """Stops a child and its group: SIGTERM, time to clean up, SIGKILL."""
    _signal_group(child.pid, signal.SIGTERM)
    try:
        child.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        pass
    _signal_group(child.pid, signal.SIGKILL)
    child.wait()


def stop_all() -> None:
    """Stops all processes that are still below the lab; called once, at its end."""
    deadline = time.monotonic() + GRACE_SECONDS
    while children := _children():
        late = time.monotonic() > deadline
        for pid in children:
            _signal(pid, signal.SIGKILL if late else signal.SIGTERM)
        time.sleep(0.05)
        _reap()


def logged(step, argv, env=None, cwd=None, show=None) -> int:
    """Runs a child with its output in the step's log; returns its exit status.

    `show` turns a line of output into the text of the progress line, or into None.
    """
    with open(step.log, "ab", buffering=0) as log:
        log.write(("$ " + " ".join(argv) + "\n").encode())
        child = start(argv, env=env or environment(), cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        try:
            _copy(child, log, step, show or str.strip)
            return child.wait()
        finally:
            if child.poll() is None:
                stop(child)


def output(argv, **options) -> str:
    """The output of a short child; raises `subprocess.CalledProcessError` when it failed."""
    argv = [str(word) for word in argv]
    child = start(argv, stdout=subprocess.PIPE, **{"stderr": subprocess.PIPE, **options})
    try:
        out, err = child.communicate()
    finally:
        if child.poll() is None:
            stop(child)
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, argv, out, err)
    return out.decode(errors="replace")


def all_at_once(functions) -> None:
    """Runs each function in a thread of its own. Does not wait for the others when it is interrupted."""
    faults = []

    def attempt(function):
        try:
            function()
        except BaseException as fault:
            faults.append(fault)

    threads = [threading.Thread(target=attempt, args=(function,), daemon=True) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if faults:
        raise faults[0]


def _copy(child, log, step, show) -> None:
    """Copies the child's output to the log line by line, and keeps the progress line alive between lines."""
    text, rest = "", b""
    with selectors.DefaultSelector() as ready:
        ready.register(child.stdout, selectors.EVENT_READ)
        while True:
            if ready.select(timeout=1):
                chunk = os.read(child.stdout.fileno(), 65536)
                if not chunk:
                    return
                log.write(chunk)
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    text = show(line.decode(errors="replace")) or text
            step.progress(text or "working")


def _children() -> list:
    with open(f"/proc/self/task/{os.getpid()}/children") as children:
        return [int(pid) for pid in children.read().split()]


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def _signal_group(pid: int, number: int) -> None:
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        pass
