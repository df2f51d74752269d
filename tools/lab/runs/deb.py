# SPDX-License-Identifier: GPL-2.0
"""`make deb`: the project as Debian packages of a kernel, to run on one's own machine.

The kernel is that of KSRC=, or Debian's source of Linux 7.3, with the project's series; SERIES=n builds the tree as it
is. CONFIG= names the configuration from which the kernel's is made; the default is that of the running kernel.
CONFIG=lab is the lab's own with the options that a Debian system needs to boot from a disk
(tools/kernel/debian.config): small, for virtual machines. LOCALMODCONFIG=1 leaves out the modules that the machine does
not use now.

Before it builds anything, it names all faults that it can know: missing packages, and why a configuration does not do.
It installs nothing, unless INSTALL=1 asks for the packages that the build needs. The kernel's own `bindeb-pkg` builds
the packages of image and headers. The headers get the metadata of the Rust crates, which `bindeb-pkg` leaves out. A
third package has mpath-top.
"""

import os
import platform
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from lab.builds import cache
from lab.builds import debian_config
from lab.builds import debs
from lab.builds import kernel
from lab.builds import setup
from lab.builds import source
from lab.host import digest
from lab.host import log
from lab.host import paths
from lab.host import process
from lab.runs import series

HOME = paths.BUILD / "deb"
#: The configuration that CONFIG=lab asks for, of files in tools/kernel/, and its name in HOME.
LAB = "lab"
_LAB_CONFIGURATION = f"{kernel.PLAIN}+debian"
_OWN = "own"
#: The space of a build, in GiB, by estimate: of the lab's configuration; of a distribution's with debugging symbols and
#: without.
_SPACE_LAB, _SPACE_SYMBOLS, _SPACE = 4, 40, 15
#: How many objects a build of the lab's configuration has.
_OBJECTS_LAB = 2100
#: Files of a kernel tree that the series has made.
_OF_SERIES = "lib/multipath/Kconfig"
#: No package of debugging symbols: it takes long, and much space.
_PROFILES = "pkg.linux-upstream.nokerneldbg"
#: The packages of bindeb-pkg that nobody needs here: user-space headers would replace Debian's own.
_UNWANTED = ("linux-libc-dev_*.deb", "linux-upstream_*.buildinfo", "linux-upstream_*.changes", "linux-image-*-dbg_*.deb")


@dataclass(frozen=True)
class Packages:
    """The result of a build: the kernel's release, the packages, and the configuration."""

    release: str
    image: Path
    headers: Path
    top: Path | None
    build: Path
    options: dict

    @property
    def files(self) -> list:
        return [file for file in (self.image, self.headers, self.top) if file]


def run() -> str:
    """Builds the packages that CONFIG= and the other variables ask for."""
    built = build(os.environ.get("CONFIG") or str(debian_config.of_running_kernel(platform.release())))
    names = "\n".join(f"    {file.relative_to(paths.ROOT)}" for file in built.files)
    log.info(f"packages of Linux {built.release}; nothing has been installed:\n{names}")
    place = built.image.parent.relative_to(paths.ROOT)
    return f"install them, as root: apt-get install ./{place}/*.deb"


def build(config: str) -> Packages:
    """Builds packages with a configuration: "lab", or that of a file."""
    with_series, local = _asked("SERIES", "y") == "y", _asked("LOCALMODCONFIG", "0") == "1"
    text = None if config == LAB else debian_config.read(Path(config).expanduser())
    if local and config == LAB:
        log.fail("LOCALMODCONFIG=1 is for a distribution's configuration; CONFIG=lab is small already")
    debs.check_top()
    options = kernel.options_of(text) if text else {}
    setup.ensure_asked(setup.DEB_PACKAGES | debian_config.needed(options), may_install())
    origin = source.kernel()
    if text:
        _refuse(config, debian_config.refusals(options, origin.tree, debian_config.pahole()))
    place = HOME / (LAB if config == LAB else _OWN)
    build_dir = place / "kernel"
    if not (build_dir / "vmlinux").exists():
        cache.need_space(build_dir, _space(options), f"the build of CONFIG={config}")
    with cache.lock(place, f"packages of CONFIG={config}"):
        tree = _tree(origin) if with_series else origin.tree
        with log.step(f"deb-{place.name}-configuration", f"configuring Linux {source.version(tree)}") as step:
            got = _configure(step, tree, build_dir, config, text, local)
        return _package(tree, build_dir, got)


def may_install() -> bool:
    """Does INSTALL=1 ask for missing packages to be installed?"""
    return _asked("INSTALL", "0") == "1"


def _asked(variable: str, usual: str) -> str:
    """A variable that says yes or no, in one of two ways."""
    allowed = ("y", "n") if usual in "yn" else ("0", "1")
    value = os.environ.get(variable) or usual
    if value not in allowed:
        log.fail(f"{variable}={value} is none of {', '.join(allowed)}")
    return value


def _refuse(config: str, reasons: list) -> None:
    for reason in reasons:
        log.error(f"CONFIG={config}: {reason}")
    if reasons:
        log.fail(f"CONFIG={config} cannot be used as it is, for {len(reasons)} "
                 f"reason{'s' * (len(reasons) > 1)}, see above; nothing was built")


def _space(options: dict) -> int:
    if not options:
        return _SPACE_LAB
    return _SPACE_SYMBOLS if options.get("CONFIG_DEBUG_INFO") == "y" else _SPACE


