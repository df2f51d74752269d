# SPDX-License-Identifier: GPL-2.0
"""The commands: what each `make` target does, and the one line that it ends with."""

import argparse
import os
import shutil
import signal
import sys

from lab import kernel
from lab import log
from lab import modules
from lab import paths
from lab import process
from lab import setup


def _setup() -> str:
    setup.ensure()
    return "every tool is there"


def _kernel() -> str:
    built = kernel.ensure()
    return f"kernel {built.release} is {built.image}"


def _modules() -> str:
    if os.environ.get("KDIR"):
        return modules.ensure_for_users_kernel()
    ours = modules.ensure("ours")
    extra = f", the kernel's own in {modules.ensure('stock')}" if os.environ.get("STOCK") else ""
    return f"modules are in {ours}{extra}"


def _clean() -> str:
    shutil.rmtree(paths.BUILD, ignore_errors=True)
    shutil.rmtree(paths.ROOT / "target", ignore_errors=True)
    return "build/ is gone; sources, tools and kernels are still in the cache"


def _distclean() -> str:
    _clean()
    shutil.rmtree(paths.CACHE, ignore_errors=True)
    return f"build/ and {paths.CACHE} are gone"


COMMANDS = {
    "setup": _setup,
    "kernel": _kernel,
    "modules": _modules,
    "clean": _clean,
    "distclean": _distclean,
}


def main(arguments: list) -> int:
    """Runs one command; whatever happens, no process of it is left behind."""
    parser = argparse.ArgumentParser(prog="lab.py", description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=sorted(COMMANDS))
    command = parser.parse_args(arguments).command
    process.adopt_orphans()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        last = COMMANDS[command]()
        status = 0
        if isinstance(last, tuple):
            last, status = last
        log.info(last) if status == 0 else log.error(last)
        return status
    except log.Failure as failure:
        log.error(str(failure))
        return 1
    except KeyboardInterrupt:
        log.error("interrupted")
        return 130
    finally:
        process.stop_all()


def _interrupt(number, frame):
    raise KeyboardInterrupt
