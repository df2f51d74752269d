# SPDX-License-Identifier: GPL-2.0
"""mpath-top, over written and recorded trees of sysfs and debugfs: its report, its text, and its screen."""

import json
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import time
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec
from importlib.util import spec_from_loader
from pathlib import Path

import pytest

from conftest import ROOT
from tests.guest.terminal import Terminal

PLACE = ROOT / "tools" / "mpath-top"
PROGRAM = PLACE / "mpath-top"
#: Files of a guest's sysfs and debugfs: a line with a name, and indented lines with the file's contents.
RECORDED = Path(__file__).parent / "top"
#: A lost path, I/O that waits, and writes that a fence holds, on the library; the first two without it, too.
RECORDINGS = ("ours-lost", "ours-waiting", "ours-fenced", "stock-lost", "stock-waiting")

_loader = SourceFileLoader("mpath_top", str(PROGRAM))
top = module_from_spec(spec_from_loader("mpath_top", _loader))
sys.modules["mpath_top"] = top
_loader.exec_module(top)

WAITS = """\
state live
state_ms 7896
policy numa
paths 2
usable 0
shortlist -
waiting 2
waiting_ms 6536
until "storage: access state changes"
fenced 0
parked 2
failed 0
failovers 5
path nvme0c0n1
  usable no
  until "storage: access state changes"
  reason access 7544
  node 1
  port nvme0
  port_state live
  access other
  trust trusted
  a_new_key it has some words
path nvme0c1n1
  usable no
  until "driver: port recovers or is given up"
  reason port 6612
  reason access 12
  port nvme1
  port_state recovering
  access optimized
  trust suspected
  failures 3
  failed_ms_ago 61000
"""


class Host:
    """A sysfs and a debugfs in a directory."""

    def __init__(self, place):
        self.sysfs = place
        self.write("block/vda/stat", stat())

    @property
    def debugfs(self):
        return self.sysfs / "kernel" / "debug"

    def write(self, name, text) -> None:
        file = self.sysfs / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n" if text and not text.endswith("\n") else text)

    def controller(self, number, state="live", subsystem=0, **attributes) -> None:
        place = f"class/nvme/nvme{number}"
        values = {"state": state, "transport": "tcp", "address": f"traddr=127.0.0.1,trsvcid={4420 + number}",
                  "numa_node": "-1", "cntrltype": "io", "diag/command_error_count": "0", "diag/reset_count": "1",
                  "diag/reconnect_count": "2", **attributes}
        for name, text in values.items():
            self.write(f"{place}/{name}", text)
        self.write(f"class/nvme-subsystem/nvme-subsys{subsystem}/subsysnqn", f"nqn.test:{subsystem}")
        self.write(f"class/nvme-subsystem/nvme-subsys{subsystem}/iopolicy", "numa")
        (self.sysfs / f"class/nvme-subsystem/nvme-subsys{subsystem}/nvme{number}").mkdir(exist_ok=True)

    def head(self, namespace=1, subsystem=0, **counters) -> str:
        name = f"nvme{subsystem}n{namespace}"
        (self.sysfs / "block" / name / "multipath").mkdir(parents=True)
        for file, text in {"stat": stat(**counters), "nsid": str(namespace), "queue/iostats": "1",
                           "diag/io_requeue_no_usable_path_count": "2",
                           "diag/io_fail_no_available_path_count": "1"}.items():
            self.write(f"block/{name}/{file}", text)
        return name

    def path(self, controller, namespace=1, subsystem=0, ana_state="optimized", **counters) -> str:
        name = f"nvme{subsystem}c{controller}n{namespace}"
        for file, text in {"stat": stat(**counters), "ana_state": ana_state, "ana_grpid": "1", "numa_nodes": "0-1",
                           "queue_depth": "", "queue/iostats": "1", "diag/multipath_failover_count": "3",
                           "diag/command_retries_count": "4", "diag/command_error_count": "5"}.items():
            self.write(f"block/{name}/{file}", text)
        link = self.sysfs / "block" / f"nvme{subsystem}n{namespace}" / "multipath" / name
        link.symlink_to(f"../../{name}")
        return name

    def two_paths(self) -> None:
        self.controller(0)
        self.controller(1)
        self.head()
        self.path(0)
        self.path(1)

    def inside(self, text, name="nvme0n1") -> None:
        self.write(f"kernel/debug/multipath/{name}", text)

    def remove(self, name) -> None:
        place = self.sysfs / name
        place.unlink() if place.is_symlink() or place.is_file() else shutil.rmtree(place)

    def reader(self, *only):
        return top.Reader(str(self.sysfs), str(self.debugfs), only)

    def report(self, *only) -> dict:
        return self.reader(*only).read().report

    def run(self, *words, **more):
        return subprocess.run([sys.executable, "-B", PROGRAM, "--sysfs", self.sysfs, *words], text=True,
                              capture_output=True, timeout=60, **more)

    def terminal(self, lines, columns, *words, **more):
        command = [sys.executable, "-B", str(PROGRAM), "--sysfs", str(self.sysfs), "--interval", "0.1", *words]
        return Terminal(command, lines, columns, **more)


