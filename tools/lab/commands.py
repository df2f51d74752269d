# SPDX-License-Identifier: GPL-2.0
"""The commands: the function of each `make` target, and the one line that it ends with."""

import argparse
import os
import shutil
import signal

from lab.builds import doc
from lab.builds import editor
from lab.builds import kernel
from lab.builds import modules
from lab.builds import setup
from lab.checks import check
from lab.host import log
from lab.host import paths
from lab.host import process
from lab.suites import judges
from lab.suites import litmus
from lab.suites import misuse
from lab.suites import model
from lab.verdicts import result
from lab.verdicts.counts import Counts


def _setup() -> str:
    setup.ensure(judging=True)
    return "every tool is there"


def _kernel() -> str:
    built = kernel.ensure(kernel.asked())
    return f"kernel {built.release} is {built.image}"


def _modules() -> str:
    if os.environ.get("KDIR"):
        return modules.ensure_for_users_kernel()
    ours = modules.ensure("ours")
    other = modules.chosen()
    if other == "ours":
        return f"modules are in {ours}"
    what = "those without one pass" if other == "around" else "the kernel's own"
    return f"modules are in {ours}, {what} in {modules.ensure(other)}"


def _samples() -> str:
    where = modules.ensure("samples")
    log.info("samples: a driver outside of this tree, in the current directory, is built by")
    log.info(f"samples: {modules.command_for_drivers()}")
    return f"the library and the drivers of samples/ are in {where}"


def _model(only: str | None):
    return model.run(only or "")


def _lab(only: str | None):
    return judges.run(only or "")


def _litmus(only: str | None):
    return litmus.run(only or "")


def _fuzz():
    return model.run_fuzz()


def _misuse():
    return misuse.run()


def _kunit(only: str | None, sanitize: bool):
    from lab.suites import acquires
    from lab.suites import kunit
    name = kernel.asked(sanitize)
    counts = kunit.run(only or "", name)
    return counts + acquires.check() if name == kernel.ARM64 and not only else counts


def _e2e(stock: str, only: str | None, long: bool, sanitize: bool):
    from lab.suites import e2e
    return e2e.run(stock, only, kernel.asked(sanitize), long)


def _parity(acts: list):
    from lab.suites import parity
    return parity.run(acts)


def _demo():
    from lab.suites import demo
    return demo.run()


def _sanitize():
    from lab.suites import sanitize
    return sanitize.check() if os.environ.get("QUICK") else sanitize.run()


def _faults():
    from lab.suites import faults
    return faults.run()


def _storm():
    from lab.suites import storm
    return storm.run()


def _soak():
    from lab.suites import storm
    return storm.soak()


def _bench():
    from lab.measure import bench
    return bench.run()


def _errors(only: str | None, rounds: int):
    from lab.measure import errors
    return errors.run(only or "", rounds)


def _test():
    from lab.runs import test
    return test.run()


def _long(only: str | None):
    from lab.runs import long
    return long.run(only or "", again=bool(os.environ.get("AGAIN")))


def _check():
    passed, failed = check.run()
    if failed:
        return f"checks failed: {', '.join(failed)}", 1
    return f"checks passed: {', '.join(passed)}"


def _one(test: str):
    from lab.runs import one
    return one.run(test)


def _mutants(only: str | None, sample: int):
    from lab.suites import mutants
    return mutants.run(only or "", sample)


def _series():
    from lab.runs import series
    return series.run()


def _deb() -> str:
    from lab.runs import deb
    return deb.run()


def _deb_test():
    from lab.runs import deb_test
    return deb_test.run()


def _clean() -> str:
    shutil.rmtree(paths.BUILD, ignore_errors=True)
    editor.PROJECT.unlink(missing_ok=True)  # it speaks of what was there
    return "build/ is gone; sources, tools and kernels are still in the cache"


def _distclean() -> str:
    _clean()
    shutil.rmtree(paths.CACHE, ignore_errors=True)
    return f"build/ and {paths.CACHE} are gone"


