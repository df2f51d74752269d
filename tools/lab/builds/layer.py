# SPDX-License-Identifier: GPL-2.0
"""A layer of files that guests find over the host's root: it spares an emulated CPU the same work in each boot.

It has Python's bytecode of the tests, which every guest would compile: 4 s of CPU time of a boot. Python looks whether
it matches the source, and compiles it if not.

It has stand-ins for libraries that fio is linked to, and with which it reads from Ceph, Gluster, NBD and persistent
memory. No test does that. An emulated CPU loads them, and all that they load, for half a second whenever fio starts.
The stand-ins have the same names and functions, and end any program that calls these.

The layer goes to build/, as one file, since a guest takes longer to find a file than to read it. The cache keeps the
stand-ins under a hash of fio and of the libraries.
"""

import os
import re
import shutil
import subprocess
import tarfile
from collections import defaultdict
from pathlib import Path

from lab.builds import cache
from lab.builds import toolchain
from lab.host import digest
from lab.host import log
from lab.host import paths
from lab.host import patterns
from lab.host import process

LAYER = paths.BUILD / "layer.tar"
_FILES = paths.BUILD / "layer"
_TESTS = paths.ROOT / "tests"
#: The tests that no guest runs.
_OF_THE_LAB = "lab"
#: Where a guest looks for programs, as init.sh has it.
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#: The program with which Python in the host's root compiles: pairs of a source and where its bytecode goes.
_COMPILE = """
import py_compile, sys
for source, target in zip(sys.argv[1::2], sys.argv[2::2]):
    py_compile.compile(source, target, source, doraise=True)
"""
_TAG = "import sys; print(sys.implementation.cache_tag)"
#: The libraries of fio that guests do without.
_UNUSED = re.compile(r"lib(?:gfapi|nbd|pmemblk|pmem|rados|rbd)\.so\.\d+")
_NEEDED = re.compile(r"^\s+(\S+) => (/\S+)", re.MULTILINE)
#: A function that a program calls and some library has, in the output of readelf: its name and its version.
_CALLED = re.compile(r"\bUND (\w+)(?:@(\w[\w.]*))?")
_DEFINED = re.compile(r"\bFUNC +(?:GLOBAL|WEAK) +\w+ +(?!UND)\w+ (\w+)")


def ensure() -> Path:
    """The archive of the files that are put over the root of a guest."""
    with cache.lock(LAYER, "what guests have over the host's root"):
        python, fio = (shutil.which(program, path=_PATH) for program in ("python3", "fio"))
        changed = bool(python) and _compile(python)
        try:
            changed |= bool(fio) and _spare(Path(fio))
        except (log.Failure, subprocess.CalledProcessError) as failure:
            log.info(f"layer: fio keeps all of its libraries: {failure}")
        if changed or not LAYER.exists():
            _write()
    return LAYER


def _write() -> None:
    """Makes the files one archive."""
    _FILES.mkdir(parents=True, exist_ok=True)
    part = LAYER.with_suffix(".part")
    with tarfile.open(part, "w") as archive:
        archive.add(_FILES, ".", filter=_as_roots)
    part.replace(LAYER)


def _as_roots(file: tarfile.TarInfo) -> tarfile.TarInfo:
    """Makes the file root's in a guest, whoever has built the layer, and lets everybody read it."""
    file.uid = file.gid = 0
    file.uname = file.gname = "root"
    file.mode = 0o755 if file.isdir() else 0o644
    return file


def _compile(python: str) -> bool:
    """Compiles the tests' modules for a guest's Python, and removes bytecode without a source. Has anything changed?"""
    tag = process.output([python, "-c", _TAG]).strip()
    wanted = {_bytecode(file, tag): file for file in patterns.files("**/*.py", place=_TESTS)
              if file.parent.name != _OF_THE_LAB}
    gone = [file for file in _FILES.rglob("*.pyc") if file not in wanted]
    for file in gone:
        file.unlink()
    stale = [word for target, file in wanted.items() if _is_stale(target, file) for word in (file, target)]
    if stale:
        process.output([python, "-c", _COMPILE, *stale])
    return bool(gone or stale)


def _bytecode(file: Path, tag: str) -> Path:
    return _FILES / file.parent.relative_to("/") / "__pycache__" / f"{file.stem}.{tag}.pyc"


def _is_stale(target: Path, file: Path) -> bool:
    """Is the bytecode not there, or not of this source? Python itself compares the same, in each guest."""
    try:
        header = target.read_bytes()[:16]
    except OSError:
        return True
    about = file.stat()
    return header[8:] != b"".join((number & 0xffffffff).to_bytes(4, "little")
                                  for number in (int(about.st_mtime), about.st_size))


def _spare(fio: Path) -> bool:
    """Puts stand-ins into the layer for libraries that fio does not use here. Has any changed?"""
    needed = dict(_NEEDED.findall(process.output(["ldd", fio])))
    unused = {name: Path(file) for name, file in needed.items() if _UNUSED.fullmatch(name)}
    home = paths.CACHE / "layer" / f"fio-{digest.key(fio, *unused.values(), Path(__file__))[:12]}"
    with cache.lock(home, "libraries that fio does without"):
        if not home.exists():
            _make(fio, unused, home)
    changed = False
    for name, file in unused.items():
        # A directory of the layer would hide a link of the root with its name.
        target = _FILES / file.parent.resolve().relative_to("/") / name
        if not target.exists() or target.read_bytes() != (home / name).read_bytes():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(home / name, target)
            changed = True
    return changed


def _make(fio: Path, unused: dict, home: Path) -> None:
    """Builds these libraries, and sees that fio starts with them."""
    llvm = toolchain.find().llvm.bin
    called = dict(_CALLED.findall(process.output([llvm / "llvm-readelf", "--dyn-syms", "--wide", fio])))
    with cache.scratch(home) as part, log.step("layer", "building libraries that fio does without") as step:
        made = part / "libraries"
        made.mkdir()
        for name, file in unused.items():
            said = process.output([llvm / "llvm-readelf", "--dyn-syms", "--wide", file])
            functions = {function: called[function] for function in _DEFINED.findall(said.replace("@", " "))
                         if function in called}
            source, versions = part / f"{name}.c", part / f"{name}.map"
            source.write_text("".join(f"void {function}(void) {{ __builtin_trap(); }}\n" for function in functions))
            versions.write_text(_versions(functions))
            step.run([llvm / "clang", "-w", "-fno-builtin", "-fPIC", "-shared", "-nostdlib", "-fuse-ld=lld",
                      f"-Wl,-soname,{name}", f"-Wl,--version-script={versions}", "-o", made / name, source])
        step.run([fio, "--version"], env=os.environ | {"LD_LIBRARY_PATH": str(made)})
        made.rename(home)


def _versions(functions: dict) -> str:
    """A script that tells the linker the version of each function, by name; those without one are in none."""
    named = defaultdict(list)
    for function, version in functions.items():
        named[version].append(function)
    if set(named) == {""}:
        return f"{{ global: {'; '.join(functions)}; local: *; }};\n"
    return "".join(f"{version} {{ global: {'; '.join(names)}; }};\n" for version, names in named.items())
