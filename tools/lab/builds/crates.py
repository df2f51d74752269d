# SPDX-License-Identifier: GPL-2.0
"""Other people's crates, as cargo has built them for the host tests: kept in the user's cache, and lent to each tree.

Cargo itself looks whether they match Cargo.lock, the compiler and the flags. The lab does not keep the project's own
crates: cargo builds them for each tree.
"""

import json
import os
import re
import shutil
from contextlib import suppress
from pathlib import Path

from lab.builds import cache
from lab.host import digest
from lab.host import paths
from lab.host import patterns
from lab.host import process

#: All that says which crates are built, and how, apart from the flags.
_SOURCES = ("Cargo.lock", "Cargo.toml", "tests/**/Cargo.toml")
#: How many targets the lab keeps: a few for each lock file and compiler.
KEPT = 12
#: The directories of a target that have crates: each file there has a crate's name and a hash for a name.
_OF_CRATES = ("deps", "build", ".fingerprint")
_NAMED = re.compile(r"(.+)-[0-9a-f]{16}(?:\..*)?")
#: A target that has a name of its own in each package.
_SCRIPT = "custom-build"
#: The other files by which cargo finds its work.
_ALONE = (".rustc_info.json", "CACHEDIR.TAG")


def lend(target: Path, **variables: str) -> None:
    """Fills a directory for cargo that is not there yet, if crates are kept that it may use."""
    home = _home(target, variables)
    if target.exists() or not cache.finished(home):
        return
    os.utime(home)
    with cache.scratch(target) as part:
        shutil.copytree(home / "target", part / "target", symlinks=True)
        with suppress(OSError):  # another run was faster
            (part / "target").rename(target)


def keep(target: Path, **variables: str) -> None:
    """Keeps the crates that cargo has built there, unless some are kept already."""
    home = _home(target, variables)
    profiles = [place for place in target.glob("*") if (place / ".fingerprint").is_dir()]
    with cache.lock(home, "crates"):
        if cache.finished(home) or not profiles:
            return
        own = _own_names()
        with cache.scratch(home) as part:
            made = part / "made"
            for profile in profiles:
                for directory in _OF_CRATES:
                    for each in (profile / directory).iterdir():
                        if not _is_of(each.name, own):
                            _copy(each, made / "target" / profile.name / directory / each.name)
            for name in filter(lambda name: (target / name).exists(), _ALONE):
                shutil.copy2(target / name, made / "target" / name)
            cache.finish(made)
            made.rename(home)
    _forget(home.parent)


def _home(target: Path, variables: dict) -> Path:
    settings = sorted(f"{name}={value}" for name, value in variables.items())
    sources = digest.named(patterns.files(*_SOURCES, place=paths.ROOT), paths.ROOT)
    key = digest.key(process.output(["rustc", "-Vv"]), *settings, *sources)
    return paths.CACHE / "crates" / f"{target.name}-{key[:12]}"


def _own_names() -> set:
    """The names of the project's packages and their targets."""
    said = process.output(["cargo", "metadata", "--locked", "--no-deps", "--format-version=1"], cwd=paths.ROOT)
    packages = json.loads(said)["packages"]
    targets = (each for package in packages for each in package["targets"] if _SCRIPT not in each["kind"])
    return {package["name"] for package in packages} | {each["name"].replace("-", "_") for each in targets}


def _is_of(name: str, own: set) -> bool:
    """Is this file or directory, as cargo calls it, of one of these packages?"""
    named = _NAMED.fullmatch(name)
    return bool(named) and not own.isdisjoint((named[1], named[1].removeprefix("lib")))


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True)
    else:
        shutil.copy2(source, target)


def _forget(directory: Path) -> None:
    """Removes the targets lent least recently, if there are too many."""
    kept = filter(cache.finished, directory.iterdir())
    for place in sorted(kept, key=lambda place: -place.stat().st_mtime)[KEPT:]:
        cache.remove(place)
