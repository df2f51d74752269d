# SPDX-License-Identifier: GPL-2.0
"""The project as patch series for a kernel tree: `git format-patch` files in build/series/.

build/series/fixes/ has repairs of the kernel's own NVMe driver, which need nothing of the library. Each file of
drivers/nvme/fixes/ is one patch: a subject, a message, and after a line of dashes a diff.

The other series, which comes after it, is the library and NVMe on it. It begins with block/lower.patch, which has its
own message. Each tools/series/NN-*.txt is one patch: a header with its subject and its files, and its message. A
library's file goes to lib/multipath/, the header to include/linux/. `Patch:` names a diff against files that the tree
has, `Abi:` a file of the tree. That file gets the entries of docs/sysfs.md which the kernel does not have. A file that
several patches claim goes into the last of them.

For an older kernel (KVER=), the files of drivers/nvme/ are changed first, as they are where NVMe is built.

`git am` has applied the written patches to the pristine tree, and checkpatch has read them. A configuration without
Rust from before the series keeps all its options after it. BUILD=1 also builds each patch of the library's series with
and without Rust, and boots both. With Rust, NVMe is on the library once it can be; without, it does multipath by its
own code.
"""

import json
import os
import re
import shutil
import subprocess
import textwrap
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path

from lab.builds import kernel
from lab.builds import modules
from lab.builds import source
from lab.builds import versions
from lab.checks import check
from lab.checks import prose
from lab.host import log
from lab.host import paths
from lab.host import patterns
from lab.host import process
from lab.host import vm

PLAN = paths.ROOT / "tools" / "series"
HOME = paths.BUILD / "series"
FIXES = HOME / "fixes"
LIBRARY = Path("lib/multipath")

#: The series consists of the files of these places, except those that only the host builds.
_SHIPPED = ("Kbuild", "Kconfig", "rust", "tests/kunit", "include", "samples", "drivers")
_HOST_ONLY = {Path("rust/host.rs"),
              *(Path(f"drivers/nvme/{name}.patch") for name in ("prepare", "in-tree", "documentation"))}
_NVME = Path("drivers/nvme")
_FIXES_HERE = modules.FIXES.relative_to(paths.ROOT)
_OLDER_HERE = versions.OLDER.relative_to(paths.ROOT)
#: Options that exist only once their patch is there. The samples take the same name, so one is a module.
_WITH_LIBRARY = {"LIBMULTIPATH": "y", "LIBMULTIPATH_KUNIT_TEST": "y", "SAMPLE_MULTIPATH_RUST": "y",
                 "SAMPLE_MULTIPATH_C": "m", "SAMPLE_MULTIPATH_RUST_MQ": "m", "SAMPLE_MULTIPATH_RUST_LOWER": "m",
                 "NVME_MULTIPATH_LIB": "y"}
_KCONFIGS = (LIBRARY / "Kconfig", Path("drivers/nvme/host/Kconfig"))
#: The configurations that each patch is built with.
_WITH, _WITHOUT = "x86_64+series", "x86_64+series+without-rust"
#: The kernel's own driver, repaired, to which the library's series is applied.
_FIXED = "fixed"
_BOOT_SECONDS = 240
_LETTER_WIDTH = 72


@dataclass(frozen=True)
class Patch:
    """One patch of the series: `patterns` name files of the project, and `diffs` change files of the tree.

    `abi` is a file for entries of docs/sysfs.md, if there is one.
    """

    subject: str
    message: str
    patterns: list
    diffs: list
    abi: str = ""


def run() -> str:
    """Writes the fixes and the series, and tries them as far as BUILD= asks for."""
    tree = source.kernel().tree
    repairs, plan, claims = _parts()
    shutil.rmtree(HOME, ignore_errors=True)
    FIXES.mkdir(parents=True)
    with log.step("series", f"writing {len(repairs)} fixes and {len(plan)} patches") as step:
        repository = _commit_all(step, tree, HOME / "tree", repairs, plan, claims)
        fixes = repository.write_fixes()
        files = repository.write(_cover(repository.size()))
        repository.try_out(fixes + files[1:])
    for size in repository.sizes():
        log.info(f"series: {size}")
    with log.step("series-checkpatch", f"reading {len(fixes) + len(files) - 1} patches") as step:
        check.checkpatch_series(step, tree, fixes + files[1:])
    with log.step("series-configuration", "a configuration without Rust, from before") as step:
        _check_configuration(step, repository, len(plan))
    if os.environ.get("BUILD"):
        _build(repository, len(plan))
    return (f"{len(fixes)} fixes are in {FIXES}: {repository.size_of_fixes()}; "
            f"{len(files) - 1} patches and a cover letter are in {HOME}: {repository.size()}")


