# SPDX-License-Identifier: GPL-2.0
"""Devices that are not multipathed pay nothing: their I/O takes not one instruction more in our driver than in stock.

The suite compares compiled functions, one instruction after the other: the operations, in which registers, and the
calls. Offsets in a structure, and lengths of jumps, may differ, as does the padding between functions. The suite reads
from the modules which functions to compare:

- Of the transports and of the target, which our patch has no business in, every function.
- Of the core, the functions that a request passes. The way begins with those that a transport's `struct blk_mq_ops` has
  for a request. To them come all that they call or name, to whatever depth, and those of `_ALSO`, but not those of
  `_UNLIKE`. The way ends at `_ENDS`, and at functions of multipath.c, or of multipath_lib.c in ours. A test of one of
  its flags, in a compared function, keeps a request of such a device from those.

The suite does not follow calls through other pointers: fields of structures, static calls, the start of an interrupt or
a work. It compares a transport whole. So this leaves out a core function that such a function calls only if nothing on
the way of a request calls it, too.
"""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from lab.builds import kernel
from lab.builds import modules
from lab.builds import toolchain
from lab.host import log
from lab.host import paths
from lab.host import process
from lab.verdicts.counts import Counts

_CORE = "nvme-core.ko"
#: Modules that are neither a transport nor the target.
_OTHERS = {_CORE, "hold_bio.ko", "stay_awake.ko"}
#: Functions that differ, by how many instructions at most, and why: no I/O passes them.
_UNLIKE = {
    "nvme-core.ko: nvme_host_path_error": (8, "it ends what is not sent, and marks it so"),
    "nvme-core.ko: nvme_fail_nonready_command": (8, "it ends in that function, which is inlined"),
    "nvme-fc.ko: nvme_fc_start_fcp_op": (6, "a request that was started and cannot be sent is not counted any more"),
    "nvme-rdma.ko: nvme_rdma_queue_rq": (6, "as above"),
    "nvmet-tcp.ko: nvmet_tcp_release_queue_work": (20, "repaired (drivers/nvme/fixes/), and no request passes it"),
}
_COUNTED = re.compile(r": (\d+) instructions in stock, (\d+) in ours$")
#: The fields of a transport's `struct blk_mq_ops` that a request passes.
_PASSED = {"queue_rq", "commit_rqs", "queue_rqs", "poll", "complete"}
#: Functions of the core that such a way may lead to, and why no request of a device passes them.
_ENDS = {
    "nvme_complete_async_event": "it is told of by the controller, and is no request of a device",
    "nvme_change_ctrl_state": "the connection has failed, and the controller goes into recovery",
}
#: Functions of the core that requests pass which fail or are passed through, and that nothing of the above calls.
_ALSO = {"nvme_cancel_request", "nvme_host_path_error", "nvme_init_request"}
#: Functions that are on every such way, or something is wrong with how the suite finds it.
_KNOWN = {"nvme_setup_cmd", "nvme_complete_rq", "nvme_complete_batch_req", "__nvme_end_req"}
_OPERATION = re.compile(r"^\t.*?\(\*(\w+)\)\(", re.MULTILINE)
_TABLE = re.compile(r"\w*mq\w*_ops$")
_POINTER_BYTES = 8

_FUNCTION = re.compile(r"^(?:([0-9a-f]+) )?<(.+)>:$")
_RELOCATION = re.compile(r"^(?:[0-9a-f]+:\s+)?(R_\w+)\s+([^-+]+)(?:([-+]0x[0-9a-f]+))?$")
_DIRECT = re.compile(r"\s<([\w.]+)>$")
#: Goes to a function: the same one instruction whether its target is in the file or a relocation names it.
_BRANCH = re.compile(r"(call|j)\w*\s")
#: Relative to the next instruction, and so 4 less than the named place.
_RELATIVE = {"R_X86_64_PC32", "R_X86_64_PLT32"}
#: A number, but not the one in a register's name.
_NUMBER = re.compile(r"(?<![\w%])-?(?:0x[0-9a-f]+|\d+)\b")


