# SPDX-License-Identifier: GPL-2.0
"""The verdicts on runs: KTAP of KUnit suites, cargo's tests, end-to-end tests, pytest's own, and their sum."""

import datetime
import json
import re
import socket
import textwrap
import threading
from contextlib import ExitStack
from contextlib import contextmanager
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest

from conftest import ROOT
from lab.builds import kernel
from lab.builds import modules
from lab.builds import source
from lab.host import arch
from lab.host import log
from lab.host import process
from lab.host import vm
from lab.host.monitor import Monitor
from lab.host.reports import Report
from lab.suites import around
from lab.suites import e2e
from lab.suites import judges
from lab.suites import kept
from lab.suites import kunit
from lab.suites import model
from lab.suites import rotation
from lab.suites import sanitize
from lab.verdicts import parts
from lab.verdicts import record
from lab.verdicts.counts import Counts
from tests.e2e import run
from tests.e2e import suite

# KUnit

#: The text of a suite's file in debugfs.
WHOLE = """
KTAP version 1
1..1
    KTAP version 1
    # Subtest: mpath_x
    1..3
    # one.speed: normal
    ok 1 one
    ok 2 two
    ok 3 three
    # speed: normal
# mpath_x: pass:3 fail:0 skip:0 total:3
# Totals: pass:3 fail:0 skip:0 total:3
ok 1 mpath_x
"""


@pytest.fixture(scope="module")
def tree():
    return source.kernel().tree


def read(step, tree, tmp_path, text):
    ktap, outcomes = tmp_path / "mpath_x.ktap", {}
    ktap.write_text(text.lstrip("\n"))
    return kunit._read(step, tree, ktap, outcomes), outcomes


def test_a_whole_suite_passes(step, tree, tmp_path):
    counts, outcomes = read(step, tree, tmp_path, WHOLE)
    assert str(counts) == "3 passed, 0 failed, 0 skipped"
    assert outcomes == {f"mpath_x: {name}": record.PASSED for name in ("one", "two", "three")}


BAD_KTAP = {
    "a case that fails": WHOLE.replace("    ok 2 two", "    not ok 2 two"),
    "cut off between cases": WHOLE[:WHOLE.index("    ok 3")],
    "cut off before the suite's own line": WHOLE[:WHOLE.index("# mpath_x: pass")],
    "cut off before the first case": WHOLE[:WHOLE.index("    ok 1")],
    "empty": "",
    "a case less than is planned": WHOLE.replace("    ok 3 three\n", ""),
    "every case is skipped": re.sub(r"( ok \d \w+)", r"\1 # SKIP no node", WHOLE),
    "no KTAP": "cat: read error: No such device\n",
}


@pytest.mark.parametrize("what", BAD_KTAP)
def test_bad_ktap_fails(step, tree, tmp_path, what):
    counts, _ = read(step, tree, tmp_path, BAD_KTAP[what])
    assert counts.failed


def test_a_case_that_is_skipped_has_not_passed(step, tree, tmp_path):
    counts, outcomes = read(step, tree, tmp_path, WHOLE.replace("two", "two # SKIP no node"))
    assert (counts.passed, counts.failed, counts.skipped) == (2, 0, ["mpath_x: two"])
    assert outcomes["mpath_x: two"] == record.SKIPPED


def test_a_case_that_passes_under_a_report_has_failed(step, tree, tmp_path):
    ktap, outcomes = tmp_path / "mpath_x.ktap", {"mpath_x: two": record.FAILED}
    ktap.write_text(WHOLE.lstrip("\n"))
    kunit._read(step, tree, ktap, outcomes)
    assert outcomes["mpath_x: two"] == record.FAILED


def test_a_suite_that_has_not_run_fails():
    suites = kunit.suites_in_source()
    assert "mpath_select" in suites
    assert kunit._count_absent(suites - {"mpath_around"}, True).failed == 0
    assert kunit._count_absent(suites - {"mpath_way"}, False).failed == 0
    assert kunit._count_absent(suites - {"mpath_around", "mpath_select"}, True).failed == 1
    assert kunit._count_absent(suites - {"mpath_around", "mpath_way"}, True).failed == 1
    assert kunit._count_absent(suites - {"mpath_around", "mpath_way"}, False).failed == 1
    assert kunit._count_absent({"mpath_slab"}, True, "mpath_sl*").failed == 0
    assert kunit._count_absent({"mpath_slab"}, True, "mpath_s[el]*").failed == 1


# cargo

CARGO = """
running 3 tests
test nodes::one ... ok
test nodes::two - should panic ... ok
test nodes::three ... {outcome}

test result: ok. {passed} passed; {failed} failed; {ignored} ignored; 0 measured; 0 filtered out; finished in 0.07s
"""


