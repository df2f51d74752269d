# SPDX-License-Identifier: GPL-2.0
"""Debian packages: installed when root, or downloaded and unpacked from a suite the machine does not use.

The second way leaves the machine's apt alone: it has an apt configuration of its own in the cache.
Its mirror is the one that the machine's apt is configured with.
"""

import re
import shutil
import subprocess
from pathlib import Path

from lab.host import log
from lab.host import paths
from lab.host import process

#: The suites that may have a package which the machine's own suite lacks, in this order.
SUITES = ("trixie-backports", "forky", "sid")
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
#: Said of a package that `fetch()` does not find.
NOWHERE = "is in no suite that can be had from this machine's mirror"
_NAMES = {"stable", "testing", "unstable", "sid", "bookworm", "trixie", "forky"}


def present() -> bool:
    return shutil.which("apt-get") is not None


def candidate(package: str) -> str | None:
    """The version of `package` that the machine's own apt would install."""
    try:
        policy = process.output(["apt-cache", "policy", package])
    except subprocess.CalledProcessError:
        return None
    version = re.search(r"Candidate: (?!\(none\))(\S+)", policy)
    return version and version[1]


def llvm_of(package: str) -> int | None:
    """The major version of the LLVM that a package of rustc depends on, by the machine's own lists."""
    try:
        depends = process.output(["apt-cache", "depends", "--recurse", "--important", package])
    except subprocess.CalledProcessError:
        return None
    found = re.search(r"Depends: libllvm(\d+)", depends)
    return int(found[1]) if found else None


def update() -> None:
    with log.step("apt-update", "fetching the package lists") as step:
        step.run(["apt-get", "-q", "update"])


def install(packages) -> None:
    """Installs packages with the machine's own apt; first it mends the half-done work of an interrupted run."""
    with log.step("apt-install", "installing " + " ".join(packages)) as step:
        quiet = process.environment(DEBIAN_FRONTEND="noninteractive")
        step.run(["dpkg", "--configure", "-a"], env=quiet)
        step.run(["apt-get", "-q", "-oDPkg::Lock::Timeout=300", "-oDpkg::Options::=--force-unsafe-io",
                  "install", "-y", "--no-install-recommends", *packages], env=quiet)


def fetch(package: str, version: str, into: Path, step, beside: tuple = ()) -> str | None:
    """Unpacks `package` from the first suite that has a version matching the pattern `version`.

    With it those `beside` it: packages of the same suite, in the newest version. Returns the version of
    `package`, or None when no suite has one.
    """
    for suite in SUITES:
        for mirror in mirrors():
            private = _PrivateApt(suite, mirror)
            found = private.version(package, version, step)
            if found:
                private.unpack(package, found, into, step)
                for other in beside:
                    private.unpack(other, private.version(other, "", step), into, step)
                return found
    return None


def unpack_for(architecture: str, suite: str, packages: list, into: Path, step) -> bool:
    """Unpacks packages and all that they depend on, for an architecture that need not be the machine's.

    None of them is configured. Returns whether some mirror has them.
    """
    for mirror in mirrors():
        private = _PrivateApt(suite, mirror, architecture)
        if private.unpack_all(packages, into, step):
            return True
    return False


def mirrors() -> list:
    """The base URIs of the Debian repositories that the machine's apt uses, in whichever form its files have them."""
    try:
        uris = process.output(["apt-get", "update", "--print-uris"])
    except subprocess.CalledProcessError:
        return []
    bases = {}
    for base, suite in re.findall(r"^'(\S+?/)dists/([^/]+)/InRelease'", uris, re.MULTILINE):
        if suite.split("-")[0] in _NAMES and not suite.endswith("-security"):
            bases[base] = None
    return list(bases)


class _PrivateApt:
    """An apt of one suite of one mirror, with its state in the cache. For another architecture, it knows of no package
    that is installed.
    """

    def __init__(self, suite: str, mirror: str, architecture: str = ""):
        self.home = paths.CACHE / "apt" / (f"{suite}-{architecture}" if architecture else suite)
        for place in ("lists/partial", "cache/archives/partial", "preferences.d"):
            (self.home / place).mkdir(parents=True, exist_ok=True)
        signed = f"[signed-by={KEYRING}] " if KEYRING.exists() else ""
        (self.home / "sources.list").write_text(f"deb {signed}{mirror} {suite} main\n")
        self.options = [
            f"-oDir::Etc::sourcelist={self.home}/sources.list", "-oDir::Etc::sourceparts=/dev/null",
            f"-oDir::Etc::preferencesparts={self.home}/preferences.d", "-oDir::Etc::preferences=/dev/null",
            f"-oDir::State::Lists={self.home}/lists", f"-oDir::Cache={self.home}/cache",
            "-oAPT::Sandbox::User=root",
        ]
        if architecture:
            (self.home / "status").touch()
            self.options += [f"-oAPT::Architecture={architecture}", f"-oAPT::Architectures={architecture}",
                             f"-oDir::State::status={self.home}/status"]

    def version(self, package: str, pattern: str, step) -> str | None:
        """The newest version of `package` that matches `pattern`."""
        if process.logged(step, ["apt-get", *self.options, "-q", "update"]):
            log.info(f"apt: the lists of {self.home.name} cannot be had, see {step.log}")
            return None
        table = process.output(["apt-cache", *self.options, "madison", package])
        versions = [line.split("|")[1].strip() for line in table.splitlines() if line.count("|") == 2]
        return next((version for version in versions if re.match(pattern, version)), None)

    def unpack_all(self, packages: list, into: Path, step) -> bool:
        """Unpacks packages and all that they depend on; False where the mirror does not have that."""
        get = ["apt-get", *self.options, "-q"]
        if process.logged(step, [*get, "update"]) or process.logged(
                step, [*get, "install", "-y", "--download-only", "--no-install-recommends", *packages]):
            return False
        archives = self.home / "cache" / "archives"
        for file in sorted(archives.glob("*.deb")):
            step.run(["dpkg", "-x", file, into])
            file.unlink()
        return True

    def unpack(self, package: str, version: str, into: Path, step) -> None:
        download = self.home / "download"
        shutil.rmtree(download, ignore_errors=True)
        download.mkdir()
        step.run(["apt-get", *self.options, "-q", "download", f"{package}={version}"], cwd=download)
        step.run(["dpkg", "-x", next(download.glob("*.deb")), into])
        shutil.rmtree(download)
