# SPDX-License-Identifier: GPL-2.0
"""The compilers: which rustc is in use, the LLVM that fits it, and the environment of a kernel build.

A kernel in Rust and C wants clang of rustc's own LLVM major, since only then can the linker link bitcode of the two
(CONFIG_RUST_INLINE_HELPERS). With another major everything but that works.
"""

import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from lab.builds import apt
from lab.host import log
from lab.host import paths
from lab.host import process

#: The minimum that the kernels ask for.
RUSTC_MINIMUM = (1, 85)
BINDGEN_VERSION = "0.72.1"
BINDGEN = paths.CACHE / f"bindgen-{BINDGEN_VERSION}"
#: The LLVM to use where there is none of rustc's major.
LLVM_FALLBACK = 19


@dataclass(frozen=True)
class Rustc:
    version: str
    llvm: int
    #: All of `rustc -vV`.
    identity: str

    @property
    def usable(self) -> bool:
        return new_enough(self.version)


def new_enough(version: str) -> bool:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2]) >= RUSTC_MINIMUM


def rustc() -> Rustc | None:
    """The rustc in PATH, or None."""
    try:
        text = process.output(["rustc", "-vV"])
    except subprocess.CalledProcessError:
        return None
    version = re.search(r"^release: (\d+\.\d+\.\d+)", text, re.MULTILINE)
    llvm = re.search(r"^LLVM version: (\d+)", text, re.MULTILINE)
    return Rustc(version[1], int(llvm[1]), text) if version and llvm else None


@dataclass(frozen=True)
class Llvm:
    major: int

    @property
    def root(self) -> Path:
        return Path(f"/usr/lib/llvm-{self.major}")

    @property
    def bin(self) -> Path:
        return self.root / "bin"

    @property
    def packages(self) -> dict:
        """The packages, and a file that each has."""
        return {
            f"clang-{self.major}": self.bin / "clang",
            f"lld-{self.major}": self.bin / "ld.lld",
            f"llvm-{self.major}": self.bin / "llvm-ar",
            f"libclang-{self.major}-dev": self.root / "lib" / "libclang.so",
        }

    @property
    def complete(self) -> bool:
        return all(file.exists() for file in self.packages.values())


def installed(for_rustc: Rustc) -> bool:
    """Whether some LLVM that fits is there."""
    return any(choice.complete for choice in _fitting(for_rustc))


def _fitting(for_rustc: Rustc) -> list:
    return [Llvm(for_rustc.llvm), Llvm(LLVM_FALLBACK)]


def llvm(for_rustc: Rustc) -> Llvm:
    """The LLVM to build with: rustc's own major when it is installed or can be, else the fallback."""
    for choice in _fitting(for_rustc):
        if choice.complete or all(apt.candidate(package) for package in choice.packages):
            return choice
    log.fail(f"no clang {for_rustc.llvm} (rustc's LLVM) or {LLVM_FALLBACK} is installed or in apt's lists")


@dataclass(frozen=True)
class Toolchain:
    rustc: Rustc
    llvm: Llvm

    @property
    def inline_helpers(self) -> bool:
        return self.rustc.llvm == self.llvm.major

    @property
    def identity(self) -> str:
        """All that tells one toolchain's output from another's."""
        clang = process.output([self.llvm.bin / "clang", "--version"])
        return f"{self.rustc.identity}\n{clang}\nbindgen {BINDGEN_VERSION}\n"

    def environment(self, **changes: str) -> dict:
        """The environment of a kernel or module build."""
        environment = process.environment()
        path = f"{self.llvm.bin}:{BINDGEN / 'bin'}:{environment['PATH']}"
        return environment | {
            "PATH": path + ":/usr/sbin:/sbin",
            "BINDGEN": str(BINDGEN / "bin" / "bindgen"),
            "LIBCLANG_PATH": str(self.llvm.root / "lib"),
        } | changes


@cache
def find() -> Toolchain:
    """The toolchain of this machine, after `setup.ensure()`."""
    found = rustc()
    if not found:
        log.fail("there is no rustc in PATH")
    return Toolchain(found, llvm(found))


def have(command: str) -> bool:
    """Whether a command exists, for root or not."""
    return shutil.which(command) is not None or any((place / command).exists()
                                                    for place in (Path("/usr/sbin"), Path("/sbin")))
