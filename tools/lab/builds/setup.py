# SPDX-License-Identifier: GPL-2.0
"""The machine: the packages, the bindgen and the Python environment that the lab needs.

The lab installs packages when it runs as root, and names them when it does not. bindgen and the Python environment are
the user's own, in the cache.
"""

import hashlib
import importlib.util
import os
import sys
from functools import cache as once
from pathlib import Path

from lab.builds import apt
from lab.builds import cache
from lab.builds import toolchain
from lab.host import arch
from lab.host import log
from lab.host import paths
from lab.host import process

_REQUIREMENTS = paths.ROOT / "tools" / "requirements.txt"

#: Debian's packages for a build, each with a command or a file that it brings.
BUILD_PACKAGES = {
    "bc": "bc",
    "bison": "bison",
    "ca-certificates": Path("/etc/ssl/certs/ca-certificates.crt"),
    "cpio": "cpio",
    "dwarves": "pahole",
    "flex": "flex",
    "gcc": "gcc",
    "kmod": "depmod",
    "libc6-dev": Path("/usr/include/stdio.h"),
    "libelf-dev": Path("/usr/include/libelf.h"),
    "libssl-dev": Path("/usr/include/openssl/ssl.h"),
    "make": "make",
    "patch": "patch",
    "perl": "perl",
    "rsync": "rsync",
    "xz-utils": "xz",
}
#: Those for a virtual machine and the work in it.
BOOT_PACKAGES = {
    "dmsetup": "dmsetup",
    "e2fsprogs": "mkfs.ext4",
    "fio": "fio",
    "git": "git",
    "iproute2": "rdma",
    "mdadm": "mdadm",
    "nvme-cli": "nvme",
    arch.HOSTS.package: arch.HOSTS.emulator,
    "sysstat": "iostat",
    "udev": "udevadm",
}
#: Those for `make deb` beside the first, and for a machine that tries the packages, whose root a user who is not root
#: makes in a name space of its own.
DEB_PACKAGES = {
    "debhelper": "dh_builddeb",
    "dpkg-dev": "dpkg-buildpackage",
    "git": "git",
}
DEB_TEST_PACKAGES = {
    "e2fsprogs": "mke2fs",
    "mmdebstrap": "mmdebstrap",
    arch.HOSTS.package: arch.HOSTS.emulator,
    **({} if os.geteuid() == 0 else {"uidmap": "newuidmap"}),
}
#: Those with which the lab's own tests check something.
JUDGING_PACKAGES = {
    "gcc": "gcc",
    "mandoc": "mandoc",
    arch.X86_64.package: arch.X86_64.emulator,
}
#: Rust, where there is none: under Debian's usual names when that is new enough, else Debian 12's other ones.
RUST_PACKAGES = ("rustc", "cargo", "rust-src", "rustfmt", "rust-clippy")
RUST_WEB_PACKAGES = ("rustc-web", "cargo-web", "rust-web-src", "rustfmt-web", "rust-web-clippy")


@once
def ensure(booting: bool = True, its: arch.Arch = arch.HOSTS, judging: bool = False) -> None:
    """Makes every tool available, or fails with one line that names those that are missing.

    A caller that boots nothing says so, and needs less; guests of another architecture need its machine, too. One that also
    runs the lab's own tests says that.
    """
    with cache.lock(paths.CACHE / "setup", "setup"):
        _ensure_packages(booting, its, judging)
        _ensure_bindgen()
    if booting:
        ensure_python()


def ensure_asked(more: dict, asked: bool) -> None:
    """Makes every tool available that a build needs, and `more` packages, each with its sign.

    It installs packages only when the user `asked` for that. Else it fails, and names those that are missing.
    """
    missing = _missing(BUILD_PACKAGES | more)
    if missing and not (asked and _may_install()):
        log.fail(f"missing packages: {' '.join(missing)} (nothing was installed; as root: apt-get install "
                 "--no-install-recommends and these names, or the same command once more with INSTALL=1)")
    ensure(booting=False)
    if missing := _without_sign(more):
        _install(missing)


def ensure_judging() -> None:
    """Makes the tools available that the lab's own tests check something with, and no others."""
    with cache.lock(paths.CACHE / "setup", "setup"):
        if missing := _without_sign(JUDGING_PACKAGES):
            if _may_install():
                apt.update()
            _install(missing)


