# SPDX-License-Identifier: GPL-2.0
"""Devices that are not multipathed pay nothing: their I/O takes the same instructions in our driver as in stock.

The functions that such I/O passes are compared as they were compiled, one instruction after the other: what
is done, in which registers, and what is called. Where in a structure something is, and how far a jump is,
may differ, as does the padding between functions.
"""

import re
import subprocess
from pathlib import Path

from lab import log
from lab import modules
from lab import process
from lab import toolchain
from lab.counts import Counts

#: Of the transports, all that our patch has no business in: every function.
_WHOLE = ("nvme.ko", "nvme-tcp.ko", "nvme-fabrics.ko")
#: Of the core, what a request passes from the block layer to the queue, and back.
_CORE = """
    __nvme_check_ready __nvme_complete_rq __nvme_end_req nvme_cancel_request nvme_cleanup_cmd nvme_complete_batch_req
    nvme_complete_rq nvme_end_req nvme_error_status nvme_fail_nonready_command nvme_host_path_error nvme_init_request
    nvme_setup_cmd nvme_setup_discard nvme_setup_rw
""".split()

_FUNCTION = re.compile(r"^(?:[0-9a-f]+ )?<(.+)>:$")
_RELOCATION = re.compile(r"^(?:[0-9a-f]+:\s+)?(R_\w+)\s+([^-+]+)(?:[-+]0x[0-9a-f]+)?$")
#: Goes to a function: the same one instruction whether its target is in the file or a relocation names it.
_BRANCH = re.compile(r"(call|j)\w*\s")
#: A number, but not the one in a register's name.
_NUMBER = re.compile(r"(?<![\w%])-?(?:0x[0-9a-f]+|\d+)\b")


def check() -> Counts:
    """Compares the modules of both drivers; a function that differs is a failure."""
    stock, ours = modules.ensure("stock"), modules.ensure("ours")
    counts = Counts()
    with log.step("unpaid", "comparing the I/O path of what is not multipathed") as step:
        for name in (*_WHOLE, "nvme-core.ko"):
            before, after = (_functions(step, directory / name) for directory in (stock, ours))
            for function in _CORE if name not in _WHOLE else sorted(before):
                wrong = _difference(before.get(function), after.get(function))
                counts += Counts(failed=1) if wrong else Counts(passed=1)
                if wrong:
                    log.info(f"unpaid: {name}: {function}: {wrong}")
    return counts


def _functions(step, module: Path) -> dict:
    """The instructions of each function of a module."""
    try:
        text = process.output([toolchain.find().llvm.bin / "llvm-objdump", "-dr", "--no-show-raw-insn",
                               "--no-leading-addr", module])
    except subprocess.CalledProcessError:
        step.failed(f"{module} cannot be disassembled")
    functions, body = {}, []
    for line in text.splitlines():
        if named := _FUNCTION.match(line):
            body = functions[named[1]] = []
        elif (refers := _RELOCATION.match(line.strip())) and _BRANCH.match(body[-1] if body else ""):
            body[-1] = f"{body[-1].split()[0]}\t# <{refers[2]}>"
        elif instruction := _settled(line.strip()):
            body.append(instruction)
    return functions


def _settled(line: str) -> str:
    """An instruction, or what one refers to, without what may differ; empty for padding."""
    if refers := _RELOCATION.match(line):
        return f"{refers[1]} {refers[2]}"
    if not line or line.startswith(("nop", "int3")):
        return ""
    return _NUMBER.sub("#", re.sub(r"0x[0-9a-f]+ (<\S+?)\+0x[0-9a-f]+>|\s+# .*$", r"\1", line))


def _difference(before, after) -> str | None:
    if before is None or after is None:
        return f"there is none in {'stock' if before is None else 'ours'}"
    if len(before) != len(after):
        return f"{len(before)} instructions in stock, {len(after)} in ours"
    for one, other in zip(before, after, strict=True):
        if one != other:
            return f"`{one}` in stock, `{other}` in ours"
    return None
