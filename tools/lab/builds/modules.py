# SPDX-License-Identifier: GPL-2.0
"""The kernel modules: the library, NVMe on top of it, and NVMe as the kernel has it.

NVMe is built outside the kernel tree from a copy of the tree's sources. The variant "stock" has these as they are,
"fixed" the patches of drivers/nvme/fixes/, too. The variant "ours" has the rest of the project's drivers/nvme/ on top.
For an older kernel these files are changed first (versions.py).

"kept" is the tree of "ours" with the implementation that the kernel has had before, as it is without Rust.

"around" is "ours" on a library that does not hand bios to paths in one pass. It submits them as to any other disk, as
it has to in a kernel without block/lower.patch.

All of it goes to build/, and make builds again only changed parts. The cache gives modules that were built before from
the same sources (reuse.py).
"""

import os
import shlex
import shutil
from pathlib import Path

from lab.builds import cache
from lab.builds import reuse
from lab.builds import kernel
from lab.builds import versions
from lab.host import log
from lab.host import paths
from lab.host import patterns

VARIANTS = ("ours", "around", "kept", "stock", "fixed", "samples")
#: The kernel's own NVMe instead of ours: as it is, repaired, or as the series has it beside ours.
THEIRS = ("stock", "fixed", "kept")
#: The variable for a library that has its own tests.
WITH_TESTS = "CONFIG_LIBMULTIPATH_KUNIT_TEST=y"
#: The variable with the symbols that another directory's modules export.
_SYMBOLS = "KBUILD_EXTRA_SYMBOLS="
#: The variable for a library that submits bios to paths as to any other disk.
AROUND = ("CONFIG_LIBMULTIPATH_ONE_PASS=n",)
_SAMPLES = ("CONFIG_SAMPLE_MULTIPATH_C=m", "CONFIG_SAMPLE_MULTIPATH_RUST=m", "CONFIG_SAMPLE_MULTIPATH_RUST_MQ=m",
            "CONFIG_SAMPLE_MULTIPATH_RUST_LOWER=m")
FIXES = paths.ROOT / "drivers" / "nvme" / "fixes"
#: The patches that change files of the kernel, in this order.
_PATCHES = ("prepare.patch", "in-tree.patch")
_INCLUDE = paths.ROOT / "include"
#: The options that choose which of the two does NVMe multipath: in-tree.patch has them in Kconfig.
_OURS, _KEPT = "CONFIG_NVME_MULTIPATH_LIB", "CONFIG_NVME_MULTIPATH_OWN"
_BENCH = paths.ROOT / "tests" / "bench"
_NVME = Path("drivers/nvme")
_BENCH_LIBRARY = "lib-bench"
#: The files that are added to the library's for the bench.
_ADDED = {"rust/ffi.rs": "choose.rs", "rust/exports.c": "choose.c", "include/linux/multipath.h": "choose.h"}
_INCLUDE = paths.ROOT / "include"
_BAD = paths.ROOT / "tests" / "bad"
_HOLD = paths.ROOT / "tests" / "hold"
_AWAKE = paths.ROOT / "tests" / "awake"
#: The files that others need of a build of NVMe, and of the library; the bench and the checks read more than the
#: modules.
_MODULES = ("*/*.ko",)
_NVME_RESULTS = (*_MODULES, "host/multipath*.o")
_LIBRARY_RESULTS = ("libmultipath.ko", "Module.symvers", "rust/liblibmultipath.rmeta", "rust/.libmultipath.o.cmd",
                    "rust/bindings_generated.rs")
_SAMPLE_RESULTS = ("samples/*.ko",)
#: The files that are copied of the tree's NVMe, and so never objects that make left there.
_SOURCES = ("*.c", "*.h", "Makefile", "Kconfig")
#: Modules of a kernel may be built in instead; then there is nothing to replace.
_NVME_OPTIONS = ("CONFIG_NVME_CORE", "CONFIG_BLK_DEV_NVME", "CONFIG_NVME_FABRICS", "CONFIG_NVME_TCP")


