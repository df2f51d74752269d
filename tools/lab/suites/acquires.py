# SPDX-License-Identifier: GPL-2.0
"""The instructions that order memory on a bio's way, in the object code for arm64, where an acquire is one of its own.

The litmus tests say which loads need an order; this suite checks that the compiler has made no more of them. It names
the functions that a bio passes by the end or the beginning of their symbols. Rare steps are out of line, in other
functions.
"""

import re
from collections import Counter

from lab.builds import kernel
from lab.builds import modules
from lab.builds import toolchain
from lab.host import log
from lab.host import process
from lab.verdicts.counts import Counts

#: The functions on the way of a bio, and the instructions that order memory in each: how many, and why.
PASSED = {
    r"mpath_bdev_submit_bio": {
        "ldar": (2, "the stamp, and the length of the array"),
        "casal": (1, "a queue that is frozen counts its users so, and no bio passes it otherwise"),
        "stlxr": (1, "the same where there is no casal"),
        "dmb": (1, "the same"),
    },
    r".*QueueDepth17choose_of_several.*6Listed\w*": {},
}
#: Loads that acquire, stores that release, both in one instruction, and barriers.
_ORDERS = re.compile(r"(?:ldar|ldapu?r|ldaxr|stlu?r|stlxr)[bh]?|ldaxp|stlxp|dmb|dsb|isb"
                     r"|(?:casp?|swp|ldadd|ldclr|ldset|ldeor)(?:a|l|al)[bh]?")
_FUNCTION = re.compile(r"[0-9a-f]+ <(.+)>:")
_INSTRUCTION = re.compile(r"\s*[0-9a-f]+:\s+([a-z][\w.]*)")


def check() -> Counts:
    """Looks at the library built for arm64; a function with more or fewer of them is a failure."""
    module = modules.ensure_library(kernel.ARM64) / "libmultipath.ko"
    with log.step("acquires", "counting what orders memory on a bio's way"):
        said = process.output([toolchain.find().llvm.bin / "llvm-objdump", "-d", "--no-show-raw-insn", module])
        wrong = differences(said)
        for line in wrong:
            log.failure(f"acquires: {line}")
    return Counts(len(PASSED) - len(wrong), len(wrong))


def differences(said: str) -> list:
    """The faults of the functions on a bio's way, in the output of objdump for the library."""
    counted, wrong = _counted(said), []
    for pattern, expected in PASSED.items():
        found = [name for name in counted if re.fullmatch(pattern, name)]
        if len(found) != 1:
            wrong.append(f"{len(found)} functions are called {pattern}")
        elif counted[found[0]] != (wanted := {word: number for word, (number, _) in expected.items()}):
            wrong.append(f"{found[0]} has {_listed(counted[found[0]])}, and is to have {_listed(wanted)}")
    return wrong


def _listed(numbers: dict) -> str:
    return ", ".join(f"{number} {word}" for word, number in sorted(numbers.items())) or "nothing"


def _counted(said: str) -> dict:
    """How many instructions of each kind that orders memory each function has."""
    found, numbers = {}, Counter()
    for line in said.splitlines():
        if named := _FUNCTION.match(line):
            numbers = found[named[1]] = Counter()
        elif (instruction := _INSTRUCTION.match(line)) and _ORDERS.fullmatch(instruction[1]):
            numbers[instruction[1]] += 1
    return found
