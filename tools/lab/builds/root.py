# SPDX-License-Identifier: GPL-2.0
"""The root of guests whose programs the host cannot run: Debian's packages for their architecture, in the cache.

The packages are unpacked and not configured, which would take programs of theirs. A guest's work needs no more.
"""
import hashlib
import json
from pathlib import Path

from lab.builds import apt
from lab.builds import cache
from lab.host import log
from lab.host import paths

#: All guests have the programs of the oldest Debian that the lab runs on, whatever the host has.
SUITE = "bookworm"
#: The packages that a root needs although nobody has installed it, and those that the tests run in it.
PACKAGES = (
    "base-files", "bash", "coreutils", "dash", "diffutils", "findutils", "gawk", "grep", "gzip", "hostname", "kmod",
    "libc-bin", "mount", "procps", "python3", "sed", "tar", "util-linux",
    "dmsetup", "e2fsprogs", "fio", "git", "iproute2", "mdadm", "nvme-cli", "sysstat", "udev",
)
#: Files that some package's configuration would write.
_WRITTEN = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/bash\n",
    "etc/group": "root:x:0:\ndisk:x:6:\n",
}
#: Directories that the configuration would make.
_MADE = ("mnt", "srv")
#: The choices that a package leaves to the system.
_CHOSEN = {"usr/bin/awk": "gawk"}
SPACE_GIB = 1


def ensure(architecture: str) -> Path:
    """The root for an architecture, as Debian calls it."""
    key = hashlib.sha256(json.dumps([SUITE, PACKAGES, _MADE, _WRITTEN, _CHOSEN]).encode()).hexdigest()[:12]
    home = paths.CACHE / "root" / f"{architecture}-{key}"
    with cache.lock(home, f"root for {architecture}"):
        if not home.exists():
            _make(architecture, home)
    return home


def _make(architecture: str, home: Path) -> None:
    if not apt.present():
        log.fail(f"the root of a guest for {architecture} cannot be had without apt")
    cache.need_space(home, SPACE_GIB, f"a root for {architecture}")
    with cache.scratch(home) as part, log.step(f"root-{architecture}", f"unpacking Debian for {architecture}") as step:
        if not apt.unpack_for(architecture, SUITE, list(PACKAGES), part / "root", step):
            log.fail(f"this machine's mirror has no {SUITE} for {architecture}, see {step.log}")
        for name in _MADE:
            (part / "root" / name).mkdir(exist_ok=True)
        for name, text in _WRITTEN.items():
            (part / "root" / name).write_text(text)
        for name, target in _CHOSEN.items():
            (part / "root" / name).symlink_to(target)
        (part / "root").rename(home)
