# SPDX-License-Identifier: GPL-2.0
"""A Debian machine's kernel configuration, and the one for libmultipath that `make deb` makes of it.

`refusals()` names the faults that `make deb` cannot put right, and how to. `changes()` names its own changes. `lost()`
names the options that Kconfig has not accepted, and why. All three are functions of a configuration's options, name to
value; an option that is not set has the value "n", or is not there.
"""

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from lab.host import log
from lab.host import process

#: The suffix of the packages' kernel after its version.
SUFFIX = "-mpath"
LIBRARY = "CONFIG_NVME_MULTIPATH_LIB"
#: The options that a kernel with the series must have in the end.
IN_FORCE = {"CONFIG_RUST": "y", "CONFIG_NVME_MULTIPATH": "y", LIBRARY: "y", "CONFIG_LIBMULTIPATH": "m",
            "CONFIG_LIBMULTIPATH_ONE_PASS": "y", "CONFIG_NVME_CORE": "m", "CONFIG_BLK_DEV_NVME": "m"}
#: Those of them that the series brings.
OF_SERIES = ("CONFIG_LIBMULTIPATH", "CONFIG_LIBMULTIPATH_ONE_PASS", LIBRARY)
#: NVMe drivers that bring NVME_CORE into the kernel's image where they are built in.
_DRIVERS = ("CONFIG_BLK_DEV_NVME", "CONFIG_NVME_FABRICS", "CONFIG_NVME_TCP", "CONFIG_NVME_RDMA", "CONFIG_NVME_FC",
            "CONFIG_NVME_TARGET", "CONFIG_NVME_TARGET_LOOP", "CONFIG_NVME_TARGET_FCLOOP", "CONFIG_NVME_TARGET_TCP",
            "CONFIG_NVME_TARGET_RDMA", "CONFIG_NVME_TARGET_FC")
#: Options whose values name files that a build needs.
_FILES = ("CONFIG_SYSTEM_TRUSTED_KEYS", "CONFIG_SYSTEM_REVOCATION_KEYS", "CONFIG_SYSTEM_BLACKLIST_HASH_LIST",
          "CONFIG_MODULE_SIG_KEY", "CONFIG_INITRAMFS_SOURCE")
#: The key that a build makes for itself.
_MADE_KEY = "certs/signing_key.pem"
#: The needs of a build with an option: Debian's package, and a command or a file of it.
_NEEDS = {
    "CONFIG_KERNEL_LZ4": ("lz4", "lz4"),
    "CONFIG_KERNEL_LZO": ("lzop", "lzop"),
    "CONFIG_KERNEL_BZIP2": ("bzip2", "bzip2"),
    "CONFIG_KERNEL_ZSTD": ("zstd", "zstd"),
    "CONFIG_MODULE_COMPRESS_ZSTD": ("zstd", "zstd"),
    "CONFIG_MODULE_SIG": ("openssl", "openssl"),
    "CONFIG_GENDWARFKSYMS": ("libdw-dev", Path("/usr/include/elfutils/libdw.h")),
}
#: The oldest pahole that leaves Rust out of BTF.
_PAHOLE = 124
_RANDSTRUCT = ("CONFIG_RANDSTRUCT_FULL", "CONFIG_RANDSTRUCT_PERFORMANCE")
_LTO = ("CONFIG_LTO_CLANG_FULL", "CONFIG_LTO_CLANG_THIN")
#: Where the firmware of a machine says whether it starts signed kernels only.
_SECURE_BOOT = "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"


@dataclass(frozen=True)
class Change:
    """A value that an option gets, and why."""

    option: str
    value: str
    why: str

    def __str__(self) -> str:
        return f"{self.option}={self.value}: {self.why}"


def of_running_kernel(release: str, root: Path = Path("/")) -> Path:
    """Where Debian keeps the configuration of the kernel that runs: beside its image, or, of late, its modules."""
    places = [root / "boot" / f"config-{release}", root / "usr" / "lib" / "modules" / release / "config"]
    for place in places:
        if place.exists():
            return place
    log.fail(f"there is no configuration of the kernel that runs, neither {places[0]} nor {places[1]}; "
             "CONFIG=/path/to/config names one, and CONFIG=lab is a small one for virtual machines")


