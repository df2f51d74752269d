# SPDX-License-Identifier: GPL-2.0
"""The library's trace events: about a path that is lost, about I/O that waits, and about a path that fails."""

import re
import time

from tests.e2e.case import test
from tests.e2e.proxy import Proxy
from tests.e2e.trace import TRACING
from tests.e2e.trace import Trace
from tests.guest import inside
from tests.guest import modules
from tests.guest import passthrough
from tests.guest import wait
from tests.guest.kernel_log import KernelLog
from tests.guest.reader import BLOCK
from tests.guest.reader import Reader
from tests.guest.target import Target

TRANSPORTS = ("loop", "tcp")
#: A path error, internal, for which NVMe tries another path.
PATH_ERROR = 0x300
SECTORS = BLOCK // 512
#: Fields and how they are printed, as docs/operating.md has them.
FIELDS = {
    "mpath_park": ("head", "rwbs", "sector", "nr_sectors", "why", "waiting"),
    "mpath_resubmit": ("head", "rwbs", "sector", "nr_sectors", "waiting"),
    "mpath_failover": ("head", "path", "rwbs", "sector", "nr_sectors", "status", "fenced"),
    "mpath_path_state": ("head", "path", "access", "reasons", "trust"),
    "mpath_port_state": ("port", "state"),
    "mpath_retry": ("head", "path", "pause_ms"),
    "mpath_head_state": ("head", "state"),
}
ALL = tuple(f"mpath/{name}" for name in FIELDS)


class _Said:
    """An event with the fields of its line."""

    def __init__(self, event):
        self.name = event.name
        self.time = event.time
        self.text = event.text
        pairs = [word.split("=", 1) for word in event.text.split(" ")]
        assert tuple(key for key, _ in pairs) == FIELDS[event.name], f"{event.name}: {event.text}"
        self.fields = dict(pairs)

    def __getattr__(self, key):
        return self.fields[key]

    def __repr__(self):
        return f"{self.name}: {self.text}"


def said(trace, *names) -> list:
    """The events in the trace, of these names or all."""
    return [_Said(event) for event in trace.events() if event.name in FIELDS and (not names or event.name in names)]


@test
def every_event_is_there_with_its_fields():
    modules.load("nvme-core")
    found = {directory.name for directory in (TRACING / "events" / "mpath").iterdir() if directory.is_dir()}
    assert found == set(FIELDS), f"there are {found}"
    for name, fields in FIELDS.items():
        text = (TRACING / "events" / "mpath" / name / "format").read_text()
        printed = re.search(r'^print fmt: "([^"]*)"', text, re.MULTILINE)[1]
        assert tuple(word.split("=")[0] for word in printed.split(" ")) == fields, f"{name} prints {printed}"
        # A reader of the trace does not know the kernel's names for numbers.
        assert "MPATH_" not in text, text


@test(over=TRANSPORTS)
def a_read_that_waits_is_traced_from_begin_to_end(transport):
    with Target("tracing", ports=(transport,)) as target:
        target.connect_all()
        head = target.head
        (path,) = head.paths()
        with Reader(head.device, offset=BLOCK) as reader, Trace(*ALL) as trace:
            target.set_ana_state("inaccessible")
            reader.start()
            head.wait_for_parking()
            time.sleep(0.2)
            target.set_ana_state("optimized")
            assert reader.outcome() == "data"
            events = said(trace)
        park = next(event for event in events if event.name == "mpath_park")
        assert (park.head, park.rwbs[0], park.why, park.waiting) == (head.name, "R", "no-path", "1"), events
        assert (int(park.sector), int(park.nr_sectors)) == (SECTORS, SECTORS), events
        resubmit = next(event for event in events if event.name == "mpath_resubmit")
        assert (resubmit.head, resubmit.sector, resubmit.waiting) == (head.name, park.sector, "0"), events
        assert resubmit.time - park.time >= 0.2, events
        states = [event for event in events if event.name == "mpath_path_state" and event.path == path.name]
        changes = [event.access for event in states if event.access.split(">")[0] != event.access.split(">")[1]]
        assert changes == ["optimized>other", "other>optimized"], events
        # The path comes back before the read goes on.
        assert states[-1].time <= resubmit.time, events


