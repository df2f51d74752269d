# SPDX-License-Identifier: GPL-2.0
"""Builds that the lab keeps: taken when nothing that goes into them has changed, made anew when anything has."""

import json
import os
import subprocess
import sys
import tarfile
import time
from types import SimpleNamespace

import pytest

from conftest import ROOT
from lab.builds import cache
from lab.builds import crates
from lab.builds import reuse
from lab.builds import kernel
from lab.builds import layer
from lab.builds import modules
from lab.builds import programs
from lab.builds import versions
from lab.host import log
from lab.host import paths
from lab.host import process
from lab.suites import model

BUILT = SimpleNamespace(key="x86_64-7", release=versions.NEWEST)
RESULTS = ("*.ko", "rust/.lib.o.cmd")


@pytest.fixture(autouse=True)
def trees(tmp_path, monkeypatch):
    """Two trees with the same sources, of which the first is the project's until `move()`, and one cache."""
    monkeypatch.setattr(paths, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(paths, "LOGS", tmp_path / "logs")
    monkeypatch.delenv("AGAIN", raising=False)
    found = [tmp_path / "one", tmp_path / "other"]
    for tree in found:
        for name in ("src/lib.rs", "headers/lib.h", "Kbuild"):
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            (tree / name).write_text(f"of {name}")
    monkeypatch.setattr(reuse, "_of_lab", lambda: [])
    move(monkeypatch, found[0])
    return found


def move(monkeypatch, tree):
    monkeypatch.setattr(paths, "ROOT", tree)
    monkeypatch.setattr(paths, "BUILD", tree / "build")


def sources():
    return [paths.ROOT / name for name in ("Kbuild", "headers/lib.h", "src/lib.rs")]


class Make:
    """A build of all sources, and how often there was one. Like make, it notes the files that it reads."""

    def __init__(self, step):
        self.step = step
        self.times = 0
        self.reads = ["src/lib.rs", "headers/lib.h"]
        self.says = ""

    @property
    def output(self):
        return paths.BUILD / "lib"

    def __call__(self):
        self.times += 1
        (self.output / "rust").mkdir(parents=True, exist_ok=True)
        (self.output / "lib.ko").write_text(" ".join(file.read_text() for file in sources()) + self.says)
        (self.output / "left.o").write_text("7")
        first, *others = self.reads
        (self.output / "rust" / ".lib.o.cmd").write_text(
            f"savedcmd_lib.o := rustc -I{paths.ROOT}/include\n\nsource_lib.o := {paths.ROOT}/{first}\n\n"
            "deps_lib.o := \\\n"
            + "".join(f"  {paths.ROOT}/{name} \\\n" for name in others) + "  /usr/include/stdio.h \\\n")

    def ensure(self, *texts, built=BUILT, names_its_tree=False):
        reuse.build(self.step, self.output, lambda: reuse.key(built, *texts, *sources()), RESULTS, self, sources(),
                   names_its_tree)
        return (self.output / "lib.ko").read_text()


@pytest.fixture
def make(step):
    return Make(step)


def test_nothing_is_built_twice_in_a_tree_nor_in_another_one(make, trees, monkeypatch):
    first = make.ensure("A=1")
    assert make.ensure("A=1") == first and make.times == 1
    move(monkeypatch, trees[1])
    assert make.ensure("A=1") == first and make.times == 1
    # The files that make has noted are of the tree in which the lab reads the note.
    assert f"-I{trees[1]}/include" in (make.output / "rust" / ".lib.o.cmd").read_text()


@pytest.mark.parametrize("name", ["src/lib.rs", "headers/lib.h", "Kbuild"])
def test_a_file_that_changes_is_built_anew(make, trees, monkeypatch, name):
    make.ensure()
    (trees[0] / name).write_text("changed")
    assert "changed" in make.ensure() and make.times == 2
    move(monkeypatch, trees[1])
    assert "changed" not in make.ensure() and make.times == 2


def test_a_file_that_moves_is_built_anew(make, trees):
    before = reuse.key(BUILT, *sources())
    (trees[0] / "src" / "new.rs").write_text((trees[0] / "src" / "lib.rs").read_text())
    after = reuse.key(BUILT, *sources()[:2], trees[0] / "src" / "new.rs")
    assert before and after and before != after


def test_variables_kernels_and_the_labs_own_code_are_inputs(make, trees, monkeypatch):
    make.ensure("A=1")
    make.ensure("A=2")
    make.ensure("A=2", built=SimpleNamespace(key="x86_64-8"))
    assert make.times == 3
    (trees[0] / "modules.py").write_text("7")
    monkeypatch.setattr(reuse, "_of_lab", lambda: [trees[0] / "modules.py"])
    make.ensure("A=2", built=SimpleNamespace(key="x86_64-8"))
    assert make.times == 4


def test_where_the_tree_is_makes_no_difference_and_other_places_do(trees, monkeypatch):
    def keys():
        return [reuse.key(BUILT, f"-I{place}/include", *sources()) for place in (paths.ROOT, "/usr")]
    before = keys()
    move(monkeypatch, trees[1])
    assert keys() == before and before[0] != before[1]


def test_nothing_is_taken_of_a_kernel_that_may_change_or_when_all_is_to_be_done_again(make, monkeypatch):
    for _ in range(2):
        make.ensure(built=SimpleNamespace(key=""))
    assert make.times == 2
    make.ensure()
    monkeypatch.setenv("AGAIN", "1")
    make.ensure()
    assert make.times == 4


def test_a_kernel_that_the_lab_has_not_built_is_of_no_key(monkeypatch):
    monkeypatch.delenv("KSRC", raising=False)
    ours = kernel._KEPT / "x86_64-7"
    keys = [kernel.KernelBuild(place / "image", place, place, "7.3").key for place in (ours, paths.CACHE / "mine")]
    monkeypatch.setenv("KSRC", "/src")
    keys.append(kernel.KernelBuild(ours / "image", ours, ours, "7.3").key)
    assert keys == ["x86_64-7", "", ""]


def test_a_file_that_make_reads_and_no_key_has_fails_the_build(make, trees):
    make.reads.append("src/../headers/other.h")
    (trees[0] / "headers" / "other.h").write_text("7")
    with pytest.raises(log.Failure, match=r"make reads headers/other\.h"):
        make.ensure()
    assert not list((paths.CACHE / "objects").glob("*"))
    with pytest.raises(log.Failure):
        make.ensure()


def test_a_build_whose_source_changes_meanwhile_is_not_kept(make, trees, monkeypatch):
    whole = Make.__call__

    def change(self):
        whole(self)
        sources()[0].write_text("changed")
    monkeypatch.setattr(Make, "__call__", change)
    make.ensure()
    monkeypatch.setattr(Make, "__call__", whole)
    assert not (paths.CACHE / "objects").exists() and not reuse.key_of(make.output)
    move(monkeypatch, trees[1])
    assert "changed" not in make.ensure() and make.times == 2


def test_a_note_of_make_about_a_file_that_is_gone_is_no_fault(make, trees):
    (make.output / "rust").mkdir(parents=True)
    (make.output / "rust" / ".old.o.cmd").write_text(f"source_old.o := {trees[0]}/src/old.c\n")
    make.ensure()
    assert make.times == 1 and reuse.key_of(make.output)


def test_a_build_that_fails_is_not_kept(make, monkeypatch):
    make.ensure()
    sources()[0].write_text("wrong")

    def fail():
        raise log.Failure("it does not build")
    monkeypatch.setattr(Make, "__call__", lambda self: fail())
    for _ in range(2):
        with pytest.raises(log.Failure, match="does not build"):
            make.ensure()


def test_make_finds_its_objects_and_nothing_that_was_taken(make, trees, monkeypatch):
    make.ensure()
    move(monkeypatch, trees[1])
    sources()[0].write_text("other")
    make.ensure()
    sources()[0].write_text("of Kbuild")
    assert "other" not in make.ensure() and make.times == 2
    found, whole = [], Make.__call__

    def look(self):
        found.extend(file.name for file in self.output.rglob("*") if file.is_file())
        whole(self)
    monkeypatch.setattr(Make, "__call__", look)
    sources()[0].write_text("another")
    assert "another" in make.ensure() and found == ["left.o"]


def test_a_build_that_was_taken_in_part_is_not_believed(make, trees, monkeypatch):
    make.ensure()
    move(monkeypatch, trees[1])

    def fail(*words):
        raise OSError("no space")
    with monkeypatch.context() as patch:
        patch.setattr(reuse.shutil, "copy2", fail)
        patch.setattr(reuse, "_keep", lambda *words: None)
        make.ensure()
    assert make.times == 2
    (make.output / "lib.ko").write_text("cut o")
    reuse._write_mark(make.output, "interrupted", [make.output / "lib.ko"], taken=True)
    assert "cut o" not in make.ensure()


def test_a_file_that_is_gone_is_taken_or_built(make):
    make.ensure()
    (make.output / "lib.ko").unlink()
    make.ensure()
    assert make.times == 1
    for place in (paths.CACHE / "objects").iterdir():
        cache.remove(place)
    (make.output / "lib.ko").unlink()
    make.ensure()
    assert make.times == 2
    (make.output / "lib.ko").unlink()
    for file in (paths.CACHE / "objects").rglob("lib.ko"):
        file.unlink()
    make.ensure()
    assert make.times == 3


@pytest.mark.parametrize("may", [False, True])
def test_a_module_that_names_its_tree_is_not_kept_unless_it_may(make, trees, monkeypatch, may):
    make.says = str(trees[0])
    make.ensure(names_its_tree=may)
    move(monkeypatch, trees[1])
    make.ensure(names_its_tree=may)
    assert make.times == (1 if may else 2)


def test_old_builds_are_forgotten_and_so_are_those_that_take_too_much_space(make, monkeypatch):
    make.ensure("A=1")
    for place in (paths.CACHE / "objects").iterdir():
        os.utime(place, (time.time() - (reuse.KEPT_DAYS + 1) * 24 * 3600,) * 2)
    make.ensure("A=2")
    assert len(list((paths.CACHE / "objects").iterdir())) == 1
    monkeypatch.setattr(reuse, "KEPT_BYTES", 7)
    make.ensure("A=3")
    assert not list((paths.CACHE / "objects").iterdir())


# The modules themselves

def test_every_variant_of_nvme_has_its_own_files():
    names = {which: {str(file.relative_to(ROOT)) for file in modules._laid_over(which, versions.NEWEST)}
             for which in ("stock", "fixed", "ours", "bench-ours", "bench-stock", "ours-without-multipath")}
    assert names["stock"] == set() and names["fixed"] < names["ours"] < names["bench-ours"]
    assert {"drivers/nvme/in-tree.patch", "include/linux/multipath.h", "drivers/nvme/host/multipath_lib.c"} <= names["ours"]
    assert names["ours-without-multipath"] == names["ours"]
    assert "tests/bench/nvme.c" in names["bench-stock"]


def test_nvme_without_multipath_is_kept_without_its_object(trees, monkeypatch):
    asked = []
    monkeypatch.setattr(modules.kernel, "ensure", lambda name: BUILT)
    monkeypatch.setattr(modules.kernel, "place", lambda name: paths.BUILD)
    monkeypatch.setattr(modules, "_home", lambda name, built: paths.BUILD)
    monkeypatch.setattr(modules, "_library", lambda name, built: None)
    monkeypatch.setattr(modules, "_make", lambda step, built, output, files, results, *rest: asked.append(results))
    symbols = paths.BUILD / "modules" / "lib" / "Module.symvers"
    symbols.parent.mkdir(parents=True)
    symbols.write_text("")
    modules.check_without_multipath()
    modules._nvme("ours", "x86_64", BUILT, [])
    assert ["host/multipath*.o" in results for results in asked] == [False, True]


# Other people's crates

@pytest.fixture
def target(trees, monkeypatch):
    """Crates that cargo has built, the project's own and others, with a compiler that may be another."""
    metadata = {"packages": [{"name": "own", "targets": [{"name": "own-test", "kind": ["test"]},
                                                         {"name": "build-script-build", "kind": ["custom-build"]}]}]}
    rustc = ["rustc 7"]
    monkeypatch.setattr(crates, "_SOURCES", ("Kbuild",))
    monkeypatch.setattr(process, "output", lambda argv, **options: {
        "rustc": rustc[0], "cargo": json.dumps(metadata)}[argv[0]])
    place = paths.BUILD / "cargo" / "host"
    number = "0123456789abcdef"
    for name in (f"deps/own-{number}.d", f"deps/libown-{number}.rlib", f"deps/own_test-{number}",
                 f"deps/libfnv-{number}.rlib", f".fingerprint/own-{number}/lib-own",
                 f".fingerprint/fnv-{number}/lib-fnv", f"build/own-{number}/output",
                 f"build/libc-{number}/build-script-build", "incremental/own/x"):
        (place / "debug" / name).parent.mkdir(parents=True, exist_ok=True)
        (place / "debug" / name).write_text("7")
    for name in crates._ALONE:
        (place / name).write_text("7")
    return place, rustc


def lent(trees, monkeypatch, **variables):
    """The files that cargo finds in another tree."""
    move(monkeypatch, trees[1])
    place = paths.BUILD / "cargo" / "host"
    crates.lend(place, **variables)
    return {str(file.relative_to(place)) for file in place.rglob("*") if file.is_file()}


def test_crates_of_others_are_lent_and_the_projects_own_are_not(target, trees, monkeypatch):
    crates.keep(target[0])
    number = "0123456789abcdef"
    assert lent(trees, monkeypatch) == {f"debug/deps/libfnv-{number}.rlib",
                                        f"debug/.fingerprint/fnv-{number}/lib-fnv",
                                        f"debug/build/libc-{number}/build-script-build", *crates._ALONE}


@pytest.mark.parametrize("change", ["compiler", "lock file", "flags"])
def test_crates_for_another_compiler_lock_file_or_flags_are_not_lent(target, trees, monkeypatch, change):
    crates.keep(target[0])
    if change == "compiler":
        target[1][0] = "rustc 8"
    if change == "lock file":
        (trees[1] / "Kbuild").write_text("another")
    assert not lent(trees, monkeypatch, **({"RUSTFLAGS": "--cfg loom"} if change == "flags" else {}))


def test_crates_are_not_lent_where_cargo_has_worked_already(target):
    crates.keep(target[0])
    (target[0] / "debug" / "deps" / "libfnv-0123456789abcdef.rlib").write_text("its own")
    crates.lend(target[0])
    assert (target[0] / "debug" / "deps" / "libfnv-0123456789abcdef.rlib").read_text() == "its own"


def test_so_many_crates_are_kept_and_not_more(target, monkeypatch):
    for number in range(crates.KEPT + 2):
        target[1][0] = f"rustc {number}"
        crates.keep(target[0])
    assert len([place for place in (paths.CACHE / "crates").iterdir() if cache.finished(place)]) == crates.KEPT


# The files that guests have over the host's root

@pytest.fixture
def over(trees, monkeypatch):
    """A tree with one test, and no fio."""
    monkeypatch.setattr(layer, "LAYER", paths.BUILD / "layer.tar")
    monkeypatch.setattr(layer, "_FILES", paths.BUILD / "layer")
    monkeypatch.setattr(layer, "_TESTS", paths.ROOT / "tests")
    monkeypatch.setattr(layer.shutil, "which", lambda program, path: sys.executable if program == "python3" else None)
    for name in ("tests/guest/wait.py", "tests/lab/test_memo.py"):
        (paths.ROOT / name).parent.mkdir(parents=True)
        (paths.ROOT / name).write_text("SAYS = 7")
    return paths.ROOT / "tests" / "guest" / "wait.py"


def in_layer():
    """The names in the layer, and when it was written."""
    with tarfile.open(layer.ensure()) as archive:
        return [name for name in archive.getnames() if archive.getmember(name).isfile()], layer.LAYER.stat().st_mtime_ns


def test_the_bytecode_of_tests_is_there_once_and_follows_them(over):
    names, written = in_layer()
    assert [name for name in names if name.endswith(".pyc")] == names and len(names) == 1
    assert names[0].startswith(f".{over.parent}/__pycache__/wait.")
    assert in_layer() == (names, written)
    over.write_text("SAYS = 8")
    os.utime(over, (7, 7))
    assert in_layer()[0] == names and in_layer()[1] != written
    over.unlink()
    over.with_name("other.py").write_text("SAYS = 8")
    assert [name.partition("__pycache__/")[2].partition(".")[0] for name in in_layer()[0]] == ["other"]


def test_python_takes_the_bytecode_of_the_source_as_it_is(over, tmp_path):
    def says():
        root = tmp_path / "root"
        with tarfile.open(layer.ensure()) as archive:
            archive.extractall(root)
        code = f"import sys; sys.path.insert(0, {str(over.parent)!r}); import wait; print(wait.SAYS, wait.__cached__)"
        # Where the layer is over the root, python finds the bytecode beside its source.
        (over.parent / "__pycache__").unlink(missing_ok=True)
        (over.parent / "__pycache__").symlink_to(root / over.parent.relative_to("/") / "__pycache__")
        said = subprocess.run([sys.executable, "-v", "-c", code], capture_output=True, text=True)
        return said.stdout.split()[0], "code object from" in said.stderr and "wait.cpython" in said.stderr.replace(
            "# wrote", "wrote").partition("wrote")[0]
    assert says() == ("7", True)
    over.write_text("SAYS = 88")
    assert says() == ("88", True)


def test_the_layer_is_roots_and_everybody_may_read_it(over):
    (over.parent / "narrow.py").write_text("")
    layer.ensure()
    for file in (paths.BUILD / "layer").rglob("*"):
        file.chmod(0o700)
    layer.LAYER.unlink()
    with tarfile.open(layer.ensure()) as archive:
        assert {(file.uid, file.gid, file.mode) for file in archive} == {(0, 0, 0o755), (0, 0, 0o644)}


@pytest.mark.parametrize("failure", [log.Failure("it does not start"), subprocess.CalledProcessError(1, "ldd")])
def test_guests_boot_with_fio_as_it_is_if_it_needs_its_libraries(over, monkeypatch, capsys, failure):
    def fail(fio):
        raise failure
    monkeypatch.setattr(layer.shutil, "which", lambda program, path: "/bin/fio" if program == "fio" else None)
    monkeypatch.setattr(layer, "_spare", fail)
    assert layer.ensure().exists() and "keeps all of its libraries" in capsys.readouterr().out


def test_the_linker_is_told_each_functions_version():
    assert layer._versions({"a": "", "b": ""}) == "{ global: a; b; local: *; };\n"
    assert layer._versions({"a": "V_1", "b": "V_2", "c": "V_1"}) == "V_1 { global: a; c; };\nV_2 { global: b; };\n"


def test_fio_starts_with_the_libraries_that_take_the_place_of_others(monkeypatch):
    fio = layer.shutil.which("fio", path=layer._PATH)
    assert fio, "there is no fio, which the lab installs"
    needed = dict(layer._NEEDED.findall(process.output(["ldd", fio])))
    unused = {name: layer.Path(file) for name, file in needed.items() if layer._UNUSED.fullmatch(name)}
    home = paths.CACHE / "fio"
    layer._make(layer.Path(fio), unused, home)
    assert {file.name for file in home.iterdir()} == set(unused)
    with_them = process.output(["ldd", fio], env=os.environ | {"LD_LIBRARY_PATH": str(home)})
    assert all(str(home / name) in with_them for name in unused) and "not found" not in with_them
    assert with_them.count("=>") < len(needed)


# The programs of the host tests

@pytest.fixture
def built(trees, monkeypatch, step):
    """A target where cargo has built two programs of two packages, and cargo's output about them."""
    metadata = {"packages": [{"manifest_path": str(paths.ROOT / place / "Cargo.toml"), "targets": [{"name": name}]}
                             for place, name in ((".", "host"), ("fuzzing", "fuzz"))]}
    monkeypatch.setattr(programs, "_SOURCES", ("src/*.rs", "fuzzing/*"))
    monkeypatch.setattr(process, "output", lambda argv, **options:
                        json.dumps(metadata) if "metadata" in argv else f"{argv[0]} 7")
    target, number = paths.BUILD / "cargo" / "model", "0123456789abcdef"
    for tree in trees:
        (tree / "fuzzing").mkdir()
        (tree / "fuzzing" / "lib.rs").write_text("7")
    for name in ("host", "fuzz"):
        file = target / "debug" / "deps" / f"{name}-{number}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"#!/bin/sh\necho {name} in $PWD of $CARGO_MANIFEST_DIR: $@\n")
        file.chmod(0o755)
    note(target, "src/lib.rs", "gone.rs")
    said = "".join(f"     Running {of} ({target.relative_to(paths.ROOT)}/debug/deps/{name}-{number})\n"
                   for of, name in (("main.rs", "host"), ("unittests src/lib.rs", "fuzz")))
    step.say(said)
    return target


def note(target, *names):
    (target / "debug" / "deps" / "host-0123456789abcdef.d").write_text(
        f"{target}/host: {' '.join(names)}\n\n{names[0]}:\n")


def test_programs_are_run_as_cargo_runs_them_wherever_the_tree_is(built, trees, step, monkeypatch):
    at = programs.key()
    programs.keep(at, step, built)
    move(monkeypatch, trees[1])
    assert programs.key() == at
    step.say("")
    assert [programs.run(step, program, ["-q"]) for program in programs.recall(at)] == [0, 0]
    places = (trees[1], trees[1] / "fuzzing")
    assert [line for line in step.log.read_text().splitlines() if line[0] != "$"] == [
        f"{name} in {place} of {place}: -q" for name, place in zip(("host", "fuzz"), places, strict=True)]


def test_programs_of_other_sources_or_tools_are_not_run(built, trees, step, monkeypatch):
    programs.keep(programs.key(), step, built)
    keys = [programs.key()]
    (trees[0] / "fuzzing" / "lib.rs").write_text("8")
    keys.append(programs.key())
    monkeypatch.setattr(process, "output", lambda argv, **options: f"{argv[0]} 8")
    keys.append(programs.key())
    assert [bool(programs.recall(each)) for each in keys] == [True, False, False] and len(set(keys)) == 3
    monkeypatch.setenv("AGAIN", "1")
    assert programs.key() == "" and not programs.recall("")


@pytest.mark.parametrize("how", ["rustc", "script"])
def test_programs_of_which_the_key_lacks_a_file_are_not_kept(built, trees, step, how):
    (trees[0] / "other.rs").write_text("7")
    if how == "rustc":
        note(built, "src/lib.rs", "other.rs")
    else:
        (built / "debug" / "build" / "fuzzing-7").mkdir(parents=True)
        (built / "debug" / "build" / "fuzzing-7" / "output").write_text("cargo::rerun-if-changed=../other.rs\n")
    with pytest.raises(log.Failure, match=r"cargo reads other\.rs"):
        programs.keep(programs.key(), step, built)
    assert not programs.recall(programs.key())


def test_so_many_builds_of_programs_are_kept_and_not_more(built, trees, step):
    for number in range(programs.KEPT + 1):
        (trees[0] / "fuzzing" / "lib.rs").write_text(str(number))
        programs.keep(programs.key(), step, built)
    kept_now = [place for place in (paths.CACHE / "programs").iterdir() if cache.finished(place)]
    assert len(kept_now) == programs.KEPT and programs.recall(programs.key())


def test_host_tests_are_built_once(built, step, monkeypatch):
    ran = []

    def logged(step, words, **options):
        ran.append(words[0])
        with open(step.log, "a") as file:
            file.write(SAYS_CARGO if words[0] == "cargo" else SAYS_ONE)
        return 0
    SAYS_ONE = "test a::b ... ok\ntest result: ok. 1 passed; 0 failed; 0 ignored; 0 measured\n"
    SAYS_CARGO = step.log.read_text() + 2 * SAYS_ONE
    monkeypatch.setattr(process, "logged", logged)
    monkeypatch.setattr(paths, "CARGO", built.parent)
    monkeypatch.setattr(model.crates, "lend", lambda target: None)
    monkeypatch.setattr(model.crates, "keep", lambda target: None)
    counts = [model.run_host() for _ in range(2)]
    assert [(each.passed, each.failed) for each in counts] == [(2, 0), (2, 0)]
    assert ran[0] == "cargo" and [os.path.basename(word)[:4] for word in ran[1:]] == ["host", "fuzz"]
