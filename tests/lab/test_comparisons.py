# SPDX-License-Identifier: GPL-2.0
"""The differences between two runs, and the least that a storm must have done."""

import copy

import pytest

from lab.host import log
from lab.suites import parity
from lab.suites import storm

TRACE = ("block_bio_remap: 259,0 WS 2064 + 8 <- (259,1) 2064\n"
         "nvme_setup_cmd: nvme0: disk=nvme0c0n1, qid=1, cmdid=N, slba=2064\n"
         "nvme_complete_rq: nvme0: disk=nvme0c0n1, qid=1, cmdid=N, res=0x0, retries=0, flags=0xc, status=0x0")
OTHER = TRACE.replace("259,0", "259,3").replace("nvme0:", "nvme1:").replace("c0n1", "c1n1")
STOCK = {
    ("life: paths", "first path change: nvme0c0n1 numa_nodes"): "1",
    ("life: parked", "no path is usable: a read that must not wait"): "parked",
    ("plain: trace", "queue-depth: write"): TRACE,
    ("plain: sysfs", "size"): "0444 131072",
}
OURS = STOCK | {
    ("life: paths", "first path change: nvme0c0n1 numa_nodes"): "",
    ("life: parked", "no path is usable: a read that must not wait"): "EAGAIN",
    ("plain: trace", "queue-depth: write"): OTHER,
}
ACTS = ("life", "plain")


def compare(ours, accepted="", acts=ACTS):
    lines = parity.read_accepted(parity.ACCEPTED.read_text() + accepted)
    # The comparison looks only at the lines of the file that these few observations need.
    good = parity.differences(STOCK, OURS)
    lines = [line for line in lines if any(map(line.covers, good)) or line.reason == "test"]
    return parity.Comparison(len(ours), parity.differences(STOCK, ours), lines, acts)


def test_an_accepted_difference_is_good():
    assert compare(OURS).good


WRONG = {
    "a path's node that is not the one for the next bio": {
        ("life: paths", "first path change: nvme0c0n1 numa_nodes"): "0"},
    "a trace on another path that is another trace": {
        ("plain: trace", "queue-depth: write"): OTHER.replace("retries=0", "retries=1")},
    "a trace on another path that lacks a line": {
        ("plain: trace", "queue-depth: write"): OTHER.rpartition("\n")[0]},
    "a trace on another head": {
        ("plain: trace", "queue-depth: write"): OTHER.replace("(259,1)", "(259,7)")},
    "an attribute that differs": {("plain: sysfs", "size"): "0444 131073"},
    "an attribute that is new": {("plain: sysfs", "other"): "0444 1"},
    "another answer": {("life: parked", "no path is usable: a read that must not wait"): "EIO"},
}


@pytest.mark.parametrize("what", WRONG)
def test_a_difference_that_nobody_accepts_is_bad(what):
    comparison = compare(OURS | WRONG[what])
    assert comparison.unknown and not comparison.good


def test_a_difference_is_told_in_a_line_with_both_texts():
    difference, = compare(OURS | {("plain: sysfs", "size"): "0444\n131073"}).unknown
    assert parity.in_a_line(difference, "stock", "ours") == (
        "plain: sysfs | size: stock 0444 131072, ours 0444\\n131073")


def test_an_observation_that_is_missing_is_bad():
    ours = dict(OURS)
    del ours["plain: sysfs", "size"]
    assert not compare(ours).good


def test_a_line_that_accepts_nothing_is_bad():
    assert not compare(OURS, "plain: log | nvme0n1 | * | * | test\n").good


def test_a_line_that_accepts_nothing_is_bad_in_the_whole_comparison_whatever_it_is_about():
    line = "* | nvme0n1 | * | * | test\n"
    assert compare(OURS, line).good
    assert not compare(OURS, line, acts=()).good


def test_a_line_about_another_act_is_not_judged_by_this_one():
    assert compare(OURS, "pcie: log | nvme0n1 | * | * | test\n").good


@pytest.mark.parametrize("line", ("a | b | c | d", "a | b | c | d | ", "a | b"))
def test_a_line_without_a_reason_is_refused(line):
    with pytest.raises(log.Failure):
        parity.read_accepted(line)