@dataclass(frozen=True)
class Module:
    """A module: the instructions of its functions, and which functions each of them names."""

    functions: dict
    names: dict

    def reached_from(self, roots, ends=()) -> set:
        """All functions that these name, that those name, and so on, themselves included."""
        found, left = set(), list(roots)
        while left:
            name = left.pop()
            if name not in found and name not in ends:
                found.add(name)
                left += self.names.get(name, ())
        return found


def check() -> Counts:
    """Compares the modules of both drivers; a function that differs is a failure."""
    stock, ours = modules.ensure("stock"), modules.ensure("ours")
    counts = Counts()
    with log.step("unpaid", "comparing the I/O path of what is not multipathed") as step:
        names = sorted(file.name for file in stock.glob("*.ko") if file.name not in _OTHERS)
        pairs = {name: tuple(_read(step, directory / name) for directory in (stock, ours)) for name in (*names, _CORE)}
        wrong, compared = [], 0
        for name in names:
            both = sorted(pairs[name][0].functions.keys() | pairs[name][1].functions.keys())
            compared += len(both)
            wrong += _differences(name, pairs[name], both)
        passed = _passed_in_core(step, stock, names, pairs)
        log.info(f"unpaid: of {len(names)} modules every function is compared, {compared} of them, and of the core the "
                 f"{len(passed)} that a request passes: {', '.join(passed)}")
        wrong = excused(wrong + _differences(_CORE, pairs[_CORE], passed))
        counts += Counts(compared + len(passed) - len(wrong), len(wrong))
        for line in wrong:
            log.failure(f"unpaid: {line}")
    return counts


def _differences(module: str, pair: tuple, names) -> list:
    """The faults of these functions of a module."""
    found = ((name, difference(*(side.functions.get(name) for side in pair))) for name in names)
    return [f"{module}: {name}: {wrong}" for name, wrong in found if wrong]


def excused(wrong: list, unlike=None) -> list:
    """The faults without the accepted ones, and the accepted ones that are absent, to take out of the list."""
    unlike = _UNLIKE if unlike is None else unlike
    named = {name: [line for line in wrong if line.startswith(f"{name}: ")] for name in unlike}
    excusable = {line for name, lines in named.items() for line in lines if _more(line) <= unlike[name][0]}
    return ([line for line in wrong if line not in excusable]
            + [f"{name}: may differ, and does not" for name, lines in named.items() if not lines])


def _more(line: str) -> float:
    """By how many instructions the functions of a difference differ, either way; 0 when they have as many."""
    if found := _COUNTED.search(line):
        return abs(int(found[2]) - int(found[1]))
    return float("inf") if "there is none in" in line else 0


def _passed_in_core(step, stock: Path, names: list, pairs: dict) -> list:
    """The functions of the core that a request passes, in stock or in ours."""
    passed, ended = set(_ALSO), set()
    order = _OPERATION.findall(_operations_of(kernel.ensure().source))
    for side, ends in ((0, _multipath("stock")), (1, _multipath("ours"))):
        core = pairs[_CORE][side]
        for name in names:
            roots = _ways(step, stock / name, order)
            called = {function for function in pairs[name][side].reached_from(roots) if function in core.functions}
            ended |= core.reached_from(called, ends) & set(_ENDS)
            passed |= core.reached_from(called, {*ends, *_ENDS}) & set(core.functions)
    if unused := sorted(set(_ENDS) - ended):
        step.failed(f"no way leads to {', '.join(unused)}, where it is to end")
    if missing := sorted(_KNOWN - passed):
        step.failed(f"a request does not pass {', '.join(missing)}, by what was found")
    return sorted(passed)


def _operations_of(source: Path) -> str:
    """The fields of `struct blk_mq_ops`."""
    header = (source / "include" / "linux" / "blk-mq.h").read_text()
    return header.partition("struct blk_mq_ops {")[2].partition("\n};")[0]


def _multipath(which: str) -> set:
    """The functions that NVMe multipath is compiled to, in a variant of NVMe."""
    file = paths.BUILD / "nvme" / which / "drivers" / "nvme" / "host" / f"{modules.implementation(which)}.o"
    rows = map(str.split, _tool("llvm-nm", "--defined-only", file).splitlines())
    return {row[2] for row in rows if row[1] in "tT"} or log.fail(f"{file} has no functions")


