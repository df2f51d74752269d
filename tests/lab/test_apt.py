# SPDX-License-Identifier: GPL-2.0
"""Packages from suites that the machine does not use."""

from types import SimpleNamespace

import pytest
from lab.builds import apt
from lab.builds import setup
from lab.host import paths
from lab.host import process

TABLE = "herdtools7 | 7.58-2 | a mirror Packages\nherdtools7 | 7.57-1 | a mirror Packages\n"


@pytest.fixture
def suites(monkeypatch, tmp_path):
    """The suites whose lists can be had, each with its table of versions."""
    def suite_of(words):
        return next(word for word in words if "Dir::State::Lists" in word).split("/")[-2]
    has = {}
    monkeypatch.setattr(paths, "CACHE", tmp_path)
    monkeypatch.setattr(apt, "mirrors", lambda: ["file:/mirror/"])
    monkeypatch.setattr(process, "logged", lambda step, words: 0 if suite_of(words) in has else 100)
    monkeypatch.setattr(process, "output", lambda words: has[suite_of(words)])
    monkeypatch.setattr(apt._PrivateApt, "unpack", lambda self, package, version, into, step: None)
    return has


def fetch(tmp_path, pattern=r"7\.58"):
    return apt.fetch("herdtools7", pattern, tmp_path / "into", SimpleNamespace(log="build/logs/x.log"))


def test_a_suite_whose_lists_cannot_be_had_is_named_and_the_next_one_asked(suites, tmp_path, capsys):
    suites[apt.SUITES[-1]] = TABLE
    assert fetch(tmp_path) == "7.58-2"
    said = capsys.readouterr().out
    for suite in apt.SUITES[:-1]:
        assert f"the lists of {suite} cannot be had, see build/logs/x.log" in said
    assert f"lists of {apt.SUITES[-1]}" not in said


def test_a_version_that_no_suite_has_is_not_found(suites, tmp_path, capsys):
    suites.update(dict.fromkeys(apt.SUITES, TABLE))
    assert fetch(tmp_path, r"7\.59") is None
    assert "cannot be had" not in capsys.readouterr().out


@pytest.fixture(params=[True, False], ids=["root", "user"])
def without_mandoc(request, monkeypatch, tmp_path):
    """A machine that lacks mandoc only; whether its user is root, and what was done."""
    done = []
    monkeypatch.setattr(paths, "CACHE", tmp_path)
    monkeypatch.setattr(setup, "_has", lambda sign: sign != "mandoc")
    monkeypatch.setattr(setup, "_may_install", lambda: request.param)
    monkeypatch.setattr(setup, "_missing_llvm", lambda rustc: [])
    monkeypatch.setattr(apt, "update", lambda: done.append("update"))
    monkeypatch.setattr(apt, "install", lambda packages: done.append(packages))
    return SimpleNamespace(root=request.param, done=done)


@pytest.mark.parametrize("ensure", [
    setup.ensure_judging,
    lambda: setup._ensure_packages(booting=True, its=setup.arch.HOSTS, judging=True)], ids=["lab", "test"])
def test_a_package_for_tests_of_the_lab_is_installed_or_named(without_mandoc, ensure):
    if without_mandoc.root:
        ensure()
        assert without_mandoc.done == ["update", ["mandoc"]]
    else:
        with pytest.raises(setup.log.Failure, match="missing packages: mandoc "):
            ensure()
        assert not without_mandoc.done


def test_those_who_do_not_test_the_lab_need_no_package_for_that(without_mandoc):
    setup._ensure_packages(booting=True, its=setup.arch.HOSTS, judging=False)
    assert ["mandoc"] not in without_mandoc.done
