# SPDX-License-Identifier: GPL-2.0
"""Draws a demonstration's report: the load of each path over time, its events, and when I/O stood still.

A program of its own, since matplotlib is in the lab's Python environment: plot.py report.json picture.svg
"""

import json
import sys
from itertools import pairwise

import matplotlib

matplotlib.use("svg")

from matplotlib import pyplot

COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377")
STALL = "#bbbbbb"
LOSS = "#cc3311"
EVENT = "#555555"


def draw(report, picture) -> None:
    acts = [act for act in report["acts"] if len(act["samples"]) > 2]
    figure, rows = pyplot.subplots(len(acts), 2, figsize=(14, 3.9 * len(acts)), squeeze=False,
                                   gridspec_kw={"width_ratios": (3, 1.25)})
    for act, (axes, notes) in zip(acts, rows, strict=True):
        _draw_throughput(act, axes)
        _draw_events(act, axes)
        _write_events(act, notes)
    figure.suptitle(_title(report), x=0.01, ha="left", fontsize=12, fontweight="bold")
    figure.tight_layout(rect=(0, 0, 1, 0.98))
    figure.savefig(picture)


def _title(report) -> str:
    return (f"Linux {report['kernel']}, {report['modules']} modules: {report['bytes_verified'] / 1e6:.0f} MB verified, "
            f"{report['errors']} errors, {report['path_losses']} path losses, "
            f"longest stall {report['longest_stall_ms']} ms")


def _draw_throughput(act, axes) -> None:
    """Stacks the paths' throughput, each step between two samples at the mean of it."""
    begin = act["begin"]
    addresses = list(act["samples"][-1]["paths"])
    times = [sample["t"] - begin for sample in act["samples"]]
    series = [[_speed(address, *pair) for pair in pairwise(act["samples"])] for address in addresses]
    axes.stackplot(times[1:], series, labels=addresses, colors=COLOURS, step="pre", alpha=0.85, linewidth=0)
    for stall_begin, stall_end in act["stalls"]:
        axes.axvspan(stall_begin - begin, stall_end - begin, color=STALL, alpha=0.8, linewidth=0, zorder=0.5)
    axes.set_title(f"{act['head']}: {act['title']}", loc="left", fontsize=10, pad=20)
    axes.set_xlabel("seconds of I/O")
    axes.set_ylabel("MB/s")
    axes.set_xlim(times[0], times[-1])
    axes.set_ylim(0, 1.15 * max(map(sum, zip(*series, strict=True))))
    axes.spines[["top", "right"]].set_visible(False)


def _speed(address, before, after) -> float:
    size = after["paths"].get(address, (0, 0))[1] - before["paths"].get(address, (0, 0))[1]
    return size / (after["t"] - before["t"]) / 1e6


def _draw_events(act, axes) -> None:
    for number, event in enumerate(act["events"], 1):
        colour = LOSS if event["loss"] else EVENT
        time = event["t"] - act["begin"]
        axes.axvline(time, color=colour, linestyle="--", linewidth=1)
        axes.annotate(str(number), (time, 1.02), xycoords=("data", "axes fraction"), ha="center", va="bottom",
                      fontsize=8, color="white", fontweight="bold",
                      bbox={"boxstyle": "circle,pad=0.25", "color": colour})


def _write_events(act, axes) -> None:
    """Lists the paths and, by number, the events, next to the picture of them."""
    axes.axis("off")
    handles = [pyplot.Rectangle((0, 0), 1, 1, color=COLOURS[number % len(COLOURS)], alpha=0.85)
               for number in range(len(act["paths"]))]
    labels = [f"{address}  {path['share']:.0%}" for address, path in act["paths"].items()]
    handles.append(pyplot.Rectangle((0, 0), 1, 1, color=STALL, alpha=0.8))
    labels.append("nothing completed")
    axes.legend(handles, labels, loc="upper left", fontsize=8, frameon=False, bbox_to_anchor=(-0.1, 1.12))
    top = 1.03 - 0.072 * len(labels)
    for number, event in enumerate(act["events"], 1):
        axes.text(-0.07, top - 0.072 * number,
                  f"{number}  {event['text']}  ({_stall(event)})", fontsize=8, transform=axes.transAxes,
                  color=LOSS if event["loss"] else EVENT)


def _stall(event) -> str:
    return f"{event['longest_stall_ms']} ms" if event["longest_stall_ms"] else "no stall"


if __name__ == "__main__":
    with open(sys.argv[1]) as file:
        draw(json.load(file), sys.argv[2])