def stat(reads=0, read_sectors=0, read_ms=0, writes=0, written_sectors=0, write_ms=0, inflights=0, busy_ms=0,
         flushes=0):
    """A file `stat` as the block layer writes it."""
    fields = [reads, 0, read_sectors, read_ms, writes, 0, written_sectors, write_ms, inflights, busy_ms,
              read_ms + write_ms, 0, 0, 0, 0, flushes, 0]
    return " ".join(f"{number:8}" for number in fields)


@pytest.fixture
def host(tmp_path):
    return Host(tmp_path / "sys")


def after(reader, change, seconds=2.0):
    """The report of a reading that follows a change, as if so many seconds had passed."""
    before = reader.read()
    change()
    now = reader.read()
    now.at = before.at + seconds
    for name in now.stats:
        if name in before.stats:
            now.stats[name].at = before.stats[name].at + seconds
    top.add_rates(now, before)
    return now.report


# Reading


def test_sysfs_alone_shows_heads_paths_and_controllers(host):
    host.two_paths()
    report = host.report()
    (head,) = report["heads"]
    assert (head["name"], head["nsid"], head["nqn"], head["iopolicy"]) == ("nvme0n1", 1, "nqn.test:0", "numa")
    assert (head["requeue_io"], head["fail_io"], head["condition"]) == (2, 1, "ok")
    assert (head["usable"], head["waiting"], report["debugfs"]) == (None, None, "absent")
    path = head["paths"][1]
    assert (path["name"], path["controller"], path["controller_state"]) == ("nvme0c1n1", "nvme1", "live")
    assert (path["transport"], path["address"], path["ana_state"]) == ("tcp", "127.0.0.1:4421", "optimized")
    assert (path["failovers"], path["retries"], path["errors"], path["queue_depth"]) == (3, 4, 5, None)
    assert path["numa_nodes"] == "0-1" and path["usable"] is None
    assert [each["paths"] for each in report["controllers"]] == [1, 1]
    assert report["controllers"][0]["reconnects"] == 2
    assert report["problems"] == []


def test_debugfs_says_what_waits_since_when_and_who_ends_it(host):
    host.two_paths()
    host.inside(WAITS)
    (head,) = host.report()["heads"]
    assert (head["waiting"], head["waiting_ms"]) == (2, 6536)
    assert head["waiting_until"] == "storage: access state changes"
    assert (head["condition"], head["usable"], head["failovers"], head["shortlist"]) == ("waiting", 0, 5, [])
    first, second = head["paths"]
    assert (first["usable"], first["node"], first["until"]) == (False, 1, "storage: access state changes")
    assert second["reasons"] == [{"reason": "port", "ms": 6612}, {"reason": "access", "ms": 12}]
    text = host.run("--once", "--interval", "0").stdout
    assert "2 bios waiting for 6.5 s; ends it: storage: access state changes" in text
    assert "not used: port for 6.6 s, access for 12 ms; ends it: driver: port recovers or is given up" in text


def test_either_name_of_the_retries_is_read(host):
    host.two_paths()
    host.remove("block/nvme0c0n1/diag/command_retries_count")
    host.write("block/nvme0c0n1/diag/command_retry_count", "9")
    assert [path["retries"] for path in host.report()["heads"][0]["paths"]] == [9, 4]


def test_a_disk_without_a_head_is_no_head(host):
    host.controller(0)
    host.write("block/nvme0n1/stat", stat())
    report = host.report()
    assert (report["heads"], report["without_head"]) == ([], ["nvme0n1"])
    assert "no multipath head; 1 NVMe disk without one: nvme0n1" in host.run("--once", "--interval", "0").stdout


