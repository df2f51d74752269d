# SPDX-License-Identifier: GPL-2.0
"""Draws the figures of `make bench`: choosing a path by the number of paths, and the layer's cost per I/O.

A program of its own, since matplotlib is in the lab's Python environment: plot_bench.py bench.json picture.svg
"""

import json
import re
import sys

import matplotlib

matplotlib.use("svg")

from matplotlib import pyplot

COLOURS = {"stock": "#ee6677", "ours": "#4477aa"}
LINES = {"optimized idle": "-", "optimized busy": "--", "non-optimized idle": ":"}
_CHOOSING = re.compile(r"choosing: (\S+), (\d+) (\S+ \S+) paths")
_LAYER = re.compile(r"layer: (.*)")


def draw(figures, picture) -> None:
    choosing = [(*match.groups(), figure) for figure in figures if (match := _CHOOSING.fullmatch(figure["figure"]))]
    layers = [(match[1], figure) for figure in figures if (match := _LAYER.fullmatch(figure["figure"]))]
    policies = list(dict.fromkeys(policy for policy, *_ in choosing))
    canvas, axes = pyplot.subplots(1, len(policies) + 1, figsize=(5 * len(policies) + 7, 5))
    for policy, ax in zip(policies, axes[:-1], strict=True):
        _draw_choosing(ax, policy, [row[1:] for row in choosing if row[0] == policy])
    _draw_layers(axes[-1], layers)
    canvas.tight_layout()
    canvas.savefig(picture)


def _draw_choosing(ax, policy, rows) -> None:
    for state, line in LINES.items():
        points = sorted((int(paths), figure) for paths, which, figure in rows if which == state)
        for side, colour in COLOURS.items():
            ax.plot([paths for paths, _ in points], [figure[side] for _, figure in points], line, color=colour,
                    marker="o", markersize=3, label=f"{side}, {state}")
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ax.set_title(f"choosing by {policy}", loc="left", fontsize=10)
    ax.set_xlabel("paths")
    ax.set_ylabel("instructions")
    ax.legend(fontsize=7, frameon=False)
    ax.spines[["top", "right"]].set_visible(False)


def _draw_layers(ax, rows) -> None:
    places = range(len(rows))
    for shift, (side, colour) in zip((0.2, -0.2), COLOURS.items(), strict=True):
        ax.barh([place + shift for place in places], [figure[side] for _, figure in rows], 0.4, color=colour, label=side)
    ax.set_yticks(list(places), [name for name, _ in rows], fontsize=7)
    ax.invert_yaxis()
    ax.set_title("the layer's cost per I/O", loc="left", fontsize=10)
    ax.set_xlabel("instructions")
    ax.legend(fontsize=7, frameon=False)
    ax.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    with open(sys.argv[1]) as file:
        draw(json.load(file), sys.argv[2])