def test_the_acts_of_the_short_form_exist():
    from tests.parity import guest
    assert set(parity.SHORT) <= set(guest.ACTS)


# Storms

ACTORS = storm.STEADY + storm.SMALL + storm.SAMPLES
SECONDS = 45
PLANTS = {plant: musts for actor in ACTORS for plant, musts in storm.FLOORS[actor].items()}
SMALL = [plant for plant in PLANTS if plant.startswith("small")]
#: The last record of a storm that has just done enough.
ENOUGH = {
    "type": "end", "path_flaps": 5, "teardowns_with_opener": 2 * len(SMALL), "opens": 1, "rounds": len(PLANTS),
    "ios": 40 * (len(PLANTS) - len(SMALL)), "answers": {"EIO": 3 * len(SMALL), "end of file": len(SMALL)},
    "events": {f"{plant}: {must}": 1 for plant, musts in PLANTS.items() for must in musts},
    "removals": {f"{plant}: paths": {"held": [700, 700], "alone": []} for plant in SMALL},
}


def test_enough_is_enough():
    assert storm.missing(ENOUGH, ACTORS, SECONDS) == []


@pytest.mark.parametrize("name", ENOUGH["events"])
def test_a_storm_without_an_event_is_none(name):
    last = copy.deepcopy(ENOUGH)
    del last["events"][name]
    assert storm.missing(last, ACTORS, SECONDS) == [f"too little happened: {name}: 0, where 1 is the least"]


@pytest.mark.parametrize("name", ("path_flaps", "teardowns_with_opener", "opens", "rounds", "ios"))
def test_a_storm_with_too_little_is_none(name):
    assert storm.missing(ENOUGH | {name: 0}, ACTORS, SECONDS)


def test_a_storm_without_any_teardown_is_none():
    last = copy.deepcopy(ENOUGH) | {"teardowns_with_opener": 0, "answers": {}, "removals": {}}
    last["events"] = {name: count for name, count in last["events"].items() if "teardown" not in name}
    assert len(storm.missing(last, ACTORS, SECONDS)) == 3 * len(SMALL) + 1


def test_a_storm_whose_teardowns_remove_nothing_is_none():
    removals = {how: {"held": times["held"][1:], "alone": []} for how, times in ENOUGH["removals"].items()}
    assert storm.missing(ENOUGH | {"removals": removals}, ACTORS, SECONDS) == [
        f"too little happened: {plant}: removals under an opener: 1, where 2 is the least" for plant in SMALL]


def test_a_storm_whose_openers_get_no_answer_is_none():
    assert storm.missing(ENOUGH | {"answers": {"EIO": 8}}, ACTORS, SECONDS)


def test_a_soak_needs_no_teardown():
    plants = [plant for actor in storm.STEADY for plant in storm.FLOORS[actor]]
    events = {name: count for name, count in ENOUGH["events"].items() if name.partition(": ")[0] in plants}
    last = {"path_flaps": 60, "opens": 1, "rounds": 3, "ios": 120, "events": events}
    assert storm.missing(last, storm.STEADY, 600) == []
    assert storm.missing(last | {"path_flaps": 59}, storm.STEADY, 600)


def test_a_storm_without_records_is_none():
    assert storm.missing({}, ACTORS, SECONDS)


def test_the_floors_are_what_the_plants_must_have():
    from tests.storm import run
    from tests.storm.tally import Tally
    for actor, makers in run.ACTORS.items():
        plants = [make(Tally()) for make in makers]
        assert {plant.name: plant.musts for plant in plants} == storm.FLOORS[actor]
        assert all(plant.musts for plant in plants)


def story(status, **last):
    from lab.host import vm
    one = storm._Story(None, storm._Plan("storm", "ours", 7, ACTORS, {"plain": SECONDS}), "plain")
    one.result, one.last = vm.Result(status, False, 7.0, 3.0), ENOUGH | last
    return one


def test_a_storm_that_ends_well_passes():
    assert story(0, left=[]).passed


@pytest.mark.parametrize("status,last", (
    (None, {"left": []}), (1, {"left": []}), (0, {"left": [], "type": "sums"}), (0, {"left": ["a thread"]}),
    (0, {"left": [], "events": {}})))
def test_a_storm_that_does_not_end_well_fails(status, last):
    assert not story(status, **last).passed