def chosen() -> str:
    """The variant of NVMe that STOCK= and ONE_PASS= ask for."""
    stock, one_pass = os.environ.get("STOCK"), os.environ.get("ONE_PASS") or "y"
    if one_pass not in ("y", "n"):
        log.fail(f"ONE_PASS={one_pass} is none of y, n")
    if not stock:
        return "ours" if one_pass == "y" else "around"
    if one_pass == "n":
        log.fail("ONE_PASS=n is about the library, which the kernel's own NVMe does without")
    return stock if stock in THEIRS else "stock"


def ensure(which: str, name: str = kernel.PLAIN) -> Path:
    """The directory with the .ko files of "ours" or "around" (libmultipath.ko and those of "samples" included), of
    "kept", of "stock", of "fixed", or of "samples" alone.

    `name` is the kernel configuration that they are for.
    """
    if which not in VARIANTS:
        raise ValueError(which)
    built = kernel.ensure(name)
    if which == "samples" and not _has_configfs(built):
        log.fail(f"{built.release} has no CONFIG_CONFIGFS_FS, which the samples need")
    home = _home(name, built)
    if which == "around":
        return _around(ensure("ours", name), name, built, "lib")
    with cache.lock(home / which, f"modules {which}"):
        objects = []
        if which in ("ours", "samples"):
            objects.append(_library(name, built))
        if which == "ours":
            objects.append(_module(name, built, _BAD, "the driver that is bad", _ours_flags(home)))
        if which != "samples":
            objects.append(_module(name, built, _HOLD, "what holds bios", ["KCFLAGS=-Werror"]))
            objects.append(_module(name, built, _AWAKE, "what keeps devices awake", ["KCFLAGS=-Werror"]))
            objects.append(_nvme(which, name, built, _flags(which, home, built)))
        return _collect(home / "modules" / which, objects)


def _around(ours: Path, name: str, built: kernel.KernelBuild, label: str, source: Path = paths.ROOT) -> Path:
    """The same modules as in `ours`, but for the library and the samples, which are built without one pass."""
    directory = ours.with_name(ours.name.replace("ours", "around"))
    with cache.lock(kernel.place(name) / directory.name, f"modules {directory.name}"):
        return _collect(directory, [ours, _library(name, built, f"{label}-around", AROUND, source)])


def command_for_drivers() -> str:
    """The whole command that builds a driver outside of this tree on the library of `ensure("samples")`."""
    built = kernel.ensure()
    library = kernel.place(kernel.PLAIN) / "modules" / "lib"
    variables = kernel.environment()
    settings = [f"{name}={variables[name]}" for name in ("BINDGEN", "LIBCLANG_PATH", "PATH")]
    return shlex.join(map(str, ["env", *settings, *built.make(), f"MPATH={library}", f"{_SYMBOLS}{library / 'Module.symvers'}",
                                "modules"])) + ' M="$PWD"'


def ensure_library(name: str = kernel.PLAIN, variables: tuple = ()) -> Path:
    """The directory with libmultipath.ko alone, built with further make variables, as with its tests."""
    built = kernel.ensure(name)
    home = _home(name, built)
    label = "-".join(["lib", *(word.split("=")[0].removeprefix("CONFIG_LIBMULTIPATH_").lower() for word in variables)])
    with cache.lock(home / label, f"modules {label}"):
        return _library(name, built, label, variables)


def ensure_bench(which: str) -> Path:
    """The directory with the modules of "ours", "around" or "stock", with the same added code for `make bench`."""
    built = kernel.ensure()
    home = _home(kernel.PLAIN, built)
    if which == "around":
        return _around(ensure_bench("ours"), kernel.PLAIN, built, _BENCH_LIBRARY, _bench_library(home))
    with cache.lock(home / f"bench-{which}", f"modules bench-{which}"):
        objects = [_bench_load(home, built)]
        flags = []
        if which == "ours":
            library = _bench_library(home)
            objects.append(_library(kernel.PLAIN, built, _BENCH_LIBRARY, source=library))
            flags = _ours_flags(home, library=_BENCH_LIBRARY, include=library / "include")
        objects.append(_nvme(f"bench-{which}", kernel.PLAIN, built, flags))
        return _collect(home / "modules" / f"bench-{which}", objects)