def _missing(wanted: dict) -> list:
    """The packages that are missing of these, of Rust, and of the LLVM that fits it."""
    missing = _without_sign(wanted)
    rustc = toolchain.rustc()
    if rustc:
        return missing + _missing_llvm(rustc)
    packages = _rust_packages()
    llvm = apt.llvm_of(packages[0])
    return [*missing, *packages, *(toolchain.Llvm(llvm).packages if llvm else ())]


@once
def ensure_python() -> None:
    """Makes the Python environment available, which needs no other tool."""
    with cache.lock(paths.CACHE / "setup", "setup"):
        if importlib.util.find_spec("ensurepip") is None:
            _install(["python3-venv"])
        _ensure_venv()


def venv() -> Path:
    """The Python environment's directory: `venv() / "bin" / "python3"` has matplotlib and pytest, and ruff is beside it."""
    version = hashlib.sha256(_REQUIREMENTS.read_bytes() + sys.version.encode()).hexdigest()[:12]
    return paths.CACHE / f"venv-{version}"


def _ensure_packages(booting: bool, its: arch.Arch, judging: bool) -> None:
    wanted = BUILD_PACKAGES | (BOOT_PACKAGES | {its.package: its.emulator} if booting else {})
    wanted |= JUDGING_PACKAGES if judging else {}
    missing = _without_sign(wanted)
    if booting and importlib.util.find_spec("ensurepip") is None:
        missing.append("python3-venv")
    rustc = toolchain.rustc()
    if _may_install() and (missing or not rustc or not toolchain.installed(rustc)):
        apt.update()  # which LLVM is chosen must not depend on how old the lists are
    missing += _missing_llvm(rustc) if rustc else _rust_packages()
    if missing:
        _install(missing)
    if not rustc:  # which LLVM is wanted was not known before
        rustc = toolchain.rustc()
        if missing := _missing_llvm(rustc):
            _install(missing)
    if not rustc.usable:
        log.fail(f"the rustc in PATH is {rustc.version}, "
                 f"the kernel needs {'.'.join(map(str, toolchain.RUSTC_MINIMUM))} or newer (rustup has it)")


def _rust_packages() -> tuple:
    return RUST_PACKAGES if toolchain.new_enough(apt.candidate("rustc") or "0.0") else RUST_WEB_PACKAGES


def _missing_llvm(rustc) -> list:
    packages = toolchain.llvm(rustc).packages
    return [package for package, file in packages.items() if not file.exists()]


def _install(packages: list) -> None:
    if not _may_install():
        log.fail(f"missing packages: {' '.join(packages)} "
                 "(as root: apt-get install --no-install-recommends and these names)")
    apt.install(packages)


def _may_install() -> bool:
    return apt.present() and os.geteuid() == 0


def _without_sign(wanted: dict) -> list:
    """The packages that are missing of these, by their signs."""
    return [package for package, sign in wanted.items() if not _has(sign)]


def _has(sign) -> bool:
    return sign.exists() if isinstance(sign, Path) else toolchain.have(sign)


def _ensure_bindgen() -> None:
    if toolchain.BINDGEN.exists():
        return
    if not toolchain.have("cargo"):
        log.fail("there is no cargo in PATH, which bindgen is built with")
    cache.need_space(toolchain.BINDGEN, 0.5, "building bindgen")
    with cache.scratch(toolchain.BINDGEN) as part, \
            log.step("bindgen", f"building bindgen {toolchain.BINDGEN_VERSION}") as step:
        step.run(["cargo", "install", "bindgen-cli", "--version", toolchain.BINDGEN_VERSION, "--locked",
                  "--root", part / "root"],
                 env=toolchain.find().environment(CARGO_TARGET_DIR=str(part / "target")))
        (part / "root").rename(toolchain.BINDGEN)


def _ensure_venv() -> None:
    """An environment knows its own name, so it is built in place and stamped."""
    home = venv()
    if cache.finished(home):
        return
    cache.need_space(home, 0.5, "the Python environment")
    cache.remove(home)
    with log.step("python", "installing matplotlib, pytest and ruff") as step:
        step.run([sys.executable, "-m", "venv", home])
        step.run([home / "bin" / "python3", "-m", "pip", "install", "--no-input", "-r", _REQUIREMENTS],
                 env=process.environment(PIP_DISABLE_PIP_VERSION_CHECK="1"))
    cache.finish(home)
