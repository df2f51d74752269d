# SPDX-License-Identifier: GPL-2.0
"""Modules that were built before from the same inputs: kept in the user's cache, under a hash of all of these.

The hash has every file of the project that goes into a build, make's variables, and the lab's own code for builds. It
also has the name of the kernel, which is a hash of its source, its options and the compilers. It has no path of the
project's tree: a fresh checkout, and a copy for a mutant, take the files that another tree has built.

Make notes which files it has read. If one of the project's is not in the hash, the build fails: nobody would notice a
change of that file. AGAIN=1 builds everything, and so does a kernel that may change under the lab (KDIR=, KSRC=).
"""

import json
import os
import re
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from lab.builds import cache
from lab.host import digest
from lab.host import log
from lab.host import paths
from lab.host import patterns

#: The lab removes builds for which nobody has asked in so many days, and the oldest ones when all take more space than
#: that.
KEPT_DAYS = 30
KEPT_BYTES = 2 * cache.GIB
_DAY_SECONDS = 24 * 3600
#: In a directory of objects: the key of its contents, and the names of the kept files.
_MARK = ".inputs"
#: The placeholder for the tree's path in the commands that make has noted.
_TREE = b"@TREE@"
#: A file that make has read, in its notes.
_READ = re.compile(r"^(?:source_\S+ :=|) +(/\S+)", re.MULTILINE)
#: Metadata of a crate has the places of its sources, for compilers' messages: they may be in another tree.
_MAY_NAME_THE_TREE = (".rmeta",)


def key(built, *inputs) -> str:
    """The key of a build for a kernel from files and texts, in this order; empty when the lab is not to keep it."""
    if not built.key or os.environ.get("AGAIN"):
        return ""
    files = [each for each in inputs if isinstance(each, Path)]
    texts = [each.replace(str(paths.ROOT), ".") for each in inputs if not isinstance(each, Path)]
    return digest.key(built.key, *texts, *digest.named([*files, *_of_lab()], paths.ROOT))


def _of_lab() -> list:
    """The lab's own code for builds."""
    return patterns.files("*.py", place=Path(__file__).parent)


def key_of(output: Path) -> str:
    """The key of the contents of a directory; empty when they have none."""
    try:
        return json.loads((output / _MARK).read_text())["key"]
    except (OSError, ValueError):
        return ""


def build(step, output: Path, ask_key, results: tuple, make, files=(), names_its_tree=False) -> None:
    """Fills the directory `output`: as it is, if it has the key that `ask_key()` says; else from the cache, or by
    `make()`.

    `results` are patterns of the files that others need of it. `files` are those of the project that the key has.
    Nothing is kept if one of them has changed meanwhile, or if the name of the tree is in the results. With
    `names_its_tree` the name may be there: KASAN knows in which file each variable is, and only its reports show that.
    """
    at = ask_key()
    if at and (_is_there(output, at) or _restore(step, output, at)):
        return
    _clear(output)
    make()
    if not at or ask_key() != at:
        return
    if unknown := undeclared(output, files):
        step.failed(f"make reads {', '.join(unknown)}, which the key of what is kept does not have")
    made = patterns.files(*results, place=output)
    _keep(step, output, at, made, names_its_tree)
    _write_mark(output, at, made, taken=False)


def _clear(output: Path) -> None:
    """Leaves a directory to make: with its own objects, and without files from the cache, which belong to others."""
    if key_of(output) and json.loads((output / _MARK).read_text()).get("taken", True):
        for name in _names(output):
            (output / name).unlink(missing_ok=True)
    (output / _MARK).unlink(missing_ok=True)


def _write_mark(output: Path, at: str, files: list, taken: bool) -> None:
    """Notes which files of a directory belong to a key, and whether the cache had them."""
    names = [str(file.relative_to(output)) for file in files]
    (output / _MARK).write_text(json.dumps({"key": at, "files": names, "taken": taken}))


def undeclared(output: Path, files) -> list:
    """The files of the project that make has read for this directory, by its notes there, and that `files` lacks."""
    read = {Path(os.path.normpath(name)) for note in output.rglob(".*.cmd")
            for name in _READ.findall(note.read_text(errors="replace"))}
    # Notes of files that are gone are old.
    ours = {file for file in read
            if file.is_relative_to(paths.ROOT) and not file.is_relative_to(paths.BUILD) and file.exists()}
    return sorted(str(file.relative_to(paths.ROOT)) for file in ours - set(files))


def _is_there(output: Path, at: str) -> bool:
    """Does this key belong to the contents of the directory?"""
    return key_of(output) == at and all((output / name).exists() for name in _names(output))


def _names(output: Path) -> list:
    """The files that others need of a directory, by its mark."""
    return json.loads((output / _MARK).read_text())["files"]


def _home() -> Path:
    return paths.CACHE / "objects"


def _restore(step, output: Path, at: str) -> bool:
    """Takes files of a directory from the cache, if they are there. Objects that make left stay for its next time."""
    place = _home() / at
    if not cache.finished(place):
        return False
    with suppress(OSError):
        os.utime(place)
        names = _names(place)
        output.mkdir(parents=True, exist_ok=True)
        # If this is interrupted, the mark names the files to clear away.
        _write_mark(output, "interrupted", [output / name for name in names], taken=True)
        for name in names:
            _copy(place / name, output / name, _TREE, str(paths.ROOT).encode())
        _write_mark(output, at, [output / name for name in names], taken=True)
        log.info(f"{step.name}: built before, from the same")
        return True
    return False


def _keep(step, output: Path, at: str, files: list, names_its_tree: bool) -> None:
    """Puts files of a directory into the cache, whole or not at all."""
    named = [file.name for file in files if not names_its_tree and _names_the_tree(file)]
    if named:
        log.info(f"{step.name}: not kept, since {named[0]} has the name of this directory")
        return
    _home().mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=".part-", dir=_home()))
    try:
        kept = [part / file.relative_to(output) for file in files]
        for file, target in zip(files, kept, strict=True):
            _copy(file, target, str(paths.ROOT).encode(), _TREE)
        _write_mark(part, at, kept, taken=False)
        cache.finish(part)
        with suppress(OSError):  # another run was faster
            part.rename(_home() / at)
    finally:
        cache.remove(part)
    _forget()


def _names_the_tree(file: Path) -> bool:
    return file.suffix not in (".cmd", *_MAY_NAME_THE_TREE) and str(paths.ROOT).encode() in file.read_bytes()


def _copy(source: Path, target: Path, one: bytes, other: bytes) -> None:
    """Copies a file, with its times; in make's notes, `other` takes the place of `one`."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, target)
    if source.suffix == ".cmd":
        target.write_bytes(source.read_bytes().replace(one, other))


def _forget() -> None:
    """Removes builds for which nobody has asked in a long time, and the oldest where all take too much space."""
    places = sorted(_home().iterdir(), key=lambda place: -place.stat().st_mtime)
    oldest, in_all = time.time() - KEPT_DAYS * _DAY_SECONDS, 0
    for place in places:
        in_all += sum(file.stat().st_size for file in place.rglob("*") if file.is_file())
        if in_all > KEPT_BYTES or place.stat().st_mtime < oldest:
            cache.remove(place)