def write_tree(step, pristine: Path, tree: Path) -> None:
    """Makes `tree` a kernel tree with the fixes and the series, one commit each."""
    _commit_all(step, pristine, tree, *_parts())


def inputs() -> list:
    """The files from which the fixes and the series are made."""
    repairs, plan, claims = _parts()
    named = [name for patch in [*repairs, *plan] for name in [*patch.diffs, *claims.get(patch.subject, [])]]
    return [Path(__file__), *patterns.files("*", place=PLAN), *(paths.ROOT / name for name in sorted(map(Path, named))),
            *patterns.files("docs/sysfs.md")]


def _parts() -> tuple:
    """The fixes, the patches that follow them, and the files of each of these by its subject."""
    repairs = [_read_fix(file) for file in patterns.files("*.patch", place=modules.FIXES)]
    plan = [_read_fix(source.BLOCK_PATCH), *(_read(file) for file in patterns.files("[0-9]*.txt", place=PLAN))]
    return repairs, plan, _claims(plan)


def _commit_all(step, pristine: Path, tree: Path, repairs: list, plan: list, claims: dict) -> "_Repository":
    """A kernel tree with a commit for each of the fixes and the patches."""
    with versions.nvme(step, source.version(pristine)) as nvme:
        repository = _Repository(step, pristine, tree, _touched(repairs + plan, pristine), nvme)
        for patch in repairs:
            repository.commit(patch, [])
        repository.mark(_FIXED)
        for patch in plan:
            repository.commit(patch, claims[patch.subject])
    return repository


def _read(file: Path) -> Patch:
    header = HeaderParser().parsestr(file.read_text())
    return Patch(header["Subject"], header.get_payload().strip() + "\n",
                 header.get("Files", "").split(), header.get("Patch", "").split(), header.get("Abi", ""))


def _read_fix(file: Path) -> Patch:
    header = HeaderParser().parsestr(file.read_text().partition("\n---\n")[0])
    return Patch(header["Subject"], header.get_payload().strip() + "\n", [], [file.relative_to(paths.ROOT)])


def _claims(plan: list) -> dict:
    """The files of each patch by its subject; every file must be in one."""
    owner = {file: patch for patch in plan for pattern in patch.patterns
             for file in patterns.files(pattern)}
    shipped = {file.relative_to(paths.ROOT) for name in _SHIPPED for place in [paths.ROOT / name]
               for file in ([place] if place.is_file() else place.rglob("*"))
               if file.is_file() and not file.name.startswith(".")} - _HOST_ONLY
    shipped = {name for name in shipped if name.parent not in (_FIXES_HERE, _OLDER_HERE)}
    patterns.files(*map(str, _HOST_ONLY))
    if lost := [name for name in sorted(shipped) if paths.ROOT / name not in owner]:
        log.fail(f"no patch of {PLAN.relative_to(paths.ROOT)} has {lost[0]}")
    claims = {patch.subject: [] for patch in plan}
    for file, patch in owner.items():
        if file.relative_to(paths.ROOT) in shipped:
            claims[patch.subject].append(file.relative_to(paths.ROOT))
    return claims


def _touched(plan: list, tree: Path) -> list:
    """The files of the tree that the series changes."""
    names = {line.split()[1].removeprefix("a/") for patch in plan for diff in patch.diffs
             for line in (paths.ROOT / diff).read_text().splitlines() if line.startswith("--- a/")}
    names |= {str(_target(name)) for patch in plan for pattern in patch.patterns
              for name in [Path(pattern)] if (tree / _target(name)).exists()}
    return sorted(names)


def _target(name: Path) -> Path:
    """Where a file of the project is in a kernel tree."""
    return name if name.parts[0] in ("include", "drivers") else LIBRARY / name