def _ways(step, module: Path, order: list) -> set:
    """The functions that a module's tables of operations have for the way of a request."""
    functions = {(row[6], int(row[1], 16)): row[0] for row in _symbols(module) if row[3] == "FUNC"}
    tables = [(row[6], int(row[1], 16), int(row[4], 16)) for row in _symbols(module)
              if row[3] == "OBJECT" and _TABLE.match(row[0])]
    found, section = set(), ""
    for line in _tool("llvm-readelf", "--relocations", "--wide", module).splitlines():
        if named := re.match(r"Relocation section '\.rela(\.\S+)'", line):
            section = named[1]
        elif fields := re.match(r"([0-9a-f]+) +[0-9a-f]+ +R_X86_64_64 +[0-9a-f]+ +(\S+) \+ ([0-9a-f]+)$", line.strip()):
            for place, begin, size in tables:
                at = int(fields[1], 16) - begin
                if place == section and 0 <= at < size and order[at // _POINTER_BYTES] in _PASSED:
                    found.add(functions.get((fields[2], int(fields[3], 16)), fields[2]))
    if bool(tables) != bool(found):
        step.failed(f"the operations of {module.name} are not understood")
    return found


def _symbols(module: Path) -> list:
    """Name, value, class, type, size, line and section of each symbol."""
    rows = [[field.strip() for field in line.split("|")]
            for line in _tool("llvm-nm", "--format=sysv", module).splitlines()]
    return [row for row in rows if len(row) == 7 and row[1]]


def _read(step, module: Path) -> Module:
    """The functions of a module, and the functions that they name."""
    try:
        text = _tool("llvm-objdump", "-dr", "--no-show-raw-insn", module)
    except subprocess.CalledProcessError:
        step.failed(f"{module} cannot be disassembled")
    return Module(functions_of(text), names_of(text))


def _tool(name: str, *words) -> str:
    return process.output([toolchain.find().llvm.bin / name, *words])


def functions_of(text: str) -> dict:
    """The instructions of each function in the output of objdump for a module."""
    functions, body = {}, []
    for line in text.splitlines():
        line = re.sub(r"^\s*[0-9a-f]+:\s", "", line)
        if named := _FUNCTION.match(line):
            body = functions[named[2]] = []
        elif (refers := _RELOCATION.match(line.strip())) and _BRANCH.match(body[-1] if body else ""):
            body[-1] = f"{body[-1].split()[0]}\t# <{refers[2]}>"
        elif instruction := _settled(line.strip()):
            body.append(instruction)
    return functions


def names_of(text: str) -> dict:
    """The functions that each function calls, jumps to, or has a pointer to."""
    begins = {int(address, 16): name for address, name in re.findall(r"^([0-9a-f]+) <(.+)>:$", text, re.MULTILINE)}
    found, inside = {}, set()
    for line in text.splitlines():
        line = re.sub(r"^\s+[0-9a-f]+:\s", "", line).strip()
        if named := _FUNCTION.match(line):
            inside = found[named[2]] = set()
        elif refers := _RELOCATION.match(line):
            kind, name, offset = refers[1], refers[2], int(refers[3] or "0", 16)
            if name.startswith(".text"):
                name = begins.get(offset + (4 if kind in _RELATIVE else 0), name)
            inside.add(name)
        elif called := _DIRECT.search(line):
            inside.add(called[1])
    return found


def _settled(line: str) -> str:
    """An instruction, or its reference, without the parts that may differ; empty for padding."""
    if refers := _RELOCATION.match(line):
        return f"{refers[1]} {refers[2]}"
    if not line or line.startswith(("nop", "int3")):
        return ""
    return _NUMBER.sub("#", re.sub(r"0x[0-9a-f]+ (<\S+?)\+0x[0-9a-f]+>|\s+# .*$", r"\1", line))


def difference(before, after) -> str | None:
    """How a function in stock and in ours differ, if they do."""
    if before is None or after is None:
        return f"there is none in {'stock' if before is None else 'ours'}"
    if len(before) != len(after):
        return f"{len(before)} instructions in stock, {len(after)} in ours"
    for one, other in zip(before, after, strict=True):
        if one != other:
            return f"`{one}` in stock, `{other}` in ours"
    return None
