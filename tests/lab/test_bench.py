# SPDX-License-Identifier: GPL-2.0
"""The figures that `make bench` computes from the guests' output, and its word that a target is missed."""

import json

import pytest

from lab.measure import bench

#: The instructions that stock adds to a read of 4 KiB now, by numa.
STOCK = 560.0


class Layers:
    """A guest whose layers cost so many times as much as stock's."""

    def __init__(self, times=1):
        self._times = times

    def layer(self, policy, paths, load):
        assert paths == bench.FEW
        earlier, _ = bench.EARLIER[policy, load]
        return self._times * earlier * STOCK / bench.EARLIER["numa", "4 KiB"][0]


def without_patch(times):
    return list(bench._layers_without_patch(Layers(), Layers(times)))


def test_the_layer_without_the_patch_has_a_figure_for_each_policy_and_load():
    from tests.bench import guest
    assert list(bench.EARLIER) == [(policy, load) for policy in bench.POLICIES for load in guest.LOADS]
    assert [figure.figure for figure in without_patch(1)] == [
        f"layer without the patch: {policy}, 2 paths, {load}" for policy, load in bench.EARLIER]


def test_the_layer_without_the_patch_is_compared_by_its_ratio_and_not_by_instructions():
    earlier = {key: ours / stock for key, (stock, ours) in bench.EARLIER.items()}
    assert all(figure.met for figure in without_patch(min(earlier.values()) - 1e-6))
    assert not any(figure.met for figure in without_patch(max(earlier.values()) + 1e-6))
    (first, *_) = without_patch(earlier["numa", "4 KiB"] - 1e-6)
    assert first.met and first.ours > bench.EARLIER["numa", "4 KiB"][1]


@pytest.mark.parametrize("limit,text", ((0.5, "ratio <= 0.5"), (438.3 / 553.7, "ratio <= 0.7916")))
def test_a_target_is_shown_with_few_digits_and_compared_with_all(limit, text):
    target = bench.Target("ratio", limit)
    assert str(target) == text
    assert target.met(bench.Figure("a", "b", 1, limit)) and not target.met(bench.Figure("a", "b", 1, limit + 1e-6))


def test_the_guest_without_the_patch_is_always_quick(monkeypatch):
    measured = {}
    monkeypatch.delenv("QUICK", raising=False)
    monkeypatch.setattr(bench.setup, "ensure", lambda: None)
    monkeypatch.setattr(bench.kernel, "ensure", lambda: None)
    monkeypatch.setattr(bench, "_measure", lambda built, which, quick: measured.setdefault(which, quick))
    monkeypatch.setattr(bench, "_measure_samples", lambda built: None)
    monkeypatch.setattr(bench, "_report", lambda built, seen, samples: ("", 0))
    bench.run()
    assert measured == {"stock": False, "ours": False, "around": True}


def test_a_driver_in_rust_is_compared_with_its_twin():
    seen = bench.Seen(None)
    for driver, count in {"c": 1000, "rust": 900, "c_mq": 2000, "rust_mq": 2101}.items():
        seen.take(json.dumps({"type": "sample", "driver": driver, "load": "4 KiB", "count": [count, count + 1, count - 1]}))
    bios, requests = bench._twins(seen)
    assert (bios.ratio, bios.met) == (0.9, None)
    assert (round(requests.ratio, 4), requests.met) == (1.0505, False)
