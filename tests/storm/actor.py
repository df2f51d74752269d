# SPDX-License-Identifier: GPL-2.0
"""One of the processes of a storm: sets its plants up, one after the other, and has events happen to them."""

import random
import time
from contextlib import ExitStack

from tests.guest import fio
from tests.guest import target
from tests.guest import wait
from tests.storm.openers import Openers
from tests.storm.plant import choose
from tests.storm.tally import Tally

#: Ports of the targets of one process, of which none has so many.
PORTS = 1000
MIB = 48
#: The chance that the actor opens, uses or closes something after an event.
OPENER_ACTS = 0.3
#: How long the I/O of a head may stand still once all its paths are back.
STALL = 60


class Pace:
    """How fast it goes; a slower guest gets by with less of everything."""

    def __init__(self):
        #: Seconds that a load runs at most: to start and to end one takes long.
        self.round = 150 if wait.SLOWNESS > 1 else 40
        #: Writes a second to each head; a load must not run out of blocks in its round, and leaves time for all else.
        self.rate = round(80 / wait.SLOWNESS)


class Actor:
    """The events of some plants, by the chance that `seed` makes. `report` gets the sums now and then."""

    def __init__(self, number, name, plants, seed, pace, report):
        self._plants = plants
        self._rng = random.Random(f"{seed} {name}")
        self._pace = pace
        self._report = report
        self._openers = Openers()
        self._tally = Tally()
        target.number_ports_from(1 + number * PORTS)

    def act(self, deadline) -> None:
        # However short the storm is, each plant has a share of it.
        share = (deadline - time.monotonic()) / len(self._plants)
        for number, make in enumerate(self._plants, 1):
            with make(self._tally) as plant:
                season = deadline - share * (len(self._plants) - number)
                owed = list(plant.musts)
                while owed or time.monotonic() < season:
                    self._round(plant, min(season, time.monotonic() + self._pace.round), owed)

    def _round(self, plant, deadline, owed):
        """Has events happen until `deadline` and until nothing is `owed`, then brings all paths back and verifies."""
        with ExitStack() as stack:
            loads = [(head, stack.enter_context(self._load(head))) for head in plant.heads()]
            for head, load in loads:
                load.wait_for_io(head, ios=20, seconds=STALL)
            while owed or time.monotonic() < deadline:
                self._step(plant, owed)
                for head, load in loads:
                    assert load.running, f"the I/O of {head} has ended"
                time.sleep(self._rng.random() * plant.pause)
            self._openers.close()
            plant.settle()
            for head, load in loads:
                load.wait_for_io(head, ios=20, seconds=STALL)
                self._tally.verified(load.finish())
        self._tally.sums["rounds"] += 1
        self._report(self._tally)

    def _load(self, head):
        return fio.Load(head.device, jobs=1, mib=MIB, rate=self._pace.rate, seed=self._rng.randrange(1 << 30))

    def _step(self, plant, owed):
        event = choose(self._rng, plant.events())
        # Not every owed event can happen at any time, so chance has its turn, too.
        if owed and self._rng.random() < 0.5:
            (event,) = [event for event in plant.events() if event.name == owed[0]]
        if event.happen(self._rng) is not False:
            self._tally.events[f"{plant.name}: {event.name}"] += 1
            if event.name in owed:
                owed.remove(event.name)
        if self._rng.random() < OPENER_ACTS:
            self._openers.act(self._rng, plant.opened())
        self._tally.sums["opens"] = self._openers.opens
        self._report(self._tally)
