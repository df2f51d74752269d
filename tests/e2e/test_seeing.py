# SPDX-License-Identifier: GPL-2.0
"""debugfs on heads: on one that works, on those that are stuck, and on one that is only held open."""

import contextlib
import os
import subprocess
import threading
import time

from tests.e2e.case import test
from tests.e2e.test_loss import port_of
from tests.guest import fio
from tests.guest import head as heads
from tests.guest import inside
from tests.guest import modules
from tests.guest import passthrough
from tests.guest import wait
from tests.guest.reader import Reader
from tests.guest.target import Target

TRANSPORTS = ("loop", "tcp")
#: How long a test leaves something as it is, in seconds, to see that the file tells the time.
A_WHILE = 0.5
#: How many processes read the file at once, and how often a path is lost meanwhile.
LOOKERS = 2
LOSSES = 3


@test(over=TRANSPORTS)
def a_head_shows_what_its_paths_have_carried(transport):
    with Target("seeing", ports=(transport,) * 2) as target:
        target.ports[1].ana_state = "non-optimized"
        target.connect_all()
        head = target.head
        better, worse = sorted(head.paths(), key=lambda path: path.condition != "optimized")
        for _ in range(3):
            passthrough.read_directly(head.device)
        seen = inside.read(head.name)
        assert (seen["state"], seen["policy"], seen["paths"], seen["usable"]) == ("live", "numa", "2", "2"), seen.text
        assert (seen["shortlist"], seen["waiting"], seen["fenced"]) == (better.name, "0", "0"), seen.text
        for path in (better, worse):
            lines = seen.paths[path.name]
            assert (lines["port"], lines["port_state"], lines["usable"]) == (path.controller, "live", "yes"), seen.text
            stat = path.read("stat").split()
            assert [lines[key] for key in ("reads", "read_sectors", "writes")] == [stat[0], stat[2], stat[4]], seen.text
        assert seen.paths[better.name].number("reads") >= 3, seen.text
        assert seen.paths[worse.name]["access"] == "non-optimized", seen.text


@test(over=TRANSPORTS)
def a_head_whose_storage_is_inaccessible_says_so(transport):
    with Target("seeing", ports=(transport,) * 2) as target:
        target.connect_all()
        head = target.head
        target.set_ana_state("inaccessible")
        with Reader(head.device) as reader:
            reader.start()
            head.wait_for_parking()
            time.sleep(A_WHILE)
            seen = inside.read(head.name)
            assert (seen["waiting"], seen["until"], seen["usable"]) == ("1", "storage: access state changes", "0"), seen.text
            assert seen.number("waiting_ms") >= A_WHILE * 900, seen.text
            for lines in seen.paths.values():
                assert (lines["access"], list(lines.reasons)) == ("other", ["access"]), seen.text
                assert lines.reasons["access"] >= seen.number("waiting_ms"), seen.text
            target.set_ana_state("optimized")
            assert reader.outcome() == "data"
        seen = inside.read(head.name)
        assert (seen["waiting"], seen["parked"]) == ("0", "1"), seen.text


@test
def a_head_whose_controllers_connect_again_says_so():
    with Target("seeing", ports=("tcp",) * 2) as target:
        controllers = target.connect_all()
        head = target.head
        for port in target.ports:
            port.stop()
        with Reader(head.device) as reader:
            heads.wait_for_state(controllers[0], "connecting")
            heads.wait_for_state(controllers[1], "connecting")
            reader.start()
            head.wait_for_parking()
            time.sleep(A_WHILE)
            seen = inside.read(head.name)
            assert seen["until"] == "driver: port recovers or is given up", seen.text
            for lines in seen.paths.values():
                assert (lines["port_state"], lines["until"]) == ("recovering", seen["until"]), seen.text
                assert lines.reasons["port"] >= A_WHILE * 900, seen.text
            for port in target.ports:
                port.start()
            assert reader.outcome() == "data"


@test(over=TRANSPORTS)
def a_head_without_paths_says_when_it_goes(transport):
    with Target("seeing", ports=(transport,)) as target:
        target.connect_all()
        head = target.head
        head.write("delayed_removal_secs", 600)
        target.disconnect()
        seen = inside.read(head.name)
        assert (seen["paths"], seen["removal_timer"]) == ("0", "armed"), seen.text
        # The timer has one reference.
        assert seen.number("references") == seen.number("references_of_driver") + 1, seen.text
        assert 500_000 < seen.number("removal_in_ms") <= 600_000, seen.text
        with Reader(head.device) as reader:
            reader.start()
            head.wait_for_parking()
            assert inside.read(head.name)["until"] == "removal timer"
            head.write("delayed_removal_secs", 0)
            assert reader.outcome() == "EIO"
        wait.until(lambda: not inside.file(head.name).exists(), "the file to go")


@test(over=TRANSPORTS)
def a_head_that_is_held_open_has_its_file_until_it_is_closed(transport):
    with Target("seeing", ports=(transport,)) as target:
        target.connect_all()
        head = target.head
        with Reader(head.device):
            target.disconnect()
            wait.until(lambda: not os.path.exists(head.device), "the disk to go")
            seen = inside.read(head.name)
            assert (seen["state"], seen["openers"], seen["references"]) == ("dead", "1", "1"), seen.text
        wait.until(lambda: not inside.file(head.name).exists(), "the file to go")
    modules.unload()


@test(over=TRANSPORTS)
def a_file_that_is_open_keeps_the_library_and_nothing_else(transport):
    with contextlib.ExitStack() as stack:
        with Target("seeing", ports=(transport,)) as target:
            target.connect_all()
            file = stack.enter_context(open(inside.file(target.head.name)))
            assert inside.parse(file.read())["state"] == "live"
        modules.unload(*{line.split()[0] for line in modules.lines()} - {"libmultipath"})
        refused = subprocess.run(["rmmod", "libmultipath"], capture_output=True)
        assert refused.returncode, "the library went away under an open file"
        with contextlib.suppress(OSError):
            file.seek(0)
            assert not file.read(), "a head that has gone says something"
    modules.unload()


@test(over=TRANSPORTS, limit=180)
def constant_looks_at_a_head_disturb_nobody(transport):
    with Target("seeing", ports=(transport,) * 2) as target:
        target.connect_all()
        head = target.head
        with contextlib.ExitStack() as stack:
            load = stack.enter_context(fio.Load(head.device))
            lookers = [stack.enter_context(_Looker(head.name)) for _ in range(LOOKERS)]
            for _ in range(LOSSES):
                (carrier, *_) = load.carriers(head)
                port = port_of(target, carrier)
                heads.delete_controller(carrier)
                load.wait_for_io(head)
                target.connect(port)
                wait.until(lambda: len(head.paths()) == 2, "the path to be back")
            load.finish()
            assert all(looker.looks > LOSSES for looker in lookers), "nobody has looked"


class _Looker:
    """Reads a head's file again and again, each time as a whole."""

    def __init__(self, name):
        self.looks = 0
        self._name = name
        self._end = threading.Event()
        self._wrong = None
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exception):
        self._end.set()
        self._thread.join()
        if self._wrong and not exception[0]:
            raise self._wrong

    def _look(self):
        try:
            while not self._end.wait(0.01):
                seen = inside.read(self._name)
                assert all("usable" in lines and "flushes" in lines for lines in seen.paths.values()), seen.text
                self.looks += 1
        except (AssertionError, OSError, KeyError) as error:
            self._wrong = error