def _tree(origin: source.Source) -> Path:
    """The source with the series. Files without changes keep their times: make builds again only changed ones."""
    if (origin.tree / _OF_SERIES).exists():
        log.fail(f"{origin.tree} has {_OF_SERIES} already, so the series is in it; SERIES=n builds it as it is")
    tree, mark = HOME / "linux", HOME / "linux.made-of"
    made_of = digest.key(origin.identity, *digest.named(series.inputs(), paths.ROOT))
    if not origin.mutable and mark.exists() and mark.read_text() == made_of:
        return tree
    HOME.mkdir(parents=True, exist_ok=True)
    mark.unlink(missing_ok=True)
    with log.step("deb-tree", f"putting the series into Linux {origin.identity}") as step:
        fresh = HOME / "linux.new"
        shutil.rmtree(fresh, ignore_errors=True)
        series.write_tree(step, origin.tree, fresh)
        _keep_times(tree, fresh)
        shutil.rmtree(tree, ignore_errors=True)
        fresh.rename(tree)
    mark.write_text(made_of)
    return tree


def _keep_times(old: Path, fresh: Path) -> None:
    """Gives the files that git has written the times of those that they replace, where these are the same."""
    names = process.output(["git", "-C", fresh, "ls-files", "-z"]).split("\0")[:-1]
    for name in names:
        before, now = old / name, fresh / name
        if before.is_file() and before.read_bytes() == now.read_bytes():
            times = before.stat()
            os.utime(now, ns=(times.st_atime_ns, times.st_mtime_ns))


def _configure(step, tree: Path, build_dir: Path, config: str, text: str | None, local: bool) -> dict:
    """Configures the kernel, prints the changes, and fails where Kconfig does not accept it."""
    absent = _absent(tree)
    wanted = {option: value for option, value in debian_config.IN_FORCE.items() if option not in absent}
    if text is None:
        build_dir.mkdir(parents=True, exist_ok=True)
        of_lab = kernel.fragment(_LAB_CONFIGURATION, source.version(tree))
        got = kernel.configure_tree(step, tree, build_dir, of_lab | wanted)
    else:
        got = _from(step, tree, build_dir, text, absent)
        if local:
            got = _from(step, tree, build_dir, _local(step, tree, build_dir, got), absent)
    _refuse(config, debian_config.lost(got, wanted))
    for note in debian_config.notes(got):
        log.info(f"note: {note}")
    modules, built_in = (sum(value == kind for value in got.values()) for kind in "my")
    log.info(f"configuration: {built_in} options built in and {modules} as modules, {_time(config)}")
    if absent:
        log.info("configuration: NVMe is not on the library in this tree, and does multipath by its own code")
    return got


def _from(step, tree: Path, build_dir: Path, text: str, absent: tuple) -> dict:
    """Configures with a file's text and the necessary changes, and prints these."""
    changes = [each for each in debian_config.changes(kernel.options_of(text)) if each.option not in absent]
    for change in changes:
        log.info(f"configuration: {change}")
    return kernel.configure_from(step, tree, build_dir, debian_config.apply(text, changes))


def _local(step, tree: Path, build_dir: Path, before: dict) -> str:
    got = kernel.configure_local(step, tree, build_dir)
    old, new = (sum(value == "m" for value in options.values()) for options in (before, got))
    log.info(f"configuration: LOCALMODCONFIG=1 leaves {new} of {old} options for modules: a device or a file system "
             "that is not in use now will have no driver")
    return (build_dir / ".config").read_text()


def _absent(tree: Path) -> tuple:
    """The options that a tree lacks in which NVMe does not know the library yet: SERIES=n builds such trees."""
    file = tree / "drivers" / "nvme" / "host" / "Kconfig"
    option = debian_config.LIBRARY.removeprefix("CONFIG_")
    there = file.exists() and f"config {option}" in file.read_text().splitlines()
    return () if there else debian_config.OF_SERIES


def _time(config: str) -> str:
    if config == LAB:
        return "which takes some 20 minutes on two cores"
    return ("which nobody has timed here: a distribution's whole configuration takes hours on two cores, "
            "LOCALMODCONFIG=1 a fraction of that")


def _package(tree: Path, build_dir: Path, options: dict) -> Packages:
    """Builds the packages in the directory of `build_dir`, in place of older ones."""
    place = build_dir.parent
    for file in [file for pattern in ("*.deb", *_UNWANTED) for file in place.glob(pattern)]:
        file.unlink()
    name, mail = series.author()
    revision = time.strftime("%Y%m%d%H%M")
    version = f"{source.version(tree)}-{revision}"
    variables = {"KDEB_PKGVERSION": version, "KDEB_CHANGELOG_DIST": "unstable", "DEBFULLNAME": name, "DEBEMAIL": mail,
                 "DEB_BUILD_PROFILES": _PROFILES, "DEB_BUILD_OPTIONS": "terse"}
    with log.step(f"deb-{place.name}", f"building packages {version}") as step:
        kernel.build_packages(step, tree, build_dir, _OBJECTS_LAB if place.name == LAB else 0, variables)
        for file in [file for pattern in _UNWANTED for file in place.glob(pattern)]:
            file.unlink()
        release = (build_dir / "include" / "config" / "kernel.release").read_text().strip()
        (image,), (headers,) = (list(place.glob(f"linux-{kind}-{release}_*.deb")) for kind in ("image", "headers"))
        if options.get("CONFIG_RUST") == "y":
            added = debs.complete_headers(step, headers, build_dir, options)
            log.info(f"headers: {len(added)} files for modules in Rust added")
        top = debs.top(step, version, f"{name} <{mail}>", place)
    return Packages(release, image, headers, top, build_dir, options)