def test_a_controller_that_leads_to_no_head_is_shown(host):
    host.two_paths()
    host.controller(2, state="connecting")
    host.controller(3, cntrltype="discovery")
    assert [each["name"] for each in host.report()["controllers"]] == ["nvme0", "nvme1", "nvme2"]
    text = host.run("--once", "--interval", "0").stdout
    assert "nvme2, tcp 127.0.0.1:4422: connecting, leads to no head" in text
    assert "leads to no head" not in text.replace("nvme2, tcp 127.0.0.1:4422: connecting, leads to no head", "")


def test_a_lost_controller_degrades_a_head_without_debugfs(host):
    host.two_paths()
    host.controller(1, state="connecting")
    (head,) = host.report()["heads"]
    assert head["condition"] == "degraded"
    host.write("block/nvme0c0n1/ana_state", "inaccessible")
    assert host.report()["heads"][0]["condition"] == "no-path"


def test_a_head_of_another_driver_is_found(host):
    (host.sysfs / "block/mpram0/multipath").mkdir(parents=True)
    host.write("block/mpram0/stat", stat(reads=3))
    host.write("block/mpramc0/stat", stat(reads=2))
    (host.sysfs / "block/mpram0/multipath/mpramc0").symlink_to("../../mpramc0")
    host.inside("state live\npolicy round-robin\nparked 7\nfailed 0\nusable 1\n"
                "path mpramc0\n  usable yes\n  port ram0\n  port_state live\n  failovers 6\n", "mpram0")
    (head,) = host.report()["heads"]
    assert (head["name"], head["reads"], head["requeue_io"], head["iopolicy"]) == ("mpram0", 3, 7, "round-robin")
    (path,) = head["paths"]
    assert (path["name"], path["reads"], path["controller"], path["failovers"]) == ("mpramc0", 2, "ram0", 6)


def test_a_removed_head_does_not_take_the_place_of_the_next_one(host):
    host.two_paths()
    host.inside("state dead\nstate_ms 2080\nopeners 1\npaths 0\nusable 0\n")
    host.inside(WAITS, "nvme0n1.17")
    heads = host.report()["heads"]
    assert [(head["name"], head["disk"], head["condition"]) for head in heads] == [
        ("nvme0n1", True, "waiting"), ("nvme0n1", False, "removed")]
    assert "dead for 2.1 s; openers: 1" in host.run("--once", "--interval", "0").stdout


def test_a_head_that_is_only_held_open_is_shown(host):
    host.inside("state dead\nstate_ms 2080\nopeners 1\npaths 0\nusable 0\n")
    (head,) = host.report()["heads"]
    assert (head["name"], head["disk"], head["condition"], head["paths"]) == ("nvme0n1", False, "removed", [])


# Rates


def test_rates_are_of_the_time_between_two_readings(host):
    host.two_paths()
    counters = stat(reads=500, read_sectors=4000, read_ms=750, writes=100, written_sectors=1600, write_ms=50,
                    inflights=7, busy_ms=1500)
    report = after(host.reader(), lambda: host.write("block/nvme0c0n1/stat", counters))
    path, idle = report["heads"][0]["paths"]
    assert (path["r_iops"], path["w_iops"]) == (250, 50)
    assert (path["r_bytes_per_s"], path["w_bytes_per_s"]) == (2000 * 512, 800 * 512)
    assert (path["r_clat_ms"], path["w_clat_ms"], path["util_percent"], path["inflights"]) == (1.5, 0.5, 75, 7)
    assert (idle["r_iops"], idle["r_clat_ms"]) == (0, None)
    assert report["interval_s"] == 2


def test_times_that_begin_again_at_zero_are_told_from_counts_that_go_back(host):
    host.two_paths()
    host.write("block/nvme0c0n1/stat", stat(reads=10, read_ms=2**32 - 100))
    host.write("block/nvme0c1n1/stat", stat(reads=1000, read_sectors=8000, read_ms=100))

    def change():
        host.write("block/nvme0c0n1/stat", stat(reads=110, read_sectors=800, read_ms=100))
        host.write("block/nvme0c1n1/stat", stat(reads=3, read_sectors=24, read_ms=1))

    wrapped, back = after(host.reader(), change)["heads"][0]["paths"]
    assert (wrapped["r_iops"], wrapped["r_clat_ms"]) == (50, 2)
    assert (back["r_iops"], back["r_bytes_per_s"], back["util_percent"], back["reads"]) == (None, None, None, 3)