def test_cargo_whose_tests_pass_passes(step):
    counts, outcomes = model._count(step.say(CARGO.format(outcome="ok", passed=3, failed=0, ignored=0)))
    assert str(counts) == "3 passed, 0 failed, 0 skipped"
    assert outcomes["nodes::two"] == record.PASSED


def test_a_test_of_cargo_that_fails_fails(step):
    counts, outcomes = model._count(step.say(CARGO.format(outcome="FAILED", passed=2, failed=1, ignored=0)))
    assert counts.failed == 1
    assert outcomes["nodes::three"] == record.FAILED


def test_a_test_of_cargo_that_is_ignored_is_skipped(step):
    counts, outcomes = model._count(step.say(CARGO.format(outcome="ignored", passed=2, failed=0, ignored=1)))
    assert counts.skipped == ["nodes::three is ignored"]
    assert outcomes["nodes::three"] == record.SKIPPED


def cargo(monkeypatch, step, status, text, only=""):
    """A run of `cargo test` that prints this and exits so."""
    from contextlib import contextmanager

    @contextmanager
    def of(name, doing):
        yield step
    monkeypatch.setattr(log, "step", of)
    monkeypatch.setattr(model.process, "logged", lambda step, argv, **options: step.say(text) and status)
    return model._cargo_test("host", "model", "", [], only)


SAID_BY_MODELS = """
---- fence::one stdout ----
holds in all 79 executions
mutant SetsOnce caught in execution 5

---- alarm::two stdout ----
holds in 3409 executions with at most 3 preemptions
holds in 102 executions with at most 1 preemptions
holds in 91 executions with at most 3 preemptions
mutant (LooksTooEarly, Numa) caught in execution 235
"""


def test_models_that_try_few_preemptions_are_told_apart_from_those_that_try_all():
    assert model.summary(SAID_BY_MODELS).splitlines()[-4:] == [
        "1 models hold in all their 79 executions",
        "1 models hold in 102 executions with at most 1 preemptions",
        "2 models hold in 3500 executions with at most 3 preemptions",
        "2 mutants are caught"]


def test_each_protocol_has_a_model_without_a_bound_on_preemptions():
    files = [file for file in (ROOT / "tests" / "model").glob("*.rs")
             if "holds(" in file.read_text() and file.stem != "explore"]
    bounded = [file.stem for file in files if not re.search(r"(?:holds\(|^ +)Any,", file.read_text(), re.MULTILINE)]
    assert len(files) > 5 and bounded == []


def test_cargo_that_does_not_build_fails(monkeypatch, step):
    with pytest.raises(log.Failure):
        cargo(monkeypatch, step, 101, "error: could not compile `libmultipath`")


def test_a_test_binary_that_is_killed_fails(monkeypatch, step):
    text = CARGO.format(outcome="ok", passed=3, failed=0, ignored=0) + "signal: 11, SIGSEGV: invalid memory reference\n"
    with pytest.raises(log.Failure):
        cargo(monkeypatch, step, 101, text)


def test_cargo_without_a_test_fails(monkeypatch, step):
    with pytest.raises(log.Failure):
        cargo(monkeypatch, step, 0, "test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out")


def test_a_name_that_no_test_of_the_host_has_fails(monkeypatch):
    monkeypatch.setattr(model, "run_host", lambda only: Counts())
    monkeypatch.setattr(model, "run_models", lambda only: Counts())
    with pytest.raises(log.Failure, match="nothing_of_the_kind"):
        model.run("nothing_of_the_kind")


def test_a_test_that_does_not_exist_has_not_passed(monkeypatch):
    from lab.runs import one
    monkeypatch.setitem(one._PARTS, "host", lambda name, configuration: Counts())
    with pytest.raises(log.Failure, match="no such test"):
        one.run("host: nodes::nothing_of_the_kind")


# pytest

def test_pytests_report_is_counted():
    root = ElementTree.fromstring(textwrap.dedent("""
        <testsuites><testsuite>
          <testcase classname="tests.lab.test_x" name="test_good"/>
          <testcase classname="tests.lab.test_x" name="test_bad"><failure message="m"/></testcase>
          <testcase classname="tests.lab.test_x" name="test_broken"><error message="m"/></testcase>
          <testcase classname="tests.lab.test_x" name="test_left_out"><skipped message="why"/></testcase>
        </testsuite></testsuites>"""))
    counts, outcomes = judges.count(root)
    assert str(counts) == "1 passed, 2 failed, 1 skipped"
    assert outcomes["test_x::test_broken"] == record.FAILED


# End-to-end tests

NAMES = suite.SHORT[:3]