def ensure_bench_samples() -> Path:
    """The directory with the modules of "samples", and what reads their disks."""
    built = kernel.ensure()
    home = _home(kernel.PLAIN, built)
    samples = ensure("samples")
    with cache.lock(home / "bench-samples", "modules bench-samples"):
        return _collect(home / "modules" / "bench-samples", [samples, _bench_load(home, built)])


def _bench_load(home: Path, built: kernel.KernelBuild) -> Path:
    """Builds mpath_load.ko."""
    output = home / "modules" / "load"
    with cache.lock(output, "modules load"), log.step("modules-load", "building the load of the bench") as step:
        step.run([*built.make(), f"M={_BENCH}", f"MO={output}", "KCFLAGS=-Werror", "modules"],
                 env=kernel.environment(), show=kernel.show)
    return output


def _bench_library(home: Path) -> Path:
    """A copy of the library with a function that chooses a path and does nothing else."""
    tree = home / "bench-library"
    for part in ("Kbuild", "rust", "include"):
        place = paths.ROOT / part
        for file in [place] if place.is_file() else place.rglob("*.*"):
            target = tree / file.relative_to(paths.ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            added = _ADDED.get(str(file.relative_to(paths.ROOT)))
            write(target, file.read_bytes() + (b"\n" + (_BENCH / added).read_bytes() if added else b""))
    return tree


def implementation(which: str) -> str:
    """The name of the file of NVMe multipath that a variant is built from, without its suffix."""
    return "multipath_lib" if "ours" in which or which == "around" else "multipath"


def _add_bench(fresh: Path, which: str) -> None:
    """Appends the bench's code to a copy of NVMe."""
    host = fresh / _NVME / "host"
    with open((host / implementation(which)).with_suffix(".c"), "a") as file:
        file.write((_BENCH / "nvme.c").read_text())
    _copy(_BENCH / "marks.h", host / "marks.h")


def ensure_for_users_kernel() -> str:
    """Builds all that KDIR='s kernel can take; returns a description of it."""
    built = kernel.ensure()
    options = built.options()
    unfit = [option for option in _NVME_OPTIONS if options.get(option, "m") != "m"]
    if not (built.source / _NVME / "host" / "core.c").exists():
        reason = f"{built.source} has no NVMe source"
    elif options.get("CONFIG_NVME_CORE") != "m" or unfit:
        reason = "its NVMe is not modular"
    else:
        return f"libmultipath and NVMe for {built.release} are in {ensure('ours')}"
    return f"libmultipath for {built.release} is in {ensure_library()}; no NVMe, since {reason}"


def check_without_multipath(name: str = kernel.PLAIN) -> None:
    """Builds our NVMe as a kernel with CONFIG_NVME_MULTIPATH=n has it; fails when that does not build."""
    built = kernel.ensure(name)
    home = _home(name, built)
    without = home / "nvme" / "without-multipath.h"
    with cache.lock(home / "without", "modules without multipath"):
        _library(name, built)
        without.parent.mkdir(parents=True, exist_ok=True)
        write(without, b"#undef CONFIG_NVME_MULTIPATH\n")
        _nvme("ours-without-multipath", name, built,
              [*_ours_flags(home, f"-include {without}", chosen=""), "CONFIG_NVME_MULTIPATH="], _MODULES)


def _home(name: str, built: kernel.KernelBuild) -> Path:
    """Where the modules for one kernel configuration go; objects for another kernel are removed from there."""
    home = kernel.place(name)
    (home / "modules").mkdir(parents=True, exist_ok=True)
    mark = home / "modules" / ".kernel"
    identity = f"{built.build_dir}\n{built.release}\n"
    if not mark.exists() or mark.read_text() != identity:
        for place in (home / "modules", home / "nvme"):
            shutil.rmtree(place, ignore_errors=True)
        (home / "modules").mkdir(parents=True)
        mark.write_text(identity)
    return home


def _library(name: str, built: kernel.KernelBuild, label: str = "lib", variables: tuple = (),
             source: Path = paths.ROOT) -> Path:
    """Builds libmultipath.ko and its Module.symvers; for the variants of NVMe also the samples."""
    output = kernel.place(name) / "modules" / label
    results, places = _LIBRARY_RESULTS, ["Kbuild", "rust/**/*", "include/**/*"]
    if label in ("lib", "lib-around") and _has_configfs(built):
        variables += _SAMPLES
        results += _SAMPLE_RESULTS
        places.append("samples/*")
    if WITH_TESTS in variables:
        places.append("tests/kunit/**/*")
    with log.step(f"modules-{label}{kernel.suffix(name)}", "building libmultipath") as step:
        _make(step, built, output, patterns.files(*places, place=source), results,
              [f"M={source}", f"MO={output}", "CONFIG_LIBMULTIPATH=m", *variables])
    return output


def _module(name: str, built: kernel.KernelBuild, source: Path, what: str, variables: list) -> Path:
    """Builds a module of the tests' own; `what` describes it."""
    output = _home(name, built) / "modules" / source.name
    files = patterns.files("*", place=source) + patterns.files("**/*", place=_INCLUDE)
    with log.step(f"modules-{source.name}{kernel.suffix(name)}", f"building {what}") as step:
        _make(step, built, output, files, ("*.ko",), [f"M={source}", f"MO={output}", *variables])
    return output


def _make(step, built: kernel.KernelBuild, output: Path, files: list, results: tuple, variables: list, prepare=None,
          texts: tuple = ()) -> None:
    """Has make fill `output`, after `prepare()`, from these files and texts, unless the cache has it."""
    def make():
        if prepare:
            prepare()
        step.run([*built.make(), *variables, "modules"], env=kernel.environment(), show=kernel.show)
    reuse.build(step, output, lambda: reuse.key(built, *variables, *texts, *files), results, make, files,
               built.sanitizes)


def _has_configfs(built: kernel.KernelBuild) -> bool:
    return "CONFIG_CONFIGFS_FS" in built.options()


def _flags(which: str, home: Path, built: kernel.KernelBuild) -> list:
    """make's variables for a variant of NVMe; a kernel of the user's may do without multipath."""
    multipath = built.options().get("CONFIG_NVME_MULTIPATH") == "y"
    if which == "ours":
        return _ours_flags(home, chosen=_OURS if multipath else "")
    return [f"KCPPFLAGS={_choose(_KEPT)}", "KCFLAGS=-Werror", f"{_KEPT}=y"] if which == "kept" else []


def _ours_flags(home: Path, flags: str = "", library: str = "lib", include: Path = _INCLUDE,
                chosen: str = _OURS) -> list:
    return [
        f"{_SYMBOLS}{home / 'modules' / library / 'Module.symvers'}",
        f"KCPPFLAGS={_choose(chosen, include)}",
        f"KCFLAGS=-Werror {flags}".strip(),
        *([f"{chosen}=y"] if chosen else []),
    ]


def _choose(option: str, include: Path = _INCLUDE) -> str:
    """The flag that shows the C of NVMe an option that the kernel's configuration does not have."""
    return f"-I{include}" + (f" -D{option}=1" if option else "")


def _nvme(which: str, name: str, built: kernel.KernelBuild, variables: list, results: tuple = _NVME_RESULTS) -> Path:
    """Builds one variant of NVMe; returns where its objects are."""
    tree = kernel.place(name) / "nvme" / which
    symbols = [Path(word.removeprefix(_SYMBOLS)).read_text() for word in variables if word.startswith(_SYMBOLS)]
    with log.step(f"nvme-{which}{kernel.suffix(name)}", "building NVMe") as step:
        _make(step, built, tree / _NVME, _laid_over(which, built.release), results, [f"M={tree / _NVME}", *variables],
              lambda: _lay_out(step, tree, built, which), (which, *symbols))
    return tree / _NVME


def _laid_over(which: str, release: str) -> list:
    """The project's files that a variant of NVMe is made of for a kernel, and may include."""
    files = [] if "stock" in which else [*patterns.files("*.patch", place=FIXES), *versions.deltas(release)]
    if "ours" in which or which == "kept":
        files += patterns.files(*_PATCHES, "host/**/*", place=FIXES.parent) + patterns.files("**/*", place=_INCLUDE)
    if "bench" in which:
        files += patterns.files("*.c", "*.h", place=_BENCH)
    return files


def _lay_out(step, tree: Path, built: kernel.KernelBuild, which: str) -> None:
    """Makes `tree` the sources of a variant of NVMe, touching no file that is already as it should be."""
    with cache.scratch(tree) as fresh:
        copy_sources(built.source, fresh)
        if "stock" not in which:
            apply_fixes(step, fresh, built.release)
        if "ours" in which or which == "kept":
            lay_ours_over(step, fresh, built.release)
        if "bench" in which:
            _add_bench(fresh, which)
        wanted = {file.relative_to(fresh): file for file in fresh.rglob("*") if file.is_file()}
        for name, file in wanted.items():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            write(tree / name, file.read_bytes())
    for pattern in ("*.c", "*.h"):
        for file in tree.rglob(pattern):
            if file.relative_to(tree) not in wanted and not file.name.endswith(".mod.c"):
                file.unlink()


def copy_sources(source: Path, fresh: Path) -> None:
    """Copies a kernel's NVMe sources into the tree `fresh`."""
    original = source / _NVME
    if not (original / "host" / "core.c").exists():
        log.fail(f"{source} has no NVMe source")
    for pattern in _SOURCES:
        for file in patterns.files(f"**/{pattern}", place=original):
            _copy(file, fresh / _NVME / file.relative_to(original))


def apply_fixes(step, fresh: Path, release: str) -> None:
    """Repairs the kernel's own driver."""
    with versions.nvme(step, release) as place:
        for file in patterns.files("fixes/*.patch", place=place):
            _apply(step, fresh, file, place, release)


def lay_ours_over(step, fresh: Path, release: str) -> None:
    """Applies the project's patches to the repaired driver, then puts the project's whole files in place."""
    with versions.nvme(step, release) as place:
        for name in _PATCHES:
            _apply(step, fresh, place / name, place, release)
        for file in patterns.files("host/**/*", place=place):
            _copy(file, fresh / _NVME / file.relative_to(place))


def _apply(step, fresh: Path, file: Path, place: Path, release: str) -> None:
    step.run(["patch", "-p1", "--batch", "--forward", "--fuzz=0", "--no-backup-if-mismatch", "-i", file],
             cwd=fresh, why=f"{_NVME / file.relative_to(place)} does not apply to Linux {release}")


def _collect(directory: Path, objects: list) -> Path:
    """Puts the modules of several builds, and nothing else, into one directory."""
    directory.mkdir(parents=True, exist_ok=True)
    found = {file.name: file for place in objects for file in place.rglob("*.ko")}
    for file in directory.glob("*.ko"):
        if file.name not in found:
            file.unlink()
    for name, file in found.items():
        target = directory / name
        if not target.exists() or target.stat().st_mtime_ns != file.stat().st_mtime_ns:
            shutil.copy2(file, target)
    return directory


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def write(file: Path, content: bytes) -> None:
    """Writes a file whose time make looks at, and only when it is another."""
    if not file.exists() or file.read_bytes() != content:
        part = file.with_name(f".{file.name}.part")
        part.write_bytes(content)
        os.replace(part, file)