def test_another_disk_of_the_same_name_has_no_rates_yet(host):
    host.two_paths()

    def change():
        (host.sysfs / "block/nvme0c0n1").rename(host.sysfs / "block/old")
        shutil.copytree(host.sysfs / "block/old", host.sysfs / "block/nvme0c0n1")
        host.remove("block/old")
        host.write("block/nvme0c0n1/stat", stat(reads=5000, read_sectors=5000))

    path, other = after(host.reader(), change)["heads"][0]["paths"]
    assert (path["r_iops"], path["reads"], other["r_iops"]) == (None, 5000, 0)


def test_a_disk_that_does_not_count_has_no_rates(host):
    host.two_paths()
    host.write("block/nvme0n1/queue/iostats", "0")
    report = after(host.reader(), lambda: None)
    assert (report["heads"][0]["r_iops"], report["heads"][0]["paths"][0]["r_iops"]) == (None, 0)
    assert "queue/iostats is 0" in top.as_text(report, "name")


def test_counters_that_grow_are_said_and_those_set_back_are_not(host):
    host.two_paths()

    def change():
        host.write("block/nvme0c0n1/diag/multipath_failover_count", "10")
        host.write("block/nvme0c0n1/diag/command_error_count", "0")
        host.write("block/nvme0n1/diag/io_requeue_no_usable_path_count", "3")

    (head,) = after(host.reader(), change)["heads"]
    assert head["grown"] == {"requeue_io": 1}
    assert [path["grown"] for path in head["paths"]] == [{"failovers": 7}, {}]


def test_paths_that_come_and_go_are_followed(host):
    host.two_paths()
    host.controller(2)

    def change():
        host.remove("block/nvme0n1/multipath/nvme0c0n1")
        host.remove("block/nvme0c0n1")
        host.path(2)

    (head,) = after(host.reader(), change)["heads"]
    assert [(path["name"], path["r_iops"]) for path in head["paths"]] == [("nvme0c1n1", 0), ("nvme0c2n1", None)]


# Files that are gone, wrong or forbidden


def test_a_path_that_vanishes_between_the_list_and_the_look_is_left_out(host, monkeypatch):
    host.two_paths()
    host.head(2)
    entries = top.Tree.entries

    def list_and_remove(tree, *names):
        found = entries(tree, *names)
        if names[-1] == "block":
            host.remove("block/nvme0c0n1")
            host.remove("block/nvme0n2")
        return found

    monkeypatch.setattr(top.Tree, "entries", list_and_remove)
    report = host.report()
    assert [head["name"] for head in report["heads"]] == ["nvme0n1"]
    assert [path["name"] for path in report["heads"][0]["paths"]] == ["nvme0c1n1"]
    assert report["problems"] == []


def test_a_file_that_says_that_its_device_is_gone_is_no_problem(host, monkeypatch):
    host.two_paths()
    read = top._whole

    def fail(file):
        if file.endswith("ana_state"):
            raise OSError(top.errno.ENODEV, "No such device")
        return read(file)

    monkeypatch.setattr(top, "_whole", fail)
    report = host.report()
    assert (report["heads"][0]["paths"][0]["ana_state"], report["problems"]) == (None, [])


def test_a_file_that_cannot_be_read_is_named(host, monkeypatch):
    host.two_paths()
    read = top._whole

    def fail(file):
        if file.endswith("nvme0c0n1/stat"):
            raise OSError(top.errno.EIO, "Input/output error")
        return read(file)

    monkeypatch.setattr(top, "_whole", fail)
    report = host.report()
    assert report["problems"] == [f"{host.sysfs}/block/nvme0c0n1/stat: Input/output error"]
    assert report["heads"][0]["paths"][0]["reads"] is None


def test_garbage_in_files_is_named_and_does_nothing_to_the_terminal(host):
    host.two_paths()
    host.write("block/nvme0c0n1/stat", "1 2 three")
    host.write("block/nvme0n1/nsid", "\x1b[2J")
    host.write("block/nvme0c1n1/ana_state", "\x1b]0;title\x07opt\u00efmized")
    host.write("block/nvme0c1n1/diag/command_error_count", "9" * 5000)
    host.inside("state live\nnonsense\n\x00\x01\npath\n  usable yes\nwaiting many\n")
    (host.sysfs / "class/nvme/nvme1/state").write_bytes(b"\xff\xfe\n")
    report = host.report()
    assert {line.removeprefix(f"{host.sysfs}/") for line in report["problems"]} == {
        "kernel/debug/multipath/nvme0n1: 4 lines cannot be understood, as 'nonsense'",
        "block/nvme0n1/nsid: '?[2J' is no number",
        "block/nvme0c0n1/stat: '1 2 three' is not 11 numbers or more",
        f"block/nvme0c1n1/diag/command_error_count: '{'9' * 40}...' is no number"}
    assert (report["heads"][0]["waiting"], report["heads"][0]["paths"][1]["errors"]) == (None, None)
    for words in (["--once", "--interval", "0"], ["--once", "--json", "--interval", "0"]):
        done = host.run(*words)
        assert done.returncode == 0 and re.fullmatch(r"[\n -~]+", done.stdout), done.stdout