def read(file: Path) -> str:
    """The text of a configuration; fails where the file is none for this machine."""
    if not file.exists():
        log.fail(f"CONFIG={file} does not exist; without CONFIG=, it is that of the kernel that runs, and CONFIG=lab is "
                 "a small one for virtual machines")
    if not file.is_file():
        log.fail(f"CONFIG={file} is no file; a kernel's configuration is wanted")
    try:
        text = file.read_text()
    except PermissionError:
        log.fail(f"CONFIG={file} may not be read by this user")
    except UnicodeDecodeError:
        log.fail(f"CONFIG={file} is no text; a kernel's configuration is wanted (zcat a compressed one first)")
    if not re.search(r"^CONFIG_\w+=", text, re.MULTILINE):
        log.fail(f"CONFIG={file} sets no option; a kernel's configuration is wanted")
    return text


def refusals(options: dict, tree: Path, pahole: int) -> list:
    """The faults that `make deb` cannot put right by itself, a line each.

    `pahole` is the program's version, 124 for v1.24; 0 where there is none.
    """
    return [*_of_machine(options), *_of_rust(options, pahole), *_of_signing(options), *_of_files(options, tree)]


def _of_machine(options: dict):
    if not _is(options, "CONFIG_X86_64"):
        yield "CONFIG_X86_64 is not set: only packages for x86-64 are built"
    for option in ("CONFIG_MODULES", "CONFIG_BLOCK", "CONFIG_SYSFS", "CONFIG_PCI"):
        if not _is(options, option):
            yield f"{option} is not set: libmultipath is a module for NVMe disks and needs it; set {option}=y"
    if not _is(options, "CONFIG_BLK_DEV_INITRD"):
        yield ("CONFIG_BLK_DEV_INITRD is not set: NVMe is a module in these packages, and a root on NVMe needs an "
               "initramfs; set CONFIG_BLK_DEV_INITRD=y")


def _of_rust(options: dict, pahole: int):
    for option in _RANDSTRUCT:
        if _is(options, option):
            yield f"{option}=y: Rust does not know such layouts of structures; set CONFIG_RANDSTRUCT_NONE=y"
    if _is(options, "CONFIG_DEBUG_INFO_BTF"):
        if pahole < _PAHOLE:
            yield (f"CONFIG_DEBUG_INFO_BTF=y: a kernel with Rust needs pahole v1.24 or newer for it, "
                   f"and {f'v1.{pahole - 100} is' if pahole else 'none is'} installed (Debian's dwarves); "
                   "or set CONFIG_DEBUG_INFO_BTF=n")
        for option in _LTO:
            if _is(options, option):
                yield (f"CONFIG_DEBUG_INFO_BTF=y and {option}=y: a kernel with Rust can have one of the two only; "
                       "set CONFIG_LTO_NONE=y")


def _of_signing(options: dict):
    if _is(options, "CONFIG_MODULE_SIG_ALL") and options.get("CONFIG_MODULE_SIG_KEY") == '""':
        yield ("CONFIG_MODULE_SIG_ALL=y and CONFIG_MODULE_SIG_KEY is empty: modules are to be signed and there is no "
               f'key; set CONFIG_MODULE_SIG_KEY="{_MADE_KEY}", which the build makes')


def _of_files(options: dict, tree: Path):
    for option in _FILES:
        for name in options.get(option, "").strip('"').split():
            if name != _MADE_KEY and not name.startswith("pkcs11:") and not (tree / name).exists():
                yield (f'{option} names {name}, which is not in {tree}: it is the key or the file of whoever built '
                       f'that kernel; set {option}="{_MADE_KEY if option.endswith("SIG_KEY") else ""}"')


def changes(options: dict) -> list:
    """The changes of `make deb` to a configuration, each with the reason."""
    found = [Change("CONFIG_LOCALVERSION", f'"{SUFFIX}"', "the packages stay apart from the distribution's"),
             Change("CONFIG_LOCALVERSION_AUTO", "n", "and their name says nothing else")]
    if _is(options, "CONFIG_MODVERSIONS") and not _is(options, "CONFIG_GENDWARFKSYMS"):
        found.append(Change("CONFIG_MODVERSIONS", "n", "genksyms makes no versions of Rust's symbols"))
    found.append(Change("CONFIG_RUST", "y", "the library is written in Rust"))
    found += [Change(option, "m", "it was built in, and NVMe must be a module for the library to be one")
              for option in _DRIVERS if _is(options, option)]
    if options.get("CONFIG_BLK_DEV_NVME", "n") == "n":
        found.append(Change("CONFIG_BLK_DEV_NVME", "m", "NVMe disks were not supported"))
    found += [Change("CONFIG_NVME_MULTIPATH", "y", "NVMe makes one disk of several paths"),
              Change(LIBRARY, "y", "the library does it")]
    return [each for each in found if options.get(each.option, "n") != each.value]


