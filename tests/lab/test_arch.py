# SPDX-License-Identifier: GPL-2.0
"""Kernels and guests of another architecture than the host's, and their names."""

import pytest

from lab import commands
from lab.builds import kernel
from lab.builds import versions
from lab.host import arch
from lab.host import log
from lab.verdicts import record


@pytest.mark.parametrize("version", versions.KNOWN)
@pytest.mark.parametrize("its", arch.ALL, ids=lambda its: its.name)
def test_a_kernel_has_what_its_guests_need(its, version):
    options = kernel.fragment(its.name, version)
    assert [option for option in kernel.GUEST_OPTIONS + its.options if options.get(option) != "y"] == []


@pytest.mark.parametrize("name,suffix,part", (
    (kernel.PLAIN, "", "kunit"),
    (kernel.SANITIZE, "-sanitize", "kunit+sanitize"),
    (kernel.ARM64, "-arm64", "kunit+arm64"),
))
def test_files_and_parts_of_a_configuration_are_named_after_it(name, suffix, part):
    assert kernel.suffix(name) == suffix
    assert record.name("kunit", name) == part


@pytest.mark.parametrize("asked,name", (("", kernel.PLAIN), ("x86_64", kernel.PLAIN), ("arm64", kernel.ARM64)))
def test_an_architecture_is_asked_for(monkeypatch, asked, name):
    monkeypatch.setenv("ARCH", asked)
    assert kernel.asked() == name


def test_no_other_is_built_instead_of_what_there_is_not(monkeypatch):
    monkeypatch.setenv("ARCH", "arm")
    with pytest.raises(log.Failure, match="none of x86_64, arm64"):
        kernel.asked()
    monkeypatch.setenv("ARCH", "arm64")
    with pytest.raises(log.Failure, match="sanitizers"):
        kernel.asked(sanitize=True)


def test_a_command_that_is_for_the_hosts_refuses_another(monkeypatch):
    ran = []
    monkeypatch.setenv("ARCH", "arm64")
    monkeypatch.setitem(commands.COMMANDS, "bench", lambda: ran.append("bench"))
    for name in ("stop_all", "bind_to_make", "adopt_orphans"):
        monkeypatch.setattr(commands.process, name, lambda: None)
    monkeypatch.setattr(commands.signal, "signal", lambda number, handler: None)
    monkeypatch.setattr(commands.result, "write", lambda *words: None)
    assert commands.main(["bench"]) == 1 and not ran