def test_only_so_many_problems_are_named(host):
    host.controller(0)
    for number in range(1, 31):
        host.head(number)
        host.write(f"block/nvme0n{number}/nsid", "none")
    problems = host.report()["problems"]
    assert len(problems) == top.PROBLEMS + 1 and problems[-1] == "and 10 more"


def test_an_old_kernels_stat_is_shorter(host):
    host.two_paths()
    host.write("block/nvme0c0n1/stat", "5 0 40 3 0 0 0 0 1 3 3")
    report = host.report()
    assert (report["heads"][0]["paths"][0]["reads"], report["heads"][0]["paths"][0]["flushes"]) == (5, None)
    assert report["problems"] == []


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_a_user_who_cannot_read_debugfs_is_told_so_in_one_line(host, tmp_path):
    host.two_paths()
    host.inside(WAITS)
    nobody = pwd.getpwnam("nobody")
    for place in (host.sysfs, *tmp_path.parents, tmp_path):
        if str(place).startswith(str(tmp_path.parents[1])):
            place.chmod(0o755)
    host.debugfs.chmod(0o700)
    program = tmp_path / "mpath-top"
    shutil.copy(PROGRAM, program)
    done = subprocess.run(["/usr/bin/python3", program, "--once", "--interval", "0", "--sysfs", host.sysfs], text=True,
                          capture_output=True, user=nobody.pw_uid, group=nobody.pw_gid, extra_groups=[], timeout=60)
    assert done.returncode == 0, done.stderr
    assert sum("debugfs cannot be read" in line for line in done.stdout.splitlines()) == 1
    assert "nvme0c1n1" in done.stdout and "not used" not in done.stdout and "problem" not in done.stdout


def test_a_path_that_is_called_as_no_disk_can_be_is_not_looked_for(host):
    host.two_paths()
    host.inside("state live\npath ../../class\n")
    report = host.report()
    assert [path["name"] for path in report["heads"][0]["paths"]] == ["nvme0c0n1", "nvme0c1n1"]
    assert "1 line cannot be understood, as 'path ../../class'" in report["problems"][0]


@pytest.mark.parametrize("content", [
    b"", b"\n", b"\x00", b"\xff\xfe\x1b[2J\n", b"-1\n", b"99999999999999999999\n", "\u0663\n".encode(),
    b"a b c d e f g h i j k l\n", b"1 " * 17, b"1 " * 100_000, b"yes\n", b"optimized\nlive\n",
    b"path \n  reason\n  reason  \npath p\n", None])
def test_there_is_a_report_whatever_a_file_says(host, content):
    """`None` has a directory in its place."""
    host.two_paths()
    host.inside(WAITS)
    for file in [entry for entry in host.sysfs.rglob("*") if entry.is_file()]:
        before = file.read_bytes()
        if content is None:
            file.unlink()
            file.mkdir()
        else:
            file.write_bytes(content)
        report = after(host.reader(), lambda: None)
        text = top.as_text(report, "trouble")
        json.dumps(report, allow_nan=False)
        assert re.fullmatch(r"[\n -~]+", text), text
        assert "nvme0c1n1" in text, f"{file} hides a path"
        if content is None:
            file.rmdir()
        file.write_bytes(before)


# Recorded trees


def unpack(file, host) -> None:
    """Makes the files of a recording: its lines are names, of a directory with a slash, and indented contents."""
    host.remove("block")
    name, lines = None, []
    for line in [*file.read_text().splitlines(), "end/"]:
        if line.startswith("    "):
            lines.append(line[4:])
            continue
        if name and name.endswith("/"):
            (host.sysfs / name).mkdir(parents=True, exist_ok=True)
        elif name:
            host.write(name, "".join(f"{each}\n" for each in lines))
        name, lines = line, []


@pytest.mark.parametrize("name", RECORDINGS)
def test_a_recorded_guest_is_shown_as_it_was(host, name):
    unpack(RECORDED / f"{name}.txt", host)
    text = host.run("--once", "--interval", "0").stdout
    assert text == (RECORDED / f"{name}.shown").read_text()