def apply(text: str, new: list) -> str:
    """A configuration's text with changes: each takes the place of the line about its option."""
    names = "|".join(re.escape(each.option) for each in new)
    kept = re.sub(rf"^(?:# )?(?:{names})(?:=.*| is not set)\n", "", text, flags=re.MULTILINE) if new else text
    return kept.rstrip("\n") + "\n" + "".join(_line(each) for each in new)


def _line(change: Change) -> str:
    return f"# {change.option} is not set\n" if change.value == "n" else f"{change.option}={change.value}\n"


def lost(got: dict, wanted: dict) -> list:
    """The options to which Kconfig has not given their value, a line each, with the likely reason."""
    return [f"{option} is {got.get(option, 'n')}, and must be {value}{_reason(option, got)}"
            for option, value in wanted.items() if got.get(option, "n") != value]


def _reason(option: str, got: dict) -> str:
    if option == "CONFIG_RUST":
        blocking = [name for name in ("CONFIG_MODVERSIONS", "CONFIG_RANDSTRUCT", "CONFIG_KASAN_SW_TAGS",
                                      "CONFIG_DEBUG_INFO_BTF") if _is(got, name)]
        if not _is(got, "CONFIG_RUST_IS_AVAILABLE"):
            return ": the kernel's `make rustavailable` does not accept the toolchain"
        return f": {', '.join(blocking)} may exclude it" if blocking else ""
    if option in ("CONFIG_NVME_CORE", "CONFIG_LIBMULTIPATH", "CONFIG_BLK_DEV_NVME"):
        built_in = sorted(name for name, value in got.items()
                          if value == "y" and name in _DRIVERS)
        return f": {', '.join(built_in)} is built in" if built_in else ""
    if option == LIBRARY and not _is(got, "CONFIG_RUST"):
        return ": it needs CONFIG_RUST"
    return ""


def notes(options: dict, root: Path = Path("/")) -> list:
    """Facts about the configuration and this machine that matter when the packages are installed, a line each."""
    found = []
    if secure_boot(root):
        found.append("Secure Boot is on: the firmware starts no kernel that nobody has signed. Sign the installed "
                     "vmlinuz with a key of your own (mokutil, sbsign), or switch Secure Boot off")
    if _is(options, "CONFIG_MODULE_SIG_FORCE"):
        found.append("CONFIG_MODULE_SIG_FORCE=y: only modules of this build will load, and no DKMS modules")
    if not _is(options, "CONFIG_DEBUG_FS"):
        found.append("CONFIG_DEBUG_FS is not set: there will be no debugfs file that says why I/O waits")
    if _is(options, "CONFIG_DEBUG_INFO"):
        found.append("CONFIG_DEBUG_INFO is set: the build takes several times the disk space; no package of debugging "
                     "symbols is made of it")
    return found


def secure_boot(root: Path = Path("/")) -> bool:
    """Does the firmware of this machine start signed kernels only?"""
    try:
        return (root / _SECURE_BOOT).read_bytes()[4:5] == b"\1"
    except OSError:
        return False


def needed(options: dict) -> dict:
    """Debian's packages that a build with these options needs beside those of every build, each with its sign."""
    return dict(_NEEDS[option] for option in _NEEDS if _is(options, option))


def pahole() -> int:
    """The version of pahole, 124 for v1.24; 0 where there is none."""
    if not shutil.which("pahole"):
        return 0
    try:
        found = re.search(r"v(\d+)\.(\d+)", process.output(["pahole", "--version"]))
    except subprocess.CalledProcessError:
        return 0
    return int(found[1]) * 100 + int(found[2]) if found else 0


def _is(options: dict, option: str) -> bool:
    return options.get(option) == "y"