class Guests:
    """Guests that each play their part in turn, instead of QEMU's."""

    def __init__(self, *lives):
        self._lives = iter(lives)

    def run(self, built, command, directory, topology, timeout, console, lent, output, answer, **options):
        return next(self._lives)(output, lambda: answer("next"))


def guest_of(monkeypatch, tmp_path, *lives, names=NAMES):
    """A guest that has such lives, and the queue from which it takes tests."""
    from lab.host import paths
    guests = Guests(*lives)
    monkeypatch.setattr(vm, "run", guests.run)
    monkeypatch.setattr(paths, "LOGS", tmp_path)
    step = type("Step", (), {"log": tmp_path / "e2e.log", "name": "e2e", "progress": lambda self, text: None})()
    queue = e2e._Queue(names, step)
    return e2e._Guest(1, tmp_path, queue, step, False, False), queue


def play(monkeypatch, tmp_path, *lives, names=NAMES):
    """Runs tests in such guests; returns the outcomes."""
    guest, queue = guest_of(monkeypatch, tmp_path, *lives, names=names)
    guest.run(None, None)
    return {name: outcome.verdict for name, outcome in queue.outcomes.items()}


def passes(output, ask):
    """A guest that runs all tests, and ends well."""
    number = 0
    while name := ask():
        number += 1
        output(f"ok {number} {name}")
    return vm.Result(0, False, 7.0, 3.0)


def fails(output, ask):
    """A guest whose first test fails."""
    name = ask()
    output("# AssertionError")
    output(f"not ok 1 {name}")
    return vm.Result(e2e.FAILED, False, 7.0, 3.0)


def dies(output, ask):
    """A guest that dies during its first test."""
    ask()
    return vm.Result(None, False, 7.0, 3.0)


def hangs(output, ask):
    ask()
    return vm.Result(None, True, 7.0, 3.0)


def never_begins(output, ask):
    return vm.Result(0, False, 7.0, 3.0)


def dies_at_the_end(output, ask):
    passes(output, ask)
    return vm.Result(None, False, 7.0, 3.0)


def reports(output, ask):
    passes(output, ask)
    return vm.Result(0, False, 7.0, 3.0, reports=(Report(NAMES[0], ["BUG: KASAN: use-after-free"]),))


def reports_outside(output, ask):
    passes(output, ask)
    return vm.Result(0, False, 7.0, 3.0, reports=(Report("", ["unreferenced object 0x1"]),))


def test_a_guest_that_passes_all_passes(monkeypatch, tmp_path):
    assert play(monkeypatch, tmp_path, passes) == dict.fromkeys(NAMES, "passed")


@pytest.mark.parametrize("life", (fails, dies, hangs))
def test_a_test_whose_guest_ends_badly_fails_and_the_others_go_on(monkeypatch, tmp_path, life):
    assert play(monkeypatch, tmp_path, life, passes) == {NAMES[0]: "failed", **dict.fromkeys(NAMES[1:], "passed")}


def test_a_guest_that_dies_when_all_have_passed_fails(monkeypatch, tmp_path):
    assert play(monkeypatch, tmp_path, dies_at_the_end)["guest-1"] == "failed"


def test_a_guest_that_ends_well_and_runs_nothing_fails(monkeypatch, tmp_path):
    assert play(monkeypatch, tmp_path, never_begins) == {"guest-1": "failed"}


def test_a_report_fails_the_test_during_which_it_came(monkeypatch, tmp_path):
    assert play(monkeypatch, tmp_path, reports)[NAMES[0]] == "failed"


def test_a_report_outside_of_tests_fails_the_guest(monkeypatch, tmp_path):
    assert play(monkeypatch, tmp_path, reports_outside)["guest-1"] == "failed"


def outcomes_of(file, verdict):
    return {name: e2e.Outcome(name, verdict, "why") for name, case in suite.CASES.items()
            if case.function.__module__ == f"tests.e2e.{file}"}


def test_a_file_of_which_every_test_is_skipped_fails():
    found = outcomes_of("test_ana", "passed") | outcomes_of("test_pcie", "skipped")
    assert e2e._count_hidden(found).failed == 1


def test_a_file_of_which_one_test_runs_may_skip_the_others():
    found = outcomes_of("test_pcie", "skipped")
    next(iter(found.values())).verdict = "passed"
    assert e2e._count_hidden(found).failed == 0


# The CPU of guests

def test_guests_are_emulated_unless_one_asks(monkeypatch):
    monkeypatch.delenv("ACCEL", raising=False)
    assert vm.accelerator(arch.HOSTS, False) == ["-cpu", "max", "-accel", "tcg,thread=multi"]
    assert vm.accelerator(arch.HOSTS, False, in_turns=True) == ["-cpu", "max", "-accel", "tcg,thread=single"]