def test_every_recording_is_shown():
    assert sorted(RECORDINGS) == sorted(file.stem for file in RECORDED.glob("*.txt"))


# The program


@pytest.mark.parametrize(("words", "said"), [
    (["--interval", "0"], "--interval 0 needs --once"),
    (["--interval", "0.01", "--once"], "'0.01' is not from 0.1 to 3600 seconds"),
    (["--interval", "-1", "--once"], "'-1' is not from"),
    (["--interval", "nan", "--once"], "'nan' is not from"),
    (["--interval", "soon", "--once"], "'soon' is no number of seconds"),
    (["--json"], "--json needs --once"),
    (["--sort", "size"], "invalid choice: 'size'"),
    (["--sysfs", "/nowhere", "--once"], "'/nowhere' is no directory"),
])
def test_a_wrong_option_is_refused_with_what_is_allowed(host, words, said):
    done = host.run(*words)
    assert done.returncode == 2 and said in done.stderr, done.stderr


def test_a_head_that_is_not_there_is_refused_with_those_that_are(host):
    host.two_paths()
    done = host.run("--once", "--interval", "0", "--head", "nvme0n7")
    assert (done.returncode, done.stderr) == (1, "mpath-top: there is no multipath head nvme0n7; there is nvme0n1\n")


def test_a_directory_that_is_no_sysfs_is_refused(host, tmp_path):
    done = host.run("--once", "--sysfs", tmp_path)
    assert (done.returncode, done.stderr) == (1, f"mpath-top: {tmp_path} has no directory block: it is no sysfs\n")


def test_without_a_terminal_there_is_no_live_view(host):
    done = host.run()
    assert (done.returncode, done.stderr) == (1, "mpath-top: this is no terminal: use --once\n")


@pytest.mark.parametrize("kind", ["dumb", "no-such-terminal"])
def test_a_terminal_that_cannot_show_a_screen_is_refused(host, kind):
    with host.terminal(24, 80, environment={"TERM": kind}) as terminal:
        assert terminal.end() == 1
        assert f"TERM='{kind}' cannot show a screen: use --once" in terminal.sent


def test_only_the_heads_that_are_asked_for_are_shown(host):
    host.two_paths()
    host.head(2)
    report = json.loads(host.run("--once", "--json", "--interval", "0", "--head", "nvme0n2").stdout)
    assert [head["name"] for head in report["heads"]] == ["nvme0n2"]


def test_a_reader_of_only_the_first_line_sees_no_error(host):
    for number in range(1, 400):
        (host.sysfs / f"block/nvme0n{number}/multipath").mkdir(parents=True)
    command = f"{sys.executable} -B {PROGRAM} --sysfs {host.sysfs} --once --interval 0 | head -1"
    done = subprocess.run(command, shell=True, text=True, capture_output=True, timeout=60)
    assert done.stdout.startswith("mpath-top: 399 heads") and done.stderr == ""


def test_once_waits_for_the_interval_and_has_rates(host):
    host.two_paths()
    begin = time.monotonic()
    report = json.loads(host.run("--once", "--json", "--interval", "0.5").stdout)
    assert time.monotonic() - begin >= 0.5
    assert report["interval_s"] >= 0.5 and report["heads"][0]["paths"][0]["r_iops"] == 0


def test_heads_are_sorted_as_asked(host):
    host.controller(0)
    for number in (1, 2, 10):
        host.head(number, inflights=number % 10)
        host.path(0, number, ana_state="inaccessible" if number == 10 else "optimized")
    for sort, expected in (("name", [1, 2, 10]), ("inflights", [2, 1, 10]), ("trouble", [10, 1, 2])):
        text = host.run("--once", "--interval", "0", "--sort", sort).stdout
        assert re.findall(r"^nvme0n(\d+) ", text, re.MULTILINE) == [str(number) for number in expected], text


@pytest.mark.parametrize(("number", "base", "said"), [
    (None, 1000, "-"), (0, 1000, "0"), (999, 1000, "999"), (1000, 1000, "1.00k"), (999.6, 1000, "1.00k"),
    (3.25, 1000, "3.2"), (45_123, 1000, "45.1k"), (999_949, 1000, "1.00M"), (1024, 1024, "1.00K"),
    (1023, 1024, "1.00K"),
    (48.8 * 2**20, 1024, "48.8M"), (0.001, 1000, "0.0"), (2**63, 1024, "8.00E")])