@test(over=TRANSPORTS)
def the_life_of_a_head_and_its_paths_is_traced(transport):
    with Target("tracing", ports=(transport,) * 2) as target, Trace(*ALL) as trace:
        controllers = target.connect_all()
        head = target.head
        paths = [path.name for path in head.paths()]
        target.disconnect()
        wait.until(lambda: not inside.file(head.name).exists(), "the head to go")
        events = said(trace)
    lives = [event.state for event in events if event.name == "mpath_head_state" and event.head == head.name]
    assert lives == ["new>live", "live>dying", "dying>dead"], events
    for path in paths:
        reasons = [event.reasons for event in events if event.name == "mpath_path_state" and event.path == path]
        # The path is set up, used, and removed.
        assert reasons[0] == "not-ready>none" and reasons[-1] == "none>removing", events
    for controller in controllers:
        states = [event.state for event in events if event.name == "mpath_port_state" and event.port == controller]
        assert any(state.endswith(">live") for state in states), events
        assert states[-1].split(">")[1] in ("dead", "draining"), events


@test
def a_path_that_fails_is_traced_until_it_works():
    with Target("tracing", ports=("tcp",) * 2) as target, Proxy(target.ports[0]) as proxy:
        target.ports[1].ana_state = "non-optimized"
        failing = target.connect(proxy)
        target.connect(target.ports[1])
        target.wait_for_heads(2)
        head = target.head
        path = next(path for path in head.paths() if path.controller == failing)
        before = inside.read(head.name).paths[path.name]
        with Trace(*ALL) as trace:
            proxy.refuse(passthrough.READ, PATH_ERROR)
            for _ in range(20):
                passthrough.read_directly(head.device)
            proxy.accept(passthrough.READ)
            wait.until(lambda: _reads_well(head, path), "the path to work again")
            events = said(trace)
            after = inside.read(head.name).paths[path.name]
        failed = [event for event in events if event.name == "mpath_failover"]
        assert failed and {event.path for event in failed} == {path.name}, events
        assert all(event.rwbs[0] == "R" and event.status != "0" and event.fenced == "no" for event in failed), events
        # As many events as the counter says.
        assert len(failed) == after.number("failovers") - before.number("failovers"), events
        trusts = [event.trust for event in events if event.name == "mpath_path_state" and event.path == path.name]
        trusts = [trust for trust in trusts if trust.split(">")[0] != trust.split(">")[1]]
        assert len(trusts) == len([event for event in events if event.name == "mpath_path_state"]), events
        assert trusts[0] == "trusted>suspected" and trusts[-1].endswith(">trusted"), events
        rests = [trust for trust in trusts if trust.endswith(">resting")]
        assert rests and len(rests) == after.number("pauses") - before.number("pauses"), events
        retries = [event for event in events if event.name == "mpath_retry"]
        assert retries and int(retries[0].pause_ms) == 1, events
        assert all(int(event.pause_ms) <= 100 for event in retries), events


@test
def the_log_says_once_that_a_path_fails_and_once_that_it_works():
    with Target("tracing", ports=("tcp",) * 2) as target, Proxy(target.ports[0]) as proxy:
        target.ports[1].ana_state = "non-optimized"
        failing = target.connect(proxy)
        target.connect(target.ports[1])
        target.wait_for_heads(2)
        head = target.head
        path = next(path for path in head.paths() if path.controller == failing)
        log = KernelLog()
        for _ in range(2):
            proxy.refuse(passthrough.READ, PATH_ERROR)
            for _ in range(20):
                passthrough.read_directly(head.device)
            proxy.accept(passthrough.READ)
            wait.until(lambda: _reads_well(head, path), "the path to work again")
        failures = inside.read(head.name).paths[path.name].number("failures")
        assert failures > 2, "the path has hardly failed"
        said = [line.partition("] ")[2] for line in log.new_lines() if path.name in line and ": path " in line]
        # The library does not log that the path fails a second time within a minute.
        first, second = said
        assert first == f"block {head.name}: path {path.name} fails I/O, 1 times up to now", said
        match = re.fullmatch(f"block {head.name}: path {path.name} works again, it has failed I/O (\\d+) times up to now",
                             second)
        assert match and 1 < int(match[1]) < failures, said


def _reads_well(head, path) -> bool:
    passthrough.read_directly(head.device)
    return inside.read(head.name).paths[path.name]["trust"] == "trusted"
