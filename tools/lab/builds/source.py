# SPDX-License-Identifier: GPL-2.0
"""Source trees: the kernel's, and the Rust library's that the kernel compiles for itself.

The kernel's is the user's own tree (KSRC=) or Debian's source package in the cache. That has the version that KVER=
asks for, or the newest one to be had. The lab never writes to either.
"""

import hashlib
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from lab.builds import apt
from lab.builds import cache
from lab.builds import toolchain
from lab.builds import versions
from lab.host import log
from lab.host import paths
from lab.host import process

#: The project's patch of the block layer. The library works without it, too.
BLOCK_PATCH = paths.ROOT / "block" / "lower.patch"


@dataclass(frozen=True)
class Source:
    tree: Path
    #: Tells this source from any other, as far as possible.
    identity: str
    #: Whether the tree may change under us.
    mutable: bool


def kernel() -> Source:
    """The kernel's source: KSRC= when given, else Debian's of the preferred version among those to be had."""
    if given := os.environ.get("KSRC"):
        return _users(Path(given).expanduser().resolve())
    wanted = versions.preferred()
    with cache.lock(paths.CACHE / "source" / "linux", "kernel source"):
        for version in wanted:
            if tree := _kept(version) or _fetch_debian(version):
                return Source(tree, tree.name, mutable=False)
    why = apt.NOWHERE if apt.present() else "cannot be had without apt"
    log.fail(f"{_either(wanted, 'linux-source-')} {why}; KSRC=/path/to/linux-{wanted[0]} gives a tree")


def patched() -> Source:
    """The kernel's source with the project's patch of the block layer; a tree of the user's stays as it is."""
    origin = kernel()
    if origin.mutable:
        return origin
    key = hashlib.sha256(BLOCK_PATCH.read_bytes()).hexdigest()[:12]
    tree = paths.CACHE / "patched" / f"{origin.tree.name}+{key}"
    with cache.lock(tree, "patched kernel source"):
        if not tree.exists():
            _lay_patch_over(origin.tree, tree)
    return Source(tree, f"{origin.identity}+{key}", mutable=False)


def _lay_patch_over(origin: Path, tree: Path) -> None:
    """Makes a tree that shares every file with `origin` but those that the patch changes."""
    with cache.scratch(tree) as part, log.step("kernel-patch", f"patching {origin.name}") as step:
        changed = part / "tree"
        # A file that the patch changes is written anew, and leaves the one that it shares alone.
        shutil.copytree(origin, changed, symlinks=True, copy_function=os.link)
        step.run(["git", "apply", BLOCK_PATCH], cwd=changed, env=os.environ | {"GIT_DIR": os.devnull})
        changed.rename(tree)


def version(tree: Path) -> str | None:
    """The kernel version that a tree's Makefile states, or None when it is no kernel."""
    try:
        text = (tree / "Makefile").read_text(errors="replace")
    except OSError:
        return None
    parts = [re.search(rf"^{name} = *(\d+)$", text, re.MULTILINE) for name in ("VERSION", "PATCHLEVEL", "SUBLEVEL")]
    return ".".join(part[1] for part in parts) if all(parts) else None


def _users(tree: Path) -> Source:
    found = version(tree)
    if not found:
        log.fail(f"KSRC={tree} is not a kernel source tree; Linux {_either(versions.KNOWN)} is needed")
    versions.check(found, f"KSRC={tree}")
    if (tree / ".config").exists() or (tree / "include" / "config").exists():
        log.fail(f"KSRC={tree} has been built in; run `make mrproper` there, or pass it as KDIR= to use that build")
    return Source(tree, f"{found} {tree}", mutable=True)


def _kept(version: str) -> Path | None:
    """The newest source of a version that the cache has."""
    return max((paths.CACHE / "source").glob(f"linux-{version}.*[0-9]"), default=None)


def _fetch_debian(version: str) -> Path | None:
    """Debian's source of a version, in the cache; None when there is no apt, or no suite has one."""
    package = f"linux-source-{version}"
    store = paths.CACHE / "source"
    if not apt.present():
        return None
    cache.need_space(store, 3, "the kernel source")
    with cache.scratch(store / "linux") as part, log.step("kernel-source", f"fetching {package}") as step:
        found = apt.fetch(package, r"[\d.]", part, step)
        if not found:
            log.info(f"kernel-source: {package} {apt.NOWHERE}")
            return None
        tree = part / "tree"
        tree.mkdir()
        step.run(["tar", "-xf", part / "usr" / "src" / f"{package}.tar.xz", "-C", tree, "--strip-components=1"])
        return tree.rename(store / f"linux-{found}")


def _either(versions_: tuple, prefix: str = "") -> str:
    return " or ".join(f"{prefix}{version}" for version in versions_)


def rust_library() -> Path:
    """The `library` directory of exactly the rustc in use."""
    rustc = toolchain.find().rustc
    sysroot = process.output(["rustc", "--print", "sysroot"]).strip()
    installed = Path(sysroot) / "lib" / "rustlib" / "src" / "rust" / "library"
    if _is_library(installed):
        return installed
    kept = paths.CACHE / "source" / f"rust-{rustc.version}"
    with cache.lock(kept, "Rust library source"):
        if kept.exists() or _fetch_rust(kept, rustc.version):
            return kept
    if toolchain.have("rustup") and _add_component() and _is_library(installed):
        return installed
    log.fail(f"no source of the Rust library {rustc.version}: neither rust-src of that version from the mirror "
             "nor `rustup component add rust-src`")


def _is_library(directory: Path) -> bool:
    return (directory / "core" / "src" / "lib.rs").exists()


def _fetch_rust(kept: Path, release: str) -> bool:
    if not apt.present():
        return False
    cache.need_space(kept, 1, "the Rust library source")
    with cache.scratch(kept) as part, log.step("rust-source", f"fetching rust-src {release}") as step:
        found = apt.fetch("rust-src", re.escape(release) + r"[^\d.]", part, step)
        if found:
            (part / "usr" / "src" / f"rustc-{release}" / "library").rename(kept)
    return found is not None


def _add_component() -> bool:
    try:
        process.output(["rustup", "component", "add", "rust-src"])
    except subprocess.CalledProcessError:
        return False
    return True