class _Repository:
    """A kernel tree whose changed files, and only these, are under git."""

    def __init__(self, step, pristine: Path, tree: Path, touched: list, nvme: Path):
        self.tree = tree
        self._step = step
        self._nvme = nvme
        self._author = author()
        self._copy(pristine)
        self._git("init", "-q", "-b", "base")
        self._git("add", "-f", "--", *touched)
        self._commit(f"Linux {source.version(pristine)}")
        self._git("checkout", "-q", "-b", "series")

    def commit(self, patch: Patch, files: list) -> None:
        for diff in patch.diffs:
            # A later whole file replaces the one that its part of the diff made.
            self._git("apply", "--index", "--unidiff-zero", self._ours(diff))
        for name in files:
            target = self.tree / _target(name)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            shutil.copyfile(self._ours(name), target)
            self._git("add", "-f", "--", _target(name))
        if patch.abi:
            (self.tree / patch.abi).write_text(prose.new_entries())
            self._git("add", "-f", "--", patch.abi)
        self._commit(f"{patch.subject}\n\n{patch.message}", "--signoff")

    def _ours(self, name) -> Path:
        """Where the form of a file of the project is that this kernel needs."""
        name = Path(name)
        return self._nvme / name.relative_to(_NVME) if name.is_relative_to(_NVME) else paths.ROOT / name

    def mark(self, name: str) -> None:
        """Gives the tree as it is now a name."""
        self._git("tag", name)

    def write_fixes(self) -> list:
        """Writes the fixes; returns the files in order."""
        self._git("format-patch", "-q", "-o", FIXES, f"base..{_FIXED}")
        return sorted(FIXES.glob("0*.patch"))

    def write(self, cover: str) -> list:
        """Writes the patches that follow the fixes and their cover letter; returns the files in order."""
        self._git("config", "branch.series.description", cover)
        self._git("format-patch", "-q", "--cover-letter", "--cover-from-description=subject", "-o", HOME, _FIXED)
        return sorted(HOME.glob("0*.patch"))

    def try_out(self, files: list) -> None:
        """Applies the patches to the pristine tree as a maintainer would."""
        self._git("checkout", "-q", "-b", "received", "base")
        self._git("am", "-q", *files)
        self._git("diff", "--exit-code", "series", "received")

    def sizes(self):
        """How many lines each patch adds and removes, the fixes first."""
        table = process.output(["git", "-C", self.tree, "log", "--reverse", "--format=%H %s", "base..series"])
        for commit, subject in (line.split(" ", 1) for line in table.splitlines()):
            added, removed = self._numbers(f"{commit}^", commit)
            yield f"+{added} -{removed} lines: {subject}"

    def size(self) -> str:
        """How many lines the series adds and removes, in all and of the NVMe driver."""
        whole, nvme = (self._numbers(_FIXED, "series", *names) for names in ((), ("drivers/nvme",)))
        return f"+{whole[0]} -{whole[1]} lines, of which drivers/nvme +{nvme[0]} -{nvme[1]}"

    def size_of_fixes(self) -> str:
        added, removed = self._numbers("base", _FIXED)
        return f"+{added} -{removed} lines"

    def _numbers(self, one: str, other: str, *names: str) -> tuple:
        table = process.output(["git", "-C", self.tree, "diff", "--numstat", one, other, "--", *names])
        rows = [line.split() for line in table.splitlines()]
        return sum(int(row[0]) for row in rows), sum(int(row[1]) for row in rows)

    def go_to(self, number: int, count: int) -> str:
        """Checks out the tree after patch `number`; returns its subject."""
        self._git("checkout", "-q", f"received~{count - number}")
        return process.output(["git", "-C", self.tree, "log", "-1", "--format=%s"]).strip()

    def _copy(self, pristine: Path) -> None:
        """Links where that is possible: git and we replace files, and never write into one."""
        if subprocess.run(["cp", "-al", pristine, self.tree], stderr=subprocess.DEVNULL).returncode:
            shutil.rmtree(self.tree, ignore_errors=True)
            self._step.run(["cp", "-a", pristine, self.tree])

    def _commit(self, message: str, *options: str) -> None:
        self._git("commit", "-q", "-m", message, *options)

    def _git(self, *words) -> None:
        name, mail = self._author
        identity = {f"GIT_{who}_{key}": value for who in ("AUTHOR", "COMMITTER")
                    for key, value in (("NAME", name), ("EMAIL", mail))}
        self._step.run(["git", "-C", self.tree, "-c", "core.autocrlf=false", "-c", "commit.gpgsign=false", *words],
                       env=process.environment(GIT_CONFIG_GLOBAL="/dev/null", **identity))


def author() -> tuple:
    """The sender of the series: git's user, or the project's last author, where it is a git repository."""
    def ask(*words):
        try:
            return process.output(["git", "-C", paths.ROOT, *words]).strip()
        except subprocess.CalledProcessError:
            return ""
    return (ask("config", "user.name") or ask("log", "-1", "--format=%an") or "libmultipath",
            ask("config", "user.email") or ask("log", "-1", "--format=%ae") or "libmultipath@localhost")