def test_an_amount_has_five_characters_at_most(number, base, said):
    assert top.amount(number, base) == said


@pytest.mark.parametrize(("msecs", "said"), [
    (28, "28 ms"), (6536, "6.5 s"), (125_000, "2 min 5 s"), (11_400_000, "3 h 10 min")])
def test_a_duration_is_told_in_units_of_its_size(msecs, said):
    assert top.duration(msecs) == said


# The keys of --json, as the manual has them


def test_the_manual_has_every_key_of_the_report_and_no_other(host):
    host.two_paths()
    host.inside(WAITS)
    report = host.report()
    head = report["heads"][0]
    path = head["paths"][1]
    keys = {"report": set(report), "head": set(head), "path": set(path), "controller": set(report["controllers"][0]),
            "reason": set(path["reasons"][0])}
    manual = (PLACE / "mpath-top.8").read_text()
    for place, found in keys.items():
        section = re.search(rf"^\.SS Keys of a {place}\n(.*?)(?=^\.S[SH] )", manual, re.MULTILINE | re.DOTALL)
        documented = {name.replace("\\-", "-") for line in re.findall(r"^\.TP\n\.B (.*)$", section[1], re.MULTILINE)
                      for name in re.findall(r"\w+", line.split('"')[0])}
        assert documented == found, f"of a {place}, {sorted(documented ^ found)} is in one of both only"


def test_the_manual_has_every_option_and_every_column(host):
    manual = (PLACE / "mpath-top.8").read_text().replace("\\-", "-")
    options = set(re.findall(r"--[a-z]+", host.run("--help").stdout))
    assert len(options) >= 7 and all(option in manual for option in options), options
    columns = re.search(r"^\.SH COLUMNS\n(.*?)(?=^\.SH )", manual, re.MULTILINE | re.DOTALL)[1]
    assert set(top.COLUMNS) <= set(re.findall(r"[\w%-]+", columns))


def test_the_manual_is_well_formed():
    done = lint(PLACE / "mpath-top.8")
    assert done.returncode == 0 and not done.stdout and not done.stderr, done


def test_a_manual_with_a_macro_that_does_not_exist_is_noticed(tmp_path):
    bad = tmp_path / "bad.8"
    bad.write_text((PLACE / "mpath-top.8").read_text().replace(".SH COLUMNS", ".SHH COLUMNS"))
    done = lint(bad)
    assert done.returncode and ".SHH COLUMNS" in done.stdout, done


def lint(manual):
    return subprocess.run(["mandoc", "-T", "lint", "-W", "warning", manual], text=True, capture_output=True, timeout=60)


# The screen


def test_a_screen_of_80_by_24_shows_heads_paths_and_reasons(host):
    host.two_paths()
    host.inside(WAITS)
    with host.terminal(24, 80) as terminal:
        lines = terminal.wait_for("not used: port").splitlines()
        assert lines[0].startswith("mpath-top ") and "1 head, 2 paths: 1 waiting" in lines[0]
        titles = [top.NAME, "State", "ANAState", "r_IOPS", "w_IOPS", "r_bw", "w_bw", "r_clat", "w_clat"]
        assert lines[1].split() == titles
        assert lines[2].split()[:3] == ["nvme0n1", "waiting", "0/2"]
        assert "2 bios waiting for 6.5 s; ends it: storage: access state changes" in lines[3]
        assert lines[4].split()[:3] == ["nvme0c0n1", "live", "optimized"]
        assert len(lines) == 24 and lines[-1].startswith("q end")
        terminal.wait_for(lambda text: text.splitlines()[4].split()[3:5] == ["0", "0"])
        terminal.send("q")
        assert terminal.end() == 0
    assert "\x1b[?25h" in terminal.sent, "the cursor is not back"


def test_in_80_columns_there_is_room_for_what_works(host):
    host.two_paths()
    with host.terminal(24, 80) as terminal:
        assert terminal.wait_for("nvme0c1n1").splitlines()[2].split()[-1] == "Inflights"