COMMANDS = {
    "setup": _setup,
    "kernel": _kernel,
    "modules": _modules,
    "samples": _samples,
    "demo": _demo,
    "lab": _lab,
    "model": _model,
    "litmus": _litmus,
    "fuzz": _fuzz,
    "misuse": _misuse,
    "kunit": _kunit,
    "e2e": _e2e,
    "parity": _parity,
    "sanitize": _sanitize,
    "faults": _faults,
    "storm": _storm,
    "soak": _soak,
    "bench": _bench,
    "errors": _errors,
    "mutants": _mutants,
    "one": _one,
    "test": _test,
    "long": _long,
    "check": _check,
    "doc": doc.build,
    "rust-analyzer": editor.write,
    "series": _series,
    "deb": _deb,
    "deb-test": _deb_test,
    "clean": _clean,
    "distclean": _distclean,
}


#: Those that ARCH= is for.
_OF_ANY_ARCH = ("kernel", "kunit", "e2e")


def main(arguments: list) -> int:
    """Runs one command, and in any case leaves no process of it behind."""
    options = vars(_parser().parse_args(arguments))
    name = options.pop("command")
    command = COMMANDS[name]
    process.bind_to_make()
    process.adopt_orphans()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        if name not in _OF_ANY_ARCH and kernel.asked() != kernel.PLAIN:
            log.fail(f"ARCH= is for {', '.join(_OF_ANY_ARCH)}, and not for {name}")
        last, status, counts = _outcome(command(**options))
        result.write(last, status, counts)
        print(last, flush=True)
        return status
    except (log.Failure, OSError) as failure:
        log.error(str(failure))
        result.write(f"error: {failure}", 1)
        return 1
    except KeyboardInterrupt:
        log.error("interrupted")
        return 130
    finally:
        process.stop_all()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lab.py", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for name in COMMANDS:
        commands.add_parser(name)
    e2e = commands.choices["e2e"]
    e2e.add_argument("--stock", nargs="?", const="stock", default="", choices=modules.THEIRS,
                     help="the kernel's own modules instead of ours, as they are, fixed, or as the series keeps them")
    e2e.add_argument("-k", dest="only", metavar="pattern", help="only tests whose name contains this, or in this file")
    e2e.add_argument("--long", action="store_true", help="also those that take minutes")
    for name in ("lab", "model", "litmus"):
        commands.choices[name].add_argument("-k", dest="only", metavar="part", help="only tests whose name contains this")
    commands.choices["kunit"].add_argument("-k", dest="only", metavar="suite: case", help="only this test")
    commands.choices["one"].add_argument("test", help="a test as docs/defects.md names it")
    mutants = commands.choices["mutants"]
    mutants.add_argument("-k", dest="only", metavar="part", help="only patches whose name contains this")
    mutants.add_argument("--sample", type=int, default=int(os.environ.get("PATCHES") or 0), metavar="n",
                         help="only so many, others every day")
    commands.choices["long"].add_argument("--only", metavar="part,part", help="only these parts of it")
    errors = commands.choices["errors"]
    errors.add_argument("-k", dest="only", metavar="part", help="only cases whose name contains this, as \"1 of 2 at 10 %%\"")
    errors.add_argument("--rounds", type=int, default=5, help="how often each case is run")
    for name in ("kunit", "e2e"):
        commands.choices[name].add_argument("--sanitize", action="store_true", help="on the kernel with sanitizers")
    parity = commands.choices["parity"]
    parity.add_argument("acts", nargs="*", metavar="act", help="only these parts of the comparison")
    return parser


def _outcome(returned) -> tuple:
    """The last line, the exit status and the counts of a command, which returns its counts or its last line, with an
    exit status where that is not plain success.
    """
    if isinstance(returned, Counts):
        return str(returned), 1 if returned.failed else 0, returned
    return (*returned, None) if isinstance(returned, tuple) else (returned, 0, None)


def _interrupt(number, frame):
    raise KeyboardInterrupt