def _cover(size: str) -> str:
    """The cover letter: its text about the series, and the figures for which reports exist."""
    text = (PLAN / "cover.txt").read_text().removeprefix("Subject: ").strip()
    lines = [f"the series: {size}", *_figures()]
    items = (textwrap.fill(line, _LETTER_WIDTH, initial_indent="- ", subsequent_indent="  ") for line in lines)
    return "\n".join([text, "", "Figures:", "", *items])


def _figures():
    if report := _report("demo"):
        yield (f"paths pulled out under verified I/O: {report['path_losses']} losses, {report['ios']} I/Os, "
               f"{report['bytes_verified'] >> 20} MiB verified, {report['errors']} errors")
    for name, report in (_report("storm") or {"kernels": {}})["kernels"].items():
        yield (f"everything at random for {report['seconds']:g} s, {name} kernel: {report.get('path_flaps', 0)} path flaps, "
               f"{report.get('teardowns_with_opener', 0)} full teardowns with an opener, {report.get('ios', 0)} I/Os "
               f"verified, {'no error' if report['passed'] else 'FAILED'}")
    for row in _report("bench") or ():
        if row["target"] is not None:
            yield (f"{row['figure']}: {row['ours']} {row['unit']}, the in-tree driver {row['stock']} "
                   f"(ratio {row['ratio']})")


def _report(name: str):
    file = paths.REPORTS / f"{name}.json"
    return json.loads(file.read_text()) if file.exists() else None


def _check_configuration(step, repository: _Repository, count: int) -> None:
    """Checks that a user without Rust loses no option: above all, NVMe multipath stays, and as it was."""
    home = paths.BUILD / "series-kernels" / "configuration"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    repository.go_to(0, count)
    before = kernel.configure_tree(step, repository.tree, home, _options(_WITHOUT, repository.tree))
    repository.go_to(count, count)
    after = kernel.configure_again(step, repository.tree, home)
    if wrong := differences(before, after):
        step.failed(wrong)


def _options(name: str, tree: Path) -> dict:
    return kernel.fragment(name, source.version(tree))


def differences(before: dict, after: dict) -> str:
    """The faults in a configuration without Rust that `olddefconfig` has made of one from before the series."""
    if before.get("CONFIG_NVME_MULTIPATH") != "y":
        return "there was no NVMe multipath before"
    if lost := sorted(option for option, value in before.items() if after.get(option) != value):
        return f"an old configuration loses {', '.join(lost)}"
    if after.get("CONFIG_NVME_MULTIPATH_OWN") != "y":
        return "without Rust, the driver's own code does not do NVMe multipath"
    return ""


def _build(repository: _Repository, count: int) -> None:
    """Builds every patch with and without Rust, and boots both."""
    for number in range(count + 1):
        subject = repository.go_to(number, count)
        with log.step(f"series-{number}", subject) as step:
            for name in (_WITH, _WITHOUT):
                _boot(step, _built(step, repository.tree, name), f"{number}{kernel.suffix(name)}")


def _built(step, tree: Path, name: str) -> kernel.KernelBuild:
    home = paths.BUILD / "series-kernels" / name
    home.mkdir(parents=True, exist_ok=True)
    there = {option for file in _KCONFIGS if (tree / file).exists()
             for option in re.findall(r"^config (\w+)", (tree / file).read_text(), re.MULTILINE)}
    wanted = {f"CONFIG_{option}": value for option, value in _WITH_LIBRARY.items()
              if option in there and name == _WITH}
    return kernel.build_tree(step, tree, home, _options(name, tree) | wanted)


def _boot(step, built: kernel.KernelBuild, label: str) -> None:
    """Boots a kernel that has everything built in, and takes a path away under verified I/O."""
    topology = vm.Topology(subsystems=(vm.Subsystem("series", {"c0": 0, "c1": 1}, namespaces=(512,)),))
    by = "library" if built.options().get("CONFIG_NVME_MULTIPATH_LIB") == "y" else "driver"
    result = vm.run(built, ["python3", "-m", "tests.series.boot", by], HOME, topology, _BOOT_SECONDS,
                    paths.LOGS / f"series-console-{label}.log", HOME / "lent", smp=2,
                    output=lambda line: open(step.log, "a").write(line + "\n"))
    if not result.ok:
        step.failed(f"patch {label} was built, and in the guest: {result}")