def test_a_screen_of_40_by_10_shows_what_there_is_room_for(host):
    host.controller(0)
    for number in range(1, 9):
        host.head(number)
        host.path(0, number)
    with host.terminal(10, 40) as terminal:
        lines = terminal.wait_for("nvme0n1").splitlines()
        assert len(lines) == 10 and all(len(line) <= 40 for line in lines)
        assert "nvme0n8" not in terminal.text
        terminal.send("G")
        lines = terminal.wait_for("nvme0c0n8").splitlines()
        assert lines[-2].split()[0] == "nvme0c0n8" and "of 16" in lines[-1]
        terminal.send("\x1b[1~")
        terminal.wait_for("nvme0n1 ")
        terminal.send("\x1b[C" * 3)
        terminal.wait_for(lambda text: "r_bw" in text and "State" not in text and "nvme0n1 " in text)
        terminal.send("q")
        assert terminal.end() == 0


@pytest.mark.parametrize("size", [(1, 80), (2, 20), (3, 5), (4, 1), (1, 1)])
def test_even_a_tiny_screen_is_drawn(host, size):
    host.two_paths()
    host.inside(WAITS)
    with host.terminal(*size) as terminal:
        terminal.wait_for(lambda text: text.strip())
        for key in "\x1b[B", "s", "h", "\x1b[C", "h":
            terminal.send(key)
        terminal.resize(24, 80)
        terminal.wait_for("nvme0c1n1")
        terminal.resize(*size)
        terminal.wait_for(lambda text: text.strip())
        terminal.send("q")
        assert terminal.end() == 0


def test_the_screen_follows_what_comes_and_goes(host):
    host.two_paths()
    with host.terminal(24, 80) as terminal:
        terminal.wait_for("nvme0c1n1")
        host.head(2)
        host.path(1, 2)
        terminal.wait_for("nvme0c1n2")
        host.remove("block/nvme0n1/multipath/nvme0c0n1")
        host.remove("block/nvme0c0n1")
        terminal.wait_for("nvme0, tcp 127.0.0.1:4420: live, leads to no head")
        assert "nvme0c0n1" not in terminal.text
        host.remove("block")
        terminal.wait_for("it is no sysfs")
        host.two_paths()
        terminal.wait_for("nvme0c0n1")
        terminal.send("q")
        assert terminal.end() == 0


def test_a_head_that_is_asked_for_and_goes_is_waited_for(host):
    host.two_paths()
    with host.terminal(24, 80, "--head", "nvme0n2") as terminal:
        terminal.wait_for("there is no head nvme0n2 now")
        host.head(2)
        terminal.wait_for("nvme0n2 ")
        assert "nvme0n1 " not in terminal.text


def test_keys_sort_stop_and_help(host):
    host.two_paths()
    with host.terminal(24, 80) as terminal:
        terminal.wait_for("sort name")
        terminal.send("s")
        terminal.wait_for("sort trouble")
        terminal.send("S")
        terminal.wait_for("sort name")
        terminal.send("r")
        terminal.wait_for("sort name reversed")
        terminal.send("p")
        terminal.wait_for("stopped")
        host.head(2)
        time.sleep(0.5)
        assert "nvme0n2" not in terminal.text
        terminal.send("p")
        terminal.wait_for("nvme0n2")
        terminal.send("h")
        terminal.wait_for("turn the order around")
        terminal.send("h")
        terminal.wait_for("nvme0n2")
        terminal.send("\x1b")
        assert terminal.end() == 0


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 1), (signal.SIGINT, 130)])
def test_a_signal_ends_it_and_leaves_the_terminal_as_it_was(host, number, status):
    host.two_paths()
    with host.terminal(24, 80) as terminal:
        terminal.wait_for("nvme0c1n1")
        terminal.signal(number)
        assert terminal.end() == status
        assert "\x1b[?25h" in terminal.sent, "the cursor is not back"


def test_a_thousand_heads_can_be_looked_through(host):
    for number in range(3):
        host.controller(number)
    head, path = host.head(1), host.path(0)
    host.path(1)
    # All have the same files, as making so many takes long.
    for number in range(2, 1001):
        (host.sysfs / f"block/nvme0n{number}").symlink_to(head)
        for controller in range(2):
            (host.sysfs / f"block/nvme0c{controller}n{number}").symlink_to(path)
    begin = time.monotonic()
    reading = host.reader().read()
    cost = time.monotonic() - begin
    assert len(reading.report["heads"]) == 1000
    assert cost < 20, f"a reading takes {cost} s"
    with host.terminal(24, 80, patience=60) as terminal:
        terminal.wait_for("1000 heads, 2000 paths: all ok")
        terminal.send("\x1b[4~")
        terminal.wait_for("nvme2, tcp 127.0.0.1:4422: live, leads to no head")
        assert "nvme0n1000" in terminal.text
        terminal.send("q")
        assert terminal.end() == 0
