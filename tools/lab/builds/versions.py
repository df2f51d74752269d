# SPDX-License-Identifier: GPL-2.0
"""The kernels that the project works with, and the files that an older one needs instead of the newest one's.

The sources are for the newest kernel. The differences for an older one are in one place for each language:

    Rust      rust/compat.rs
    C         Kbuild defines MPATH_BEFORE_7_3 and the like, which rust/helpers.c asks for
    patches   drivers/nvme/older/ has a diff for each older kernel, from the files of drivers/nvme to those for it
    options   tools/kernel/older/ has those of Kconfig

KVER= asks for one of them. A tree of the user's, or a build, says which version it is.
"""

import os
import re
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path

from lab.host import log
from lab.host import paths

#: The versions that the project is written for, the newest one last.
KNOWN = ("7.2", "7.3")
NEWEST = KNOWN[-1]
_NVME = paths.ROOT / "drivers" / "nvme"
OLDER = _NVME / "older"
#: The messages that a command has printed: each once, however often a caller asks.
_said = set()


def asked() -> str | None:
    """The version that KVER= asks for, if it does; fails when the project cannot work with it."""
    said = os.environ.get("KVER")
    if not said:
        return None
    if not re.fullmatch(r"\d+\.\d+", said):
        log.fail(f"KVER={said} is no version of Linux such as {_list(KNOWN, 'or')}")
    treated_as(said, f"KVER={said}")
    return said


def preferred() -> tuple:
    """The versions whose source would do, the best one first: the one that KVER= asks for, or any known one."""
    version = asked()
    return (version,) if version else KNOWN[::-1]


def of(release: str) -> str:
    """The version that a release is of: 7.3 of 7.3.4-mpath."""
    found = re.match(r"\d+\.\d+", release)
    return found[0] if found else log.fail(f"{release} is no release of Linux")


def treated_as(release: str, where: str) -> str:
    """The known version as which a kernel is treated. Fails for one that is too old; warns of one that is too new.

    `where` names the setting of the user that led to it.
    """
    version = of(release)
    if version in KNOWN:
        return version
    if _number(version) < _number(NEWEST):
        log.fail(f"{where}: Linux {release} is none that this works with; allowed are {_list(KNOWN, 'and')}")
    _say(f"Linux {version} is newer than any that this is known to work with ({', '.join(KNOWN)}); trying as {NEWEST}")
    return NEWEST


def check(release: str, where: str) -> None:
    """Fails unless a tree or a build of the user's is of a version that may work, and the one that KVER= asks for."""
    version = asked()
    if version and of(release) != version:
        log.fail(f"{where} is Linux {release}, and KVER={version} asks for another")
    treated_as(release, where)


def is_since(release: str, version: str) -> bool:
    """Is a kernel of this version or a newer one?"""
    return _number(treated_as(release, "the kernel")) >= _number(version)


def older(release: str) -> list:
    """The steps from the newest kernel to this one, by the versions that they lead to; none for the newest.

    So the project writes a change between two versions down once, with the older of them.
    """
    version = treated_as(release, "the kernel")
    return [each for each in KNOWN[-2::-1] if _number(each) >= _number(version)]


def deltas(release: str) -> list:
    """The diffs from the files of drivers/nvme to those for a kernel, in the order in which to apply them."""
    return [OLDER / f"{version}.diff" for version in older(release)]


@contextmanager
def nvme(step, release: str):
    """Yields a directory with the files of drivers/nvme for a kernel: the project's own, or a changed copy."""
    if not (wanted := deltas(release)):
        yield _NVME
        return
    paths.BUILD.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="nvme-", dir=paths.BUILD) as scratch:
        place = Path(scratch) / _NVME.name
        shutil.copytree(_NVME, place, ignore=shutil.ignore_patterns(OLDER.name))
        for delta in wanted:
            step.run(["patch", "-p1", "--batch", "--forward", "--fuzz=0", "--no-backup-if-mismatch", "-i", delta],
                     cwd=place, why=f"{delta.relative_to(paths.ROOT)} does not apply to drivers/nvme any more")
        yield place


def _number(version: str) -> tuple:
    return tuple(map(int, version.split(".")))


def _list(words: tuple, last: str) -> str:
    return f"{', '.join(words[:-1])} {last} {words[-1]}"


def _say(text: str) -> None:
    if text not in _said:
        _said.add(text)
        log.info(text)