def test_no_accelerator_that_there_is_not(monkeypatch):
    monkeypatch.setenv("ACCEL", "xen")
    with pytest.raises(log.Failure, match="ACCEL=xen is none of tcg, kvm"):
        vm.accelerator(arch.HOSTS, False)


def test_the_hosts_cpu_needs_its_device(monkeypatch):
    monkeypatch.setenv("ACCEL", "kvm")
    monkeypatch.setattr(vm.os, "access", lambda file, mode: False)
    with pytest.raises(log.Failure, match="/dev/kvm"):
        vm.accelerator(arch.HOSTS, False)


def test_instructions_are_counted_where_the_cpu_is_emulated(monkeypatch):
    monkeypatch.setenv("ACCEL", "kvm")
    monkeypatch.setattr(vm.os, "access", lambda file, mode: True)
    assert vm.accelerator(arch.HOSTS, False) == ["-cpu", "host", "-accel", "kvm"]
    assert vm.accelerator(arch.HOSTS, False, in_turns=True) == ["-cpu", "host", "-accel", "kvm"]
    assert vm.accelerator(arch.HOSTS, True) == ["-cpu", "max", "-accel", "tcg,thread=single"]


def test_another_architecture_is_always_emulated(monkeypatch):
    monkeypatch.delenv("ACCEL", raising=False)
    assert vm.accelerator(arch.ARM64, False) == ["-cpu", arch.ARM64.cpu, "-accel", "tcg,thread=multi"]
    monkeypatch.setenv("ACCEL", "kvm")
    with pytest.raises(log.Failure, match="not arm64"):
        vm.accelerator(arch.ARM64, False)


@pytest.mark.parametrize("counts, in_turns, smp, left_out", (
    (False, False, 2, False), (False, True, 2, True), (True, False, 1, True), (True, False, 4, True),
    (False, False, 1, True)))
def test_barriers_are_left_out_where_cpus_never_run_at_once(monkeypatch, counts, in_turns, smp, left_out):
    monkeypatch.delenv("ACCEL", raising=False)
    assert vm.leaves_barriers_out(vm.accelerator(arch.HOSTS, counts, in_turns), smp) == left_out


def test_a_real_cpu_leaves_no_barrier_out(monkeypatch):
    monkeypatch.setenv("ACCEL", "kvm")
    monkeypatch.setattr(vm.os, "access", lambda file, mode: True)
    assert not vm.leaves_barriers_out(vm.accelerator(arch.HOSTS, False, in_turns=True), 1)


# Guests with sanitizers

class Machine:
    """A guest's two channels, and its output on them."""

    def __init__(self):
        self.output, self.says = socket.socketpair()
        self.requests, self.asks = socket.socketpair()

    def wait(self):
        return 0


def followed(console, says=b"", requests=b"", timeout=7.0):
    """The outcome of a guest whose kernel prints `console`, before it prints `says` and asks for `requests`."""
    machine = Machine()
    machine.says.sendall(says)
    machine.asks.sendall(requests)
    return vm._Session(machine, lambda line: None, None, 1, console).follow(timeout, timeout)


def test_a_guest_without_timers_is_not_waited_for_if_it_may_boot_again(tmp_path, monkeypatch):
    monkeypatch.setattr(vm, "LOOK_SECONDS", 0.01)
    console = tmp_path / "console.log"
    console.write_bytes(b"[    0.308541] " + vm.WITHOUT_TIMERS + b"\n")
    assert followed(console) is None
    assert followed(None, requests=b"started\nexit 0\n").status == 0
    console.write_bytes(b"[    0.308541] Timer migration: 1 hierarchy levels\n")
    result = followed(console, b"ok\n", b"started\nexit 7\n")
    assert result.status == 7 and result.boot is not None


def test_a_guest_that_does_not_boot_or_goes_silent_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(vm, "LOOK_SECONDS", 0.01)
    assert followed(None, requests=b"started\n", timeout=0.2).timed_out
    monkeypatch.setattr(vm, "BOOT_LIMIT", 0.2)
    result = followed(None)
    assert result.timed_out and result.boot is None and result.elapsed < 5


def booted(monkeypatch, tmp_path, results):
    """The result of a run whose attempts to boot end like this, and how many there were."""
    left = list(results)
    machine = SimpleNamespace(lend=lambda directory: None, boot=lambda parameters, log_file: None,
                              program_counters=lambda: ["ffffffff81000000"])
    monkeypatch.setattr(vm, "_Machine", lambda *arguments: machine)
    monkeypatch.setattr(vm, "_Session", lambda *arguments: SimpleNamespace(follow=lambda *limits: left.pop(0)))
    monkeypatch.setattr(vm, "_show_tail", lambda *arguments: None)
    kernel = SimpleNamespace(sanitizes=False, is_flat=False, slowness=1, arch=arch.HOSTS, parameters="", layer="-")
    result = vm.run(kernel, ["true"], tmp_path, vm.Topology(), 7, tmp_path / "console.log", tmp_path / "lent")
    return result, len(results) - len(left)


