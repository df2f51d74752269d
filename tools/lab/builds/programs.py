# SPDX-License-Identifier: GPL-2.0
"""The programs of the host tests, as cargo has built them: kept in the user's cache, under a hash of their sources.

They run each time: they draw their cases by chance. The lab spares only the compiler, which takes longer than they do.
Rustc notes which files it has read. If one of the project's is not in the hash, nothing is kept, and the run fails.
"""

import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from lab.builds import cache
from lab.host import digest
from lab.host import paths
from lab.host import patterns
from lab.host import process

#: All the files that cargo's packages are made of, and those that their scripts read.
_SOURCES = ("Cargo.lock", "Cargo.toml", "rust/**/*.rs", "tests/host/**/*", "tests/model/**/*", "tests/fuzz/**/*",
            "tests/bench/contention/**/*", "drivers/nvme/host/multipath_lib.c")
#: How many builds the lab keeps; each is 100 MB.
KEPT = 4
#: cargo's line about a program that it runs.
_RUN = re.compile(r"^ +Running (?:unittests )?\S+ \((\S+)\)$", re.MULTILINE)
#: rustc's notes of a crate: the files that it is made of. And the files that a package's script asks cargo to watch.
_READ = re.compile(r"^\S+: (.*)$", re.MULTILINE)
_WATCHED = re.compile(r"^cargo::rerun-if-changed=(\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class Program:
    file: Path
    #: The directory where it runs: its package's.
    directory: Path


def key() -> str:
    """The key of the programs that the project's sources make here; empty if AGAIN=1 asks for a new build."""
    if os.environ.get("AGAIN"):
        return ""
    tools = [process.output([*words]) for words in (("rustc", "-Vv"), ("cargo", "-V"), ("cc", "--version"))]
    return digest.key(*tools, Path(__file__), *digest.named(_files(), paths.ROOT))


def recall(at: str) -> list:
    """The programs kept under this key, in the order in which cargo ran them; none if there are none."""
    home = _home(at)
    if not at or not cache.finished(home):
        return []
    os.utime(home)
    found = json.loads((home / "programs").read_text())
    return [Program(home / name, paths.ROOT / directory) for name, directory in found]


def keep(at: str, step, target: Path) -> None:
    """Keeps the programs that cargo said it ran, in the step's log, after it had built them in this target.

    Nothing is kept if a source has changed meanwhile.
    """
    home = _home(at)
    if not at or cache.finished(home) or key() != at:
        return
    if unknown := undeclared(target):
        step.failed(f"cargo reads {', '.join(unknown)}, which the key of what is kept does not have")
    packages = _packages()
    with cache.lock(home, "programs of the host tests"), cache.scratch(home) as part:
        made = part / "made"
        made.mkdir()
        found = []
        for name in _RUN.findall(step.log.read_text(errors="replace")):
            file = paths.ROOT / name
            shutil.copy2(file, made / file.name)
            found.append((file.name, packages[file.name.rpartition("-")[0]]))
        (made / "programs").write_text(json.dumps(found))
        cache.finish(made)
        cache.remove(home)
        made.rename(home)
    _forget(home.parent)


def undeclared(target: Path) -> list:
    """The files of the project that cargo read for this target, by the notes there, and that no key has."""
    notes = (names for file in target.glob("*/deps/*.d") for line in _READ.findall(file.read_text(errors="replace"))
             for names in line.split())
    read = {paths.ROOT / name for name in notes}
    for name in _packages().values():
        for file in target.glob(f"*/build/{Path(name).name}-*/output"):
            read |= {paths.ROOT / name / watched for watched in _WATCHED.findall(file.read_text(errors="replace"))}
    read = {Path(os.path.normpath(file)) for file in read}
    ours = {file for file in read if file.is_file() and file.is_relative_to(paths.ROOT)
            and not file.is_relative_to(paths.BUILD)}
    return sorted(str(file.relative_to(paths.ROOT)) for file in ours - set(_files()))


def run(step, program: Program, words: list) -> int:
    """Runs one as cargo does; its output goes to the step's log."""
    environment = process.environment(CARGO_MANIFEST_DIR=str(program.directory))
    return process.logged(step, [str(program.file), *words], cwd=program.directory, env=environment)


def _files() -> list:
    return patterns.files(*_SOURCES, place=paths.ROOT)


def _packages() -> dict:
    """The directories of the packages, from the project's root, by the names of their targets."""
    said = process.output(["cargo", "metadata", "--locked", "--no-deps", "--format-version=1"], cwd=paths.ROOT)
    return {each["name"]: os.path.relpath(Path(package["manifest_path"]).parent, paths.ROOT)
            for package in json.loads(said)["packages"] for each in package["targets"]}


def _home(at: str) -> Path:
    return paths.CACHE / "programs" / at


def _forget(directory: Path) -> None:
    """Removes the builds that ran least recently, if there are too many."""
    kept = filter(cache.finished, directory.iterdir())
    for place in sorted(kept, key=lambda place: -place.stat().st_mtime)[KEPT:]:
        cache.remove(place)
