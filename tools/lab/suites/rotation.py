# SPDX-License-Identifier: GPL-2.0
"""Turns: `make test` runs a part of the things for which it lacks time, each day another; DAY= repeats a day's part."""

import datetime
import os

from lab.host import log


def day() -> datetime.date:
    """The day whose part `make test` takes: today, unless DAY=2026-11-27 asks for another."""
    asked = os.environ.get("DAY")
    if not asked:
        return datetime.date.today()
    try:
        return datetime.date.fromisoformat(asked)
    except ValueError:
        log.fail(f"DAY={asked} is no day; one is written as {datetime.date.today()}")


def one_of(variants: list, number: int):
    """One of them, the next one every day; which is the first depends on `number`."""
    return variants[(day().toordinal() + number) % len(variants)]


def some_of(things: list, count: int) -> list:
    """At most so many of them, from all over the list; the next ones every day, until all had their turn."""
    days = max(-(-len(things) // count), 1)
    return things[day().toordinal() % days::days]