GOOD = vm.Result(0, False, 7.0, 3.0)
HUNG = vm.Result(None, True, 7.0, None)
CRASHED = vm.Result(None, False, 7.0, None, 134)
PANICKED = vm.Result(None, False, 7.0, None, 0)
LATE = vm.Result(None, True, 7.0, 3.0)


@pytest.mark.parametrize("results, attempts", [
    ([GOOD], 1), ([HUNG, GOOD], 2), ([CRASHED, HUNG, GOOD], 3), ([None, GOOD], 2), ([HUNG, HUNG, HUNG], 3),
    ([LATE, GOOD], 1), ([PANICKED, GOOD], 1), ([HUNG, LATE, GOOD], 2)])
def test_only_a_guest_in_which_nothing_has_run_boots_again(monkeypatch, tmp_path, results, attempts):
    assert booted(monkeypatch, tmp_path, results) == (results[attempts - 1], attempts)


def test_a_guest_that_hangs_says_where_its_cpus_are(monkeypatch, tmp_path, capsys):
    booted(monkeypatch, tmp_path, [HUNG, GOOD])
    assert "its CPUs are at ffffffff81000000" in capsys.readouterr().out


def test_where_cpus_are_is_found_on_each_architecture():
    monitor = SimpleNamespace(show=lambda command: "RIP=ffffffff8100a0b0 RFL=00000246\r\n PC=ffff800080010000 X00=0\r\n")
    assert vm._Machine.program_counters(SimpleNamespace(_monitor=monitor)) == ["ffffffff8100a0b0", "ffff800080010000"]


def test_qemu_s_answer_is_told_from_its_events():
    ours, theirs = socket.socketpair()
    with ExitStack() as stack:
        monitor = Monitor(stack, ours)
        theirs.sendall(b'{"QMP": {}}\n{"event": "STOP"}\n{"return": "RIP=1\\r\\n"}\n')
        assert monitor.show("info registers -a") == "RIP=1\r\n"
        theirs.sendall(b'{"error": {"desc": "no such device"}}\n')
        assert monitor.execute("device_del", id="nvme0") == "no such device"
        theirs.shutdown(socket.SHUT_WR)
        assert monitor.show("info registers -a") == "QEMU is gone"


class Kernel:
    def options(self):
        return {"CONFIG_HZ": "250"}


def judged(tmp_path, status, words, console=""):
    (tmp_path / "console").write_text(console)
    said = tmp_path / "sanitizers.json"
    if words is not None:
        said.write_text(json.dumps(words))
    return vm._judged(Kernel(), vm.Result(status, False, 7.0, 3.0), tmp_path / "console", said, True)


ALL = [each.option for each in vm.SANITIZERS]


def test_a_guest_that_ends_well_under_all_sanitizers_is_good(tmp_path):
    assert judged(tmp_path, 0, {"at_work": ALL, "leaks": []}).ok


def test_a_guest_whose_sanitizer_is_off_at_its_end_is_bad(tmp_path):
    assert not judged(tmp_path, 0, {"at_work": ALL[1:], "leaks": []}).ok


def test_a_guest_that_has_lost_memory_is_bad(tmp_path):
    leak = "unreferenced object 0x1 (size 512):\n  comm \"fio\", pid 7, jiffies 4294937296"
    assert not judged(tmp_path, 0, {"at_work": ALL, "leaks": [leak]}).ok


def test_a_guest_whose_console_has_a_report_is_bad(tmp_path):
    assert not judged(tmp_path, 0, {"at_work": ALL, "leaks": []}, "[  1.0] BUG: KASAN: use-after-free\n").ok


def test_a_guest_that_says_nothing_of_its_sanitizers_is_bad(tmp_path):
    assert not judged(tmp_path, 0, None).ok


# Parts

def test_a_part_that_breaks_fails_and_the_others_run():
    def broken():
        raise RuntimeError("no")

    def stopped():
        log.fail("does not build")
    results = parts.run({"broken": broken, "stopped": stopped, "good": lambda: Counts(passed=1)}, "test")
    assert {name: (counts.passed, counts.failed) for name, counts in results.items()} == {
        "broken": (0, 1), "stopped": (0, 1), "good": (1, 0)}


