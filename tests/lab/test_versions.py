# SPDX-License-Identifier: GPL-2.0
"""Which kernel the lab takes, which it refuses, and the files that an older one gets instead of the newest one's."""

import subprocess
from types import SimpleNamespace

import pytest

from lab.builds import kernel
from lab.builds import modules
from lab.builds import source
from lab.builds import versions
from lab.host import log
from lab.host import paths
from lab.suites import misuse

OLDEST, NEWEST = versions.KNOWN[0], versions.NEWEST


@pytest.fixture(autouse=True)
def asked(monkeypatch):
    """The variables in the user's environment: none, until a test sets one."""
    for name in ("KVER", "KSRC", "KDIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(versions, "_said", set())
    return lambda version: monkeypatch.setenv("KVER", version)


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """Debian's mirror, which has the sources of these versions, and an empty cache."""
    has = set()

    def fetch(package, pattern, part, step):
        version = package.removeprefix("linux-source-")
        has_asked.append(version)
        if version not in has:
            return None
        tree = part / "linux"
        tree.mkdir()
        (tree / "Makefile").write_text(makefile(f"{version}.9"))
        archive = part / "usr" / "src" / f"{package}.tar.xz"
        archive.parent.mkdir(parents=True)
        subprocess.run(["tar", "-cJf", archive, "-C", part, "linux"], check=True)
        return f"{version}.9-1"
    has_asked = []
    monkeypatch.setattr(paths, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(source.cache, "need_space", lambda *words: None)
    monkeypatch.setattr(source.apt, "present", lambda: True)
    monkeypatch.setattr(source.apt, "fetch", fetch)
    return SimpleNamespace(has=has, asked=has_asked)


def makefile(release):
    version, patchlevel, sublevel = release.split(".")
    return f"VERSION = {version}\nPATCHLEVEL = {patchlevel}\nSUBLEVEL = {sublevel}\n"


def tree_of(place, release):
    place.mkdir(parents=True)
    (place / "Makefile").write_text(makefile(release))
    return place


# KVER=

@pytest.mark.parametrize("version", versions.KNOWN)
def test_a_known_version_is_what_is_asked_for(asked, version, capsys):
    asked(version)
    assert versions.asked() == version and versions.preferred() == (version,)
    assert not capsys.readouterr().out


def test_without_a_wish_the_newest_one_comes_first():
    assert versions.asked() is None
    assert versions.preferred()[0] == NEWEST and set(versions.preferred()) == set(versions.KNOWN)


@pytest.mark.parametrize("version", ("6.1", "7.1", "2.6"))
def test_an_older_version_is_refused_with_those_that_are_allowed(asked, version):
    asked(version)
    with pytest.raises(log.Failure) as failure:
        versions.asked()
    assert f"KVER={version}" in str(failure.value)
    assert all(known in str(failure.value) for known in versions.KNOWN)


@pytest.mark.parametrize("version", ("7", "7.2.12", "seven", "7.x", "7.2-rc1", " 7.2"))
def test_a_word_that_is_no_version_is_refused(asked, version):
    asked(version)
    with pytest.raises(log.Failure, match="is no version of Linux"):
        versions.asked()


@pytest.mark.parametrize("version", ("7.4", "7.10", "8.0"))
def test_a_newer_version_is_tried_as_the_newest_known_and_said_once(asked, version, capsys):
    asked(version)
    assert versions.asked() == versions.asked() == version
    assert versions.treated_as(f"{version}.1-mpath", "KDIR=x") == NEWEST
    said = capsys.readouterr().out
    assert said.count(f"Linux {version} is newer than any that this is known to work with") == 1
    assert ", ".join(versions.KNOWN) in said and f"trying as {NEWEST}" in said


# Debian's source

def test_the_newest_source_that_can_be_had_is_taken(mirror, monkeypatch, capsys):
    mirror.has |= set(versions.KNOWN)
    assert source.version(source.kernel().tree) == f"{NEWEST}.9"
    assert source.kernel().identity == f"linux-{NEWEST}.9-1"
    assert mirror.asked == [NEWEST]


def test_an_older_source_is_taken_when_the_newest_cannot_be_had(mirror, capsys):
    mirror.has.add(OLDEST)
    assert source.version(source.kernel().tree) == f"{OLDEST}.9"
    assert f"linux-source-{NEWEST} is in no suite" in capsys.readouterr().out


def test_no_other_source_is_taken_than_the_one_that_is_asked_for(mirror, asked):
    mirror.has |= set(versions.KNOWN)
    source.kernel()
    asked(OLDEST)
    assert source.version(source.kernel().tree) == f"{OLDEST}.9"
    mirror.has.clear()
    asked(f"{NEWEST}0")
    with pytest.raises(log.Failure, match=f"linux-source-{NEWEST}0 is in no suite"):
        source.kernel()


def test_a_source_that_nobody_has_is_said_to_be_missing(mirror, monkeypatch):
    with pytest.raises(log.Failure, match=f"linux-source-{NEWEST} or .*KSRC=/path/to/linux-{NEWEST}"):
        source.kernel()
    monkeypatch.setattr(source.apt, "present", lambda: False)
    with pytest.raises(log.Failure, match="without apt"):
        source.kernel()


# Trees and builds of the user's

def test_a_tree_is_of_the_version_that_it_says(tmp_path, monkeypatch):
    monkeypatch.setenv("KSRC", str(tree_of(tmp_path / "linux", f"{OLDEST}.3")))
    assert source.kernel().mutable


def test_a_tree_of_another_version_than_is_asked_for_is_refused(tmp_path, monkeypatch, asked):
    monkeypatch.setenv("KSRC", str(tree_of(tmp_path / "linux", f"{OLDEST}.3")))
    asked(NEWEST)
    with pytest.raises(log.Failure, match=rf"KSRC=\S+ is Linux {OLDEST}.3, and KVER={NEWEST}"):
        source.kernel()


def test_an_old_tree_is_refused_with_what_is_allowed(tmp_path, monkeypatch):
    monkeypatch.setenv("KSRC", str(tree_of(tmp_path / "linux", "7.1.9")))
    with pytest.raises(log.Failure, match="KSRC=.*Linux 7.1.9 is none that this works with; allowed are 7.2 and 7.3"):
        source.kernel()


def test_a_new_tree_is_tried(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("KSRC", str(tree_of(tmp_path / "linux", "7.4.0")))
    assert source.kernel().mutable
    assert "Linux 7.4 is newer" in capsys.readouterr().out


def test_a_build_of_the_user_s_is_asked_the_same(tmp_path, monkeypatch):
    (tmp_path / ".config").write_text("CONFIG_RUST=y\nCONFIG_MODULES=y\nCONFIG_X86_64=y\n")
    for file in ("include/config/kernel.release", "scripts/mod/modpost", "Module.symvers", "rust/libkernel.rmeta"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text("6.12.5")
    monkeypatch.setattr(kernel, "_check_rustc", lambda *words: None)
    with pytest.raises(log.Failure, match="KDIR=.*Linux 6.12.5 is none that this works with"):
        kernel._users(tmp_path)


# The files that replace others for an older kernel

class Step:
    """A step that runs its commands."""

    def run(self, argv, cwd, why):
        if subprocess.run([str(word) for word in argv], cwd=cwd, capture_output=True).returncode:
            raise log.Failure(why)


def contents(place):
    return {file.relative_to(place): file.read_bytes() for file in place.rglob("*")
            if file.is_file() and file.parent.name != versions.OLDER.name}


def test_the_newest_kernel_gets_the_files_as_they_are():
    with versions.nvme(Step(), f"{NEWEST}.4-mpath") as place:
        assert place == versions.OLDER.parent


@pytest.mark.parametrize("version", versions.KNOWN[:-1])
def test_an_older_kernel_gets_a_changed_copy(version):
    ours = contents(versions.OLDER.parent)
    with versions.nvme(Step(), f"{version}.4-mpath") as place:
        theirs = contents(place)
        assert not place.is_relative_to(versions.OLDER.parent)
    assert not place.exists()
    assert theirs.keys() == ours.keys() and theirs != ours
    assert contents(versions.OLDER.parent) == ours


def test_a_diff_that_does_not_apply_any_more_is_named(tmp_path, monkeypatch):
    broken = tmp_path / "older" / f"{OLDEST}.diff"
    broken.parent.mkdir()
    broken.write_text("--- a/prepare.patch\n+++ b/prepare.patch\n@@ -1 +1 @@\n-what is not there\n+anything\n")
    monkeypatch.setattr(versions, "OLDER", broken.parent)
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    with pytest.raises(log.Failure, match=f"older/{OLDEST}.diff does not apply"), versions.nvme(Step(), f"{OLDEST}.1"):
        pass


def test_the_diffs_of_older_kernels_follow_each_other(monkeypatch):
    monkeypatch.setattr(versions, "KNOWN", ("7.2", "7.3", "7.4", "7.10"))
    monkeypatch.setattr(versions, "NEWEST", "7.10")
    names = {version: [file.name for file in versions.deltas(f"{version}.1")] for version in versions.KNOWN}
    assert names == {"7.10": [], "7.4": ["7.4.diff"], "7.3": ["7.4.diff", "7.3.diff"],
                     "7.2": ["7.4.diff", "7.3.diff", "7.2.diff"]}


@pytest.mark.parametrize("place,suffix", ((versions.OLDER, "diff"), (paths.CONFIGS / kernel.OLDER, "config")))
def test_each_older_kernel_has_a_file_and_no_other_has(place, suffix):
    assert sorted(file.name for file in place.iterdir()) == [f"{each}.{suffix}" for each in versions.KNOWN[:-1]]


def test_an_older_kernel_has_options_beside():
    newest, oldest = (kernel.fragment(kernel.PLAIN, version) for version in (NEWEST, OLDEST))
    assert newest.items() < oldest.items()


def test_a_build_for_an_older_kernel_depends_on_its_diff():
    diff = versions.OLDER / f"{OLDEST}.diff"
    for which in ("fixed", "kept", "ours"):
        assert diff in modules._laid_over(which, f"{OLDEST}.1") and diff not in modules._laid_over(which, f"{NEWEST}.1")
    assert not modules._laid_over("stock", f"{OLDEST}.1")


def test_the_library_is_told_of_every_older_kernel():
    text = (paths.ROOT / "Kbuild").read_text()
    assert f"$(filter {' '.join(versions.KNOWN[:-1])},$(VERSION).$(PATCHLEVEL))" in text


def test_a_misuse_may_say_more_to_users_of_newer_kernels(tmp_path):
    case = tmp_path / "case.rs"
    case.write_text("//! refused: E0001\n//! says: always\n//! says since 7.3: newer\n")
    assert misuse.Case.read(case, "7.3.4-mpath").phrases == misuse.Case.read(case, "7.10.1").phrases == ["always", "newer"]
    assert misuse.Case.read(case, "7.2.12-mpath").phrases == ["always"]
