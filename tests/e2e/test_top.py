# SPDX-License-Identifier: GPL-2.0
"""mpath-top on real heads: its figures are the target's, and it says why a path is not used and why I/O waits."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.e2e.case import test
from tests.e2e.rewriter import Rewriter
from tests.e2e.test_fence import LONGER
from tests.e2e.test_fence import PLACE
from tests.e2e.test_fence import scene
from tests.e2e.test_io import set_policy
from tests.guest import fio
from tests.guest import head as heads
from tests.guest import modules
from tests.guest import passthrough
from tests.guest import wait
from tests.guest.reader import Reader
from tests.guest.target import Target
from tests.guest.terminal import Terminal

PROGRAM = Path(__file__).parents[2] / "tools" / "mpath-top" / "mpath-top"
TRANSPORTS = ("loop", "tcp")
#: I/Os of different sizes, so that their number and their bytes tell different things.
READS, READ = 24, 8192
WRITES, WRITE = 10, 4096
NOBODY = 65534
#: Seconds over which rates are taken.
INTERVAL = 2
#: Starts the live view as the program does, but for the parts that need a terminal of the kernel's.
SCREEN = """
import sys
from importlib.machinery import SourceFileLoader
top = SourceFileLoader("top", sys.argv[1]).load_module()
options = top.parse(sys.argv[2:])
top.Screen(top.Reader(options.sysfs, options.debugfs, options.head), options).run(top.curses.initscr())
"""
#: A load that leaves time for the view, in a guest that is emulated on a busy machine.
LIGHT = {"jobs": 1, "rate": 100}
#: The name of the kernel's counter where libnvme looks for it, and where the kernel has it.
RETRIES = ("diag/command_retries_count", "diag/command_retry_count")


def run(*words, program=PROGRAM, **more) -> str:
    """The output of `mpath-top --once`."""
    done = subprocess.run([sys.executable, program, "--once", *map(str, words)], capture_output=True, text=True, **more)
    assert done.returncode == 0, done.stderr
    return done.stdout


def look(*words, program=PROGRAM, **more) -> dict:
    """The report of `mpath-top --once --json`."""
    report = json.loads(run("--json", *words, program=program, **more))
    assert not report["problems"], report["problems"]
    return report


def look_at(head, interval=0) -> dict:
    (found,) = look("--interval", interval, "--head", head.name)["heads"]
    return found


@test(over=TRANSPORTS)
def the_view_shows_what_the_target_was_given(transport):
    with Target("top", ports=(transport,) * 2) as target:
        target.connect_all()
        head, backing = target.head, target.backing_disk()
        set_policy(head, "round-robin")
        before, given = look_at(head), backing.completed()
        for number in range(READS):
            passthrough.read_directly(head.device, number * READ, READ)
        for number in range(WRITES):
            passthrough.write_directly(head.device, number * WRITE, bytes(WRITE))
        after, (ios, sizes) = look_at(head), backing.completed()
        assert (ios - given[0], sizes - given[1]) == (READS + WRITES, READS * READ + WRITES * WRITE)
        for now, then in ((after, before), (_sum(after["paths"]), _sum(before["paths"]))):
            grown = [now[key] - then[key] for key in ("reads", "writes", "read_sectors", "written_sectors")]
            assert grown == [READS, WRITES, READS * READ // 512, WRITES * WRITE // 512], grown
        shares = [path["reads"] + path["writes"] - old["reads"] - old["writes"]
                  for path, old in zip(after["paths"], before["paths"], strict=True)]
        assert min(shares) >= (READS + WRITES) // 2 - 1, shares
        assert (after["condition"], after["iopolicy"], after["nqn"]) == ("ok", "round-robin", target.nqn)
        assert [path["controller_state"] for path in after["paths"]] == ["live"] * 2
        assert [path["ana_state"] for path in after["paths"]] == ["optimized"] * 2
        assert {path["address"] for path in after["paths"]} == {port.where for port in target.ports}
        assert after["usable"] == (2 if modules.ours() else None)


def _sum(disks) -> dict:
    return {key: sum(disk[key] for disk in disks) for key in ("reads", "writes", "read_sectors", "written_sectors")}


@test(limit=180)
def rates_of_the_view_are_those_of_the_disk():
    with Target("top", ports=("tcp",) * 2) as target:
        target.connect_all()
        head = target.head
        with fio.Load(head.device, **LIGHT) as load:
            load.wait_for_io(head)
            seen = look_at(head, INTERVAL * wait.SLOWNESS)
            load.finish()
        (busy, idle) = sorted(seen["paths"], key=lambda path: -path["w_iops"])
        assert busy["w_iops"] > 0 and busy["w_clat_ms"] > 0 and 0 < busy["util_percent"] <= 100, seen
        assert busy["w_bytes_per_s"] == fio.BLOCK * busy["w_iops"] or abs(
            busy["w_bytes_per_s"] / busy["w_iops"] - fio.BLOCK) < 1, seen
        # All I/O goes through the path that numa has chosen; mpath-top reads the head and the path one after the other.
        assert (idle["w_iops"], idle["r_iops"]) == (0, 0), seen
        assert abs(seen["w_iops"] - busy["w_iops"]) <= 0.2 * busy["w_iops"] + 5, seen


@test(limit=180)
def a_lost_path_is_shown_with_its_reason():
    with Target("top", ports=("tcp",) * 2) as target:
        target.connect_all()
        head = target.head
        with fio.Load(head.device, **LIGHT) as load:
            (carrier,) = load.carriers(head)
            _port_of(target, carrier).stop()
            heads.wait_for_state(carrier, "connecting")
            load.wait_for_io(head)
            seen = look_at(head, INTERVAL)
            load.finish()
        paths = {path["controller"]: path for path in seen["paths"]}
        lost = paths.pop(carrier)
        (left,) = paths.values()
        assert (lost["controller_state"], left["controller_state"]) == ("connecting", "live"), seen
        assert seen["condition"] == "degraded", seen
        assert lost["w_iops"] == 0 < left["w_iops"], seen
        if modules.ours():
            assert (lost["usable"], left["usable"], seen["usable"]) == (False, True, 1), seen
            assert [each["reason"] for each in lost["reasons"]] == ["port"], seen
            assert lost["until"] == "driver: port recovers or is given up" and lost["port_state_ms"] > 0, seen
            assert seen["shortlist"] in ([left["name"]], None) and seen["failovers"] >= lost["failovers"], seen


def _port_of(target, controller):
    where = heads.address(controller).split()[1]
    return next(port for port in target.ports if port.where == where)


@test(over=TRANSPORTS)
def io_that_waits_is_shown_with_who_ends_that(transport):
    with Target("top", ports=(transport,) * 2) as target:
        target.connect_all()
        head = target.head
        target.set_ana_state("inaccessible")
        with Reader(head.device) as reader:
            reader.start()
            head.wait_for_parking()
            seen = look_at(head)
            text = run("--interval", 0)
            target.set_ana_state("optimized")
            assert reader.outcome() == "data"
        assert [path["ana_state"] for path in seen["paths"]] == ["inaccessible"] * 2, seen
        assert seen["requeue_io"] >= 1 and f" {head.name} " in f" {text}".replace("\n", " "), text
        if modules.ours():
            assert (seen["condition"], seen["waiting"], seen["usable"]) == ("waiting", 1, 0), seen
            assert seen["waiting_until"] == "storage: access state changes", seen
            assert "1 bio waiting for" in text and "ends it: storage: access state changes" in text, text
        else:
            assert (seen["condition"], seen["waiting"]) == ("no-path", None), seen
        assert look_at(head)["condition"] == "ok"


@test
def writes_that_a_fence_holds_are_shown():
    with scene("auto", keep_alive=LONGER) as lost, Rewriter(lost.device, PLACE) as rewriter:
        lost.hold(rewriter)
        lost.lose()
        wait.until(lambda: (heads.CONTROLLERS / lost.controller / "fence_held").read_text().strip() == "1",
                   "the write to be held")
        report = look("--interval", 0, "--head", lost.head.name)
        lost.release(rewriter)
        lost.check(rewriter)
        (seen,) = report["heads"]
        assert (seen["condition"], seen["fenced"], seen["waiting"]) == ("waiting", 1, 0), seen
        assert seen["fenced_until"].startswith("fence: ") and seen["fenced_ms"] >= 0, seen
        held = {each["name"]: each["fence_held"] for each in report["controllers"]}
        assert held == {name: int(name == lost.controller) for name in lost.controllers}, report["controllers"]
        after = look_at(lost.head)
        assert (after["fenced"], sum(path["fenced_writes"] for path in after["paths"])) == (0, 1), after


@test
def a_user_who_cannot_read_debugfs_sees_the_rest():
    with Target("top", ports=("tcp",) * 2) as target, tempfile.TemporaryDirectory() as place:
        target.connect_all()
        os.chmod(place, 0o755)
        # The user may not get to where the project is.
        program = shutil.copy(PROGRAM, place)
        report = look("--interval", 0, program=program, user=NOBODY, group=NOBODY, extra_groups=[], cwd="/")
        assert report["debugfs"] == "denied", report
        (head,) = (found for found in report["heads"] if found["name"] == target.head.name)
        assert (head["condition"], head["usable"], len(head["paths"])) == ("ok", None, 2), head
        assert look("--interval", 0)["debugfs"] == ("read" if modules.ours() else "absent")


@test
def a_head_without_a_path_is_shown_until_it_goes():
    with Target("top", ports=("tcp",)) as target:
        target.connect_all()
        head = target.head
        head.write("delayed_removal_secs", 600)
        target.disconnect()
        seen = look_at(head)
        assert (seen["condition"], seen["paths"]) == ("no-path", []), seen
        if modules.ours():
            assert 500_000 < seen["removal_in_ms"] <= 600_000, seen
        # NVMe's own code goes by a new value only when a path has gone.
        target.connect_all()
        assert look_at(head)["condition"] == "ok"
        head.write("delayed_removal_secs", 0)
        target.disconnect()
        wait.until(lambda: not target.heads(), "the head to go")
        assert head.name not in [found["name"] for found in look("--interval", 0)["heads"]]


@test
def the_counters_of_sysfs_are_shown_and_the_retries_by_either_name():
    with Target("top", ports=("loop",)) as target:
        target.connect_all()
        head = target.head
        (path,) = head.paths()
        for number, (disk, counter) in enumerate([
                (path, RETRIES[0]), (path, "diag/multipath_failover_count"), (path, "diag/command_error_count"),
                (head, "diag/io_requeue_no_usable_path_count"), (head, "diag/io_fail_no_available_path_count")], 7):
            disk.write(counter, number)
        seen = look_at(head)
        (seen_path,) = seen["paths"]
        assert [seen_path[key] for key in ("retries", "failovers", "errors")] == [7, 8, 9], seen
        assert (seen["requeue_io"], seen["fail_io"]) == (10, 11), seen
        if modules.ours():
            assert path.read(RETRIES[1]) == "7"
            path.write(RETRIES[1], 0)
            assert path.read(RETRIES[0]) == "0"
        else:
            path.write(RETRIES[0], 0)


@test(limit=180)
def the_screen_follows_a_path_that_is_lost_and_comes_back():
    with Target("top", ports=("tcp",) * 2) as target:
        target.connect_all()
        head = target.head
        with fio.Load(head.device, **LIGHT) as load:
            (carrier,) = load.carriers(head)
            (path,) = (path for path in head.paths() if path.controller == carrier)
            with screen(head) as terminal:
                terminal.wait_for(lambda text: "ok 2/2" in text and _state(text, path.name) == "live")
                port = _port_of(target, carrier)
                port.stop()
                terminal.wait_for(lambda text: "degraded 1/2" in text and _state(text, path.name) == "connecting")
                if modules.ours():
                    terminal.wait_for("not used: port for")
                port.start()
                terminal.wait_for(lambda text: "ok 2/2" in text and _state(text, path.name) == "live")
                terminal.send("q")
                assert terminal.end() == 0
            load.finish()


def screen(head) -> Terminal:
    """The live view of a head, in a terminal of the usual size. The lab's kernel has no pseudo terminals."""
    command = [sys.executable, "-c", SCREEN, PROGRAM, "--head", head.name]
    return Terminal(list(map(str, command)), 24, 80, 60 * wait.SLOWNESS, is_tty=False)


def _state(text, name) -> str:
    """The state of a path, as the screen says."""
    return next((line.split()[1] for line in text.splitlines() if line.split()[:1] == [name]), "")