def test_the_last_page_has_how_long_each_part_took_and_what_was_not_run(capsys, reports):
    parts.run({"kunit": lambda: Counts(passed=7, skipped=["mpath_x: two"]),
               "sanitize": lambda: Counts(left_out=["no time"])}, "test")
    page = (reports / "parts-test.txt").read_text()
    assert capsys.readouterr().out.endswith(page)
    assert [line.split() for line in page.splitlines()] == [
        ["0:00", "kunit", "7", "passed,", "0", "failed,", "1", "skipped"],
        ["skipped:", "mpath_x:", "two"],
        ["0:00", "sanitize", "0", "passed,", "0", "failed,", "0", "skipped,", "incomplete"],
        ["left", "out:", "no", "time"],
        ["0:00", "in", "all"]]


def test_the_last_page_has_what_failed_and_why(reports):
    def broken():
        log.failure("e2e: a_test failed", "Traceback\nAssertionError: 1 is not 2\nkernel: [7] lab: test\n")
        return Counts(failed=1)

    def many():
        for number in range(parts._SHOWN):
            log.failure(f"number {number}")
            log.failure("the same")
        log.fail("does not build")
    parts.run({"e2e": broken, "many": many}, "test")
    lines = [line.strip() for line in (reports / "parts-test.txt").read_text().splitlines()]
    assert lines[3] == "failed: e2e: a_test failed: AssertionError: 1 is not 2"
    assert lines[3:].count("failed: the same") == 1
    assert lines[-1] == "failed: 3 more, see above"


def test_lanes_run_side_by_side_and_what_is_in_none_runs_last():
    meeting, order = threading.Barrier(2, timeout=60), []

    def part(name, meets=False):
        def do():
            if meets:
                meeting.wait()
            order.append(name)
            return Counts(passed=1)
        return do

    results = parts.run({"a": part("a", True), "last": part("last"), "b": part("b"), "c": part("c", True)}, "test",
                        (("a", "b"), ("c",)))
    assert list(results) == ["a", "last", "b", "c"]
    assert order.index("a") < order.index("b") and order[-1] == "last"


def test_every_part_of_make_test_has_its_place():
    from lab.runs import test
    assert len(parts.OF_TEST) == len(set(parts.OF_TEST))
    assert set(test.PARTS) == set(parts.OF_TEST)


@pytest.mark.parametrize("has_both_kernels", (True, False))
def test_every_part_of_make_test_is_in_one_lane_but_the_last(has_both_kernels):
    lanes = parts.lanes_of_test(has_both_kernels)
    assert sorted(name for lane in lanes for name in lane) == sorted(parts.OF_TEST[:-1])
    assert (("sanitize",) in lanes) == (not has_both_kernels)


@pytest.mark.parametrize("left", (True, False))
def test_a_guest_helps_when_it_may_and_something_is_left(monkeypatch, tmp_path, left):
    asked, waits = [], []

    def may_help():
        asked.append(True)
        return len(asked) == 3
    monkeypatch.setattr(e2e.time, "sleep", waits.append)
    guest, queue = guest_of(monkeypatch, tmp_path, passes, names=NAMES if left else [])
    guest.help(None, None, may_help)
    assert (len(queue.outcomes), len(asked), len(waits)) == ((3, 3, 2) if left else (0, 0, 0))


def test_parts_have_ended_when_all_of_them_have(monkeypatch):
    monkeypatch.setattr(parts, "_ended", set())
    seen = []
    parts.run({"a": lambda: Counts(passed=1), "b": lambda: seen.append(parts.have_ended(("a", "b"))) or Counts(passed=1)},
              "test")
    assert seen == [False] and parts.have_ended(("a", "b")) and not parts.have_ended(("a", "c"))


@pytest.fixture
def common(monkeypatch):
    """The contexts of tests, the steps that the run took, and the kernel's output."""
    steps, said = [], []

    @contextmanager
    def loaded():
        steps.append("load")
        yield
        steps.append("unload")
    log_of_kernel = type("Log", (), {"new_lines": lambda self: said})
    monkeypatch.setattr(run, "KernelLog", log_of_kernel)
    monkeypatch.setattr(run, "problems", lambda lines, warns: list(lines))
    return run._Common(), loaded, steps, said


def test_the_context_of_tests_in_a_row_is_entered_once(common):
    found, loaded, steps, _ = common
    for within, expected in ((None, []), (loaded, ["load"]), (loaded, ["load"]), (None, ["load", "unload"]),
                             (loaded, ["load", "unload", "load"])):
        found.enter(within)
        assert steps == expected
    found.leave()
    found.leave()
    assert steps == ["load", "unload"] * 2


def test_a_warning_of_the_kernel_when_it_is_left_is_not_lost(common):
    found, loaded, steps, said = common
    found.enter(loaded)
    said.append("WARNING")
    with pytest.raises(AssertionError, match="WARNING"):
        found.enter(None)
    assert steps == ["load", "unload"]


