# SPDX-License-Identifier: GPL-2.0
"""Debian packages: files that the kernel's own packaging leaves out of its headers, and the package of mpath-top."""

import hashlib
import shutil
from pathlib import Path

from lab.builds import cache
from lab.host import log
from lab.host import paths
from lab.host import patterns
from lab.host import process

TOP = paths.ROOT / "tools" / "mpath-top"
#: The files of a kernel's build directory that a module in Rust is compiled against: metadata of the crates, macros,
#: and the helpers that are linked into it. The last is the library's own crate. `install-extmod-build` of Linux 7.3
#: copies none of them.
_OF_RUST = ("rust/libkernel.rmeta", "rust/*.rmeta", "rust/*.so")
_OF_LIBRARY = ("lib/multipath/rust/liblibmultipath.rmeta",)
_HELPERS = ("rust/helpers/*.bc",)
#: Files of the project that mpath-top's package has: where it installs them, and with which rights.
_INSTALLED = {"mpath-top": ("usr/bin/mpath-top", 0o755), "mpath-top.8": ("usr/share/man/man8/mpath-top.8", 0o644)}


def complete_headers(step, package: Path, build: Path, options: dict) -> list:
    """Adds to a package of kernel headers the files that modules in Rust need; returns the names of the files."""
    names = _rust_files(build, options)
    with cache.scratch(package.with_suffix(".unpacked")) as place:
        root = place / "root"
        step.run(["dpkg-deb", "-R", package, root])
        (headers,) = root.glob("usr/src/linux-headers-*")
        for name in names:
            (headers / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(build / name, headers / name)
        _seal(step, root, package)
    return names


def _rust_files(build: Path, options: dict) -> list:
    """The files below a build directory that a module in Rust needs; fails when it has none."""
    wanted = [*_OF_RUST]
    if options.get("CONFIG_LIBMULTIPATH", "n") != "n":
        wanted += _OF_LIBRARY
    if options.get("CONFIG_RUST_INLINE_HELPERS") == "y":
        wanted += _HELPERS
    return [str(file.relative_to(build)) for file in patterns.files(*wanted, place=build)]


def check_top() -> None:
    """Fails where a file of mpath-top's package is missing."""
    if missing := [name for name in _INSTALLED if not (TOP / name).exists()]:
        place = TOP.relative_to(paths.ROOT) if TOP.is_relative_to(paths.ROOT) else TOP
        log.fail(f"{place} has no {' and no '.join(missing)}, which the package mpath-top is made of")


def top(step, version: str, maintainer: str, into: Path) -> Path:
    """Builds the package of mpath-top."""
    check_top()
    package = into / f"mpath-top_{version}_all.deb"
    with cache.scratch(into / "mpath-top") as place:
        for name, (target, mode) in _INSTALLED.items():
            file = place / target
            file.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(TOP / name, file)
            if name.endswith(".8"):
                step.run(["gzip", "-n9", file])
                file = file.with_name(file.name + ".gz")
            file.chmod(mode)
        (place / "DEBIAN").mkdir()
        (place / "DEBIAN" / "control").write_text(
            f"Package: mpath-top\nVersion: {version}\nArchitecture: all\nMaintainer: {maintainer}\n"
            "Depends: python3\nSection: admin\nPriority: optional\n"
            "Description: live view of multipath disks and of their paths\n"
            " Shows which path carries how much, and why I/O waits, on a kernel with libmultipath.\n")
        _seal(step, place, package)
    return package


def _seal(step, root: Path, package: Path) -> None:
    """Makes a package of an unpacked one, after its files have changed: with their checksums, and their size."""
    files = sorted(file for file in root.rglob("*")
                   if file.is_file() and not file.is_symlink() and file.relative_to(root).parts[0] != "DEBIAN")
    sums = [f"{hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest()}  {file.relative_to(root)}\n"
            for file in files]
    (root / "DEBIAN" / "md5sums").write_text("".join(sums))
    control = root / "DEBIAN" / "control"
    size = sum(-(-file.stat().st_size // 1024) for file in files)
    fields = [line for line in control.read_text().splitlines() if not line.startswith("Installed-Size:")]
    control.write_text("\n".join([fields[0], f"Installed-Size: {size}", *fields[1:]]) + "\n")
    for place in [root, *root.rglob("*")]:
        if place.is_dir() and not place.is_symlink():
            place.chmod(0o755)
    part = package.with_name(package.name + ".part")
    step.run(["dpkg-deb", "--root-owner-group", "-b", root, part], env=process.environment())
    part.replace(package)


def unpack(step, package: Path, into: Path) -> Path:
    """Unpacks a package and installs nothing."""
    into.mkdir(parents=True, exist_ok=True)
    step.run(["dpkg-deb", "-x", package, into])
    return into