@pytest.mark.parametrize("gives_way", (True, False))
def test_a_command_beside_guests_gives_way_to_them(monkeypatch, gives_way):
    monkeypatch.delenv(process.GIVE_WAY, raising=False)
    before = int(process.output(["nice"]))
    if gives_way:
        monkeypatch.setenv(process.GIVE_WAY, "1")
    assert int(process.output(["nice"])) == (10 if gives_way else before)


# Cursors

def test_every_form_of_a_test_has_its_day(monkeypatch):
    seen = set()
    for number in range(3):
        monkeypatch.setenv("DAY", f"2026-11-2{number}")
        seen.add(rotation.one_of(["loop", "tcp", "pcie"], 5))
    assert seen == {"loop", "tcp", "pcie"}


@pytest.mark.parametrize("count", (1, 4, 10, 23, 30))
def test_every_one_of_many_has_its_day(monkeypatch, count):
    things, seen, days = list(range(23)), set(), -(-23 // count)
    for number in range(10, 33):
        monkeypatch.setenv("DAY", str(datetime.date.fromordinal(739900 + number)))
        some = rotation.some_of(things, count)
        assert len(some) == len(set(some)) in {23 // days, -(-23 // days)}
        seen.update(some)
    assert seen == set(things)


def test_no_day_is_refused(monkeypatch):
    monkeypatch.setenv("DAY", "tomorrow")
    with pytest.raises(log.Failure, match="DAY=tomorrow"):
        rotation.day()


def test_a_sample_has_every_test_in_one_form_and_what_has_failed(monkeypatch):
    chosen = []
    monkeypatch.setattr(e2e, "run_cases", lambda names, which, may_help, in_turns: chosen.extend(names) or Counts())
    forms = next(forms for forms in suite.VARIANTS.values() if len(forms) > 1)
    record.write("e2e", dict.fromkeys(forms, record.FAILED), whole=False)
    e2e.run_sample()
    assert len(chosen) == len(set(chosen))
    assert set(forms) <= set(chosen)
    assert all(not set(forms).isdisjoint(chosen) for forms in suite.VARIANTS.values())
    assert len(chosen) < len(suite.SHORT)


@pytest.mark.parametrize("stock,one_pass,variant", (
    ("", "", "ours"), ("", "y", "ours"), ("", "n", "around"), ("1", "", "stock"), ("1", "y", "stock"),
    ("fixed", "", "fixed"), ("kept", "", "kept")))
def test_the_variant_is_the_one_that_was_asked_for(monkeypatch, stock, one_pass, variant):
    monkeypatch.setenv("STOCK", stock)
    monkeypatch.setenv("ONE_PASS", one_pass)
    assert modules.chosen() == variant


@pytest.mark.parametrize("stock,one_pass", (("", "no"), ("1", "n"), ("fixed", "n"), ("kept", "n")))
def test_a_variant_that_there_is_not_is_refused(monkeypatch, stock, one_pass):
    monkeypatch.setenv("STOCK", stock)
    monkeypatch.setenv("ONE_PASS", one_pass)
    with pytest.raises(log.Failure, match=f"ONE_PASS={one_pass}"):
        modules.chosen()


def test_the_library_without_one_pass_has_tests_of_its_own_each_day(monkeypatch):
    ran = []
    monkeypatch.setattr(e2e, "run_cases", lambda names, which, part, most, in_turns:
                        ran.append((names, which, most)) or Counts())
    for number in range(30):
        monkeypatch.setenv("DAY", str(datetime.date.fromordinal(739900 + number)))
        around.check()
    assert {(which, most) for _, which, most in ran} == {("around", 1)}
    assert all(0 < len(names) <= around.SAMPLE for names, *_ in ran)
    assert {name for names, *_ in ran for name in names} == set(around.IN_TURNS)


def test_the_implementation_that_is_kept_has_tests_of_its_own_each_day(monkeypatch):
    ran = []
    monkeypatch.setattr(e2e, "run_cases", lambda names, which, part, most, in_turns:
                        ran.append((names, which)) or Counts())
    for number in range(30):
        monkeypatch.setenv("DAY", str(datetime.date.fromordinal(739900 + number)))
        kept.check()
    assert {which for _, which in ran} == {"kept"}
    assert {name for names, _ in ran for name in names} == set(e2e.named(kept.FILE))


def test_end_to_end_tests_are_found_by_their_name_and_by_their_file():
    assert all(suite.file_of(name) == "test_pcie" for name in e2e.named("test_pcie"))
    assert e2e.named("torn_out_costs") == ["a_controller_torn_out_costs_no_io"]
    with pytest.raises(log.Failure, match="no end-to-end test"):
        e2e.named("test_nothing")


def test_the_library_without_one_pass_has_tests_on_one_machine():
    assert set(around.IN_TURNS) <= set(suite.SHORT)
    assert {suite.CASES[name].machine for name in around.IN_TURNS} == {""}


class Built:
    """The things that e2e.run_cases() asks for before it boots a guest that does not hold anybody up."""

    def __init__(self, monkeypatch, tmp_path, verdict):
        self._verdict = verdict
        for module, name, value in ((e2e.setup, "ensure", lambda its: None), (e2e.kernel, "ensure", lambda name: None),
                                    (e2e.modules, "ensure", lambda which, name: None), (log, "step", self._step),
                                    (e2e._Guest, "run", lambda guest, built, directory: self._run(guest._queue))):
            monkeypatch.setattr(module, name, value)
        self._log = tmp_path / "e2e.log"

    @contextmanager
    def _step(self, name, doing):
        yield type("Step", (), {"log": self._log, "name": name, "progress": lambda self, text: None})()

    def _run(self, queue):
        while name := queue.take():
            queue.done(e2e.Outcome(name, self._verdict, "why"))


@pytest.mark.parametrize("which", ("ours", "around"))
def test_the_record_is_of_the_library_in_one_pass(monkeypatch, tmp_path, reports, which):
    Built(monkeypatch, tmp_path, "passed")
    assert e2e.run_cases(NAMES, which).passed == len(NAMES)
    assert set(record.read("e2e", reports).outcomes) == (set(NAMES) if which == "ours" else set())


@pytest.mark.parametrize("which", ("ours", "around"))
def test_a_whole_run_in_which_every_test_was_skipped_fails(monkeypatch, tmp_path, which):
    Built(monkeypatch, tmp_path, "skipped")
    assert e2e.run_cases(suite.SHORT, which).failed
    assert e2e.run_cases(suite.SHORT, "stock").failed == 0


def test_a_form_that_has_not_run_now_keeps_what_became_of_it(reports):
    forms = next(forms for forms in suite.VARIANTS.values() if len(forms) > 1)
    record.write("e2e", {forms[0]: record.FAILED, "gone": record.PASSED}, whole=False)
    e2e._record("e2e", [e2e.Outcome(forms[1], record.PASSED)], True)
    assert record.read("e2e", reports) == record.Record(True, {forms[0]: record.FAILED, forms[1]: record.PASSED})


def test_a_run_that_is_not_whole_says_so():
    from lab import commands
    assert commands._outcome(Counts(7, 0, ["why"]))[:2] == ("7 passed, 0 failed, 1 skipped", 0)
    assert commands._outcome(Counts(7, 1))[:2] == ("7 passed, 1 failed, 0 skipped", 1)
    incomplete = Counts(7) + Counts(left_out=["why"])
    assert commands._outcome(incomplete)[:2] == ("7 passed, 0 failed, 0 skipped, incomplete", 0)


def test_a_part_that_was_left_out_has_not_passed(reports):
    parts.run({"sanitize": lambda: Counts(left_out=["no time"])}, "test")
    assert record.read("test", reports).outcomes == {"sanitize": record.SKIPPED}


def test_sanitizers_for_which_there_is_no_time_are_left_out(monkeypatch):
    monkeypatch.delenv("KDIR", raising=False)
    monkeypatch.setattr(kernel, "is_built", lambda name: False)
    monkeypatch.setattr(log, "since_start", lambda: sanitize.BUILD_UNTIL_SECONDS + 1)
    assert not sanitize.check_in_time().good


def test_sanitizers_for_another_kernel_are_left_out(monkeypatch):
    monkeypatch.setenv("KDIR", "/boot")
    assert not sanitize.check_in_time().good


def test_a_part_that_is_one_test_has_failed_when_something_does_not_build(monkeypatch, reports):
    from lab.runs import one
    from lab.runs import test

    def stopped():
        log.fail("does not build")
    monkeypatch.setitem(test.PARTS, "without multipath", stopped)
    assert one.run("test: without multipath").failed == 1
    assert record.read("test", reports).outcomes == {"without multipath": record.FAILED}


def test_the_checks_are_a_part_and_those_that_fail_are_counted(monkeypatch):
    from lab.checks import check
    from lab.runs import test
    assert test.PARTS["check"] == check.count_static
    monkeypatch.setattr(check, "run", lambda without: (["rustfmt", "clippy"], ["ruff"]))
    assert str(check.count_static()) == "2 passed, 1 failed, 0 skipped"


def test_the_kernels_that_parts_are_for_exist():
    assert {kernel.PLAIN, kernel.SANITIZE} <= {kernel.PLAIN, *(f"{kernel.PLAIN}+{file.stem}"
                                                              for file in kernel.paths.CONFIGS.glob("*.config"))}
