# SPDX-License-Identifier: GPL-2.0
"""Writes on a path that is lost, which its controller may still carry out when newer data has been written by another.

A proxy keeps such a write, closes the host's side, and sends it on to the controller a moment later. Without a fence
the old data is then on the disk: that this is seen shows that the tests can see it.
"""

import contextlib
import dataclasses
import time

from tests.e2e import head as heads
from tests.e2e import modules
from tests.e2e import wait
from tests.e2e.case import Skip
from tests.e2e.case import test
from tests.e2e.proxy import IDENTIFY_CONTROLLER
from tests.e2e.proxy import Proxy
from tests.e2e.rewriter import BLOCK
from tests.e2e.rewriter import Rewriter
from tests.e2e.target import Target

#: Whether the driver on the library has a fence. Where it has none, only what happens without one is shown.
BUILT = False

#: Where Identify Controller has the time that a controller needs to come to rest, in ms (CQT).
QUIESCE_TIME = 386
#: Seconds after which host and target miss each other. The target does after two of them, so that what is to reach it
#: has to do so before.
KEEP_ALIVE = max(2, round(2 * wait.SLOWNESS))
#: After how many of these a controller has surely noticed the loss, with keep alive that is based on traffic.
PERIODS = 3
#: How long after the loss what was kept is sent on, in seconds, and where it is written.
RELEASE = 1
PLACE = 1 << 20
ROUNDS = 20


@dataclasses.dataclass(frozen=True)
class World:
    """What is set for a controller, the time that it says it needs, and how long the fence adds for that, in ms."""

    fence: str
    quiesce_ms: int
    added_ms: int | None

    @property
    def hold_ms(self) -> int:
        return 0 if self.added_ms is None else PERIODS * KEEP_ALIVE * 1000 + self.added_ms


WORLDS = {
    "off": World("off", 500, None),
    "auto_without_time": World("auto", 0, None),
    "auto": World("auto", 500, 500),
    "seconds": World("1", 0, 1000),
}
#: Those that can be shown now.
SHOWN = tuple(WORLDS) if BUILT else ("off",)
#: Those with a fence.
FENCED = tuple(name for name in SHOWN if WORLDS[name].hold_ms)


class Scene:
    """A target with paths, of which the preferred ones lead through proxies."""

    def __init__(self, world, target, proxies, controllers):
        self.world = world
        self.target = target
        self.proxies = proxies
        self.controllers = controllers
        self.proxy = proxies[0]
        self.device = target.head.device
        #: When connections were lost, and when what was kept was sent on.
        self.lost = self.released = None

    def lose(self, **how) -> None:
        self.lost = time.monotonic()
        for proxy in self.proxies:
            proxy.lose(**how)

    def release(self, *rewriters) -> None:
        """Sends on what was kept, which a fence has outlast that; without one, when these have written."""
        if self.world.hold_ms:
            time.sleep(RELEASE)
        else:
            for rewriter in rewriters:
                rewriter.wait()
        fates = [fate for proxy in self.proxies for fate in proxy.release()]
        self.released = time.monotonic()
        assert fates and not any(fates), f"the old controller has not carried out what it got: {fates}"

    def hold(self, rewriter) -> None:
        """Has the old data that this one writes be on its way to the controller."""
        self.proxy.hold(rewriter.block)
        rewriter.start()
        self.proxy.wait_until_held()

    def lose_and_release(self, rewriter) -> None:
        """Has the old data arrive after the loss."""
        self.hold(rewriter)
        self.lose()
        self.release(rewriter)

    def check(self, rewriter, first="done") -> None:
        """Fails unless the write was held, and its data is no more; without a fence, unless it shows that the data is
        back.
        """
        rewritten = rewriter.wait(30 + self.world.hold_ms / 1000)
        assert (rewritten.first, rewritten.second) == (first, "done"), rewritten
        assert rewritten.found == "new", rewritten
        self.check_time(rewritten.when)
        found = rewriter.read_again()
        assert found == ("new" if self.world.hold_ms else "old"), f"in the end the disk has what is {found}"

    def check_time(self, when) -> None:
        """Fails if a write that ended then was not held for as long as it has to be; without a fence, if it was."""
        if self.world.hold_ms:
            held_ms = (when - self.lost) * 1000
            assert held_ms >= self.world.hold_ms, f"it was held for {held_ms:.0f} of {self.world.hold_ms} ms"
        else:
            assert when < self.released, "it waited for something, and nothing can be seen"


@contextlib.contextmanager
def scene(world, ports=2, proxied=1, disk=None, **options):
    """Paths through so many ports, the first of them proxied and preferred, where this world's name says what is set."""
    world = WORLDS[world]
    if world.hold_ms and not modules.ours():
        raise Skip("the in-tree driver has no fence")
    with Target("fence", ports=("tcp",) * ports, disk=disk) as target, contextlib.ExitStack() as stack:
        for port in target.ports[proxied:]:
            port.ana_state = "non-optimized"
        proxies = [stack.enter_context(Proxy(port)) for port in target.ports[:proxied]]
        for proxy in proxies:
            proxy.change(IDENTIFY_CONTROLLER, {QUIESCE_TIME: world.quiesce_ms.to_bytes(2, "little")})
        controllers = [target.connect(place, keep_alive_tmo=KEEP_ALIVE, **options)
                       for place in proxies + target.ports[proxied:]]
        target.wait_for_heads(ports)
        for controller in controllers[:proxied]:
            _set(controller, world)
        yield Scene(world, target, proxies, controllers)
        target.disconnect()


def _set(controller, world) -> None:
    """Sets the fence of a controller; where there is none, that is as if it were off."""
    directory = heads.CONTROLLERS / controller
    if not modules.ours() or not BUILT:
        assert not (directory / "fence").exists(), "there is a fence, of which the tests do not know"
        return
    (directory / "fence").write_text(world.fence)
    said = int((directory / "fence_ms").read_text())
    assert said == world.hold_ms, f"{world} is {said} ms"


@test(over=SHOWN)
def only_a_fence_keeps_an_old_write_from_a_newer_one(world):
    with scene(world) as lost, Rewriter(lost.device, PLACE) as rewriter:
        lost.lose_and_release(rewriter)
        lost.check(rewriter)


@test(over=SHOWN, limit=1200, long=True)
def only_a_fence_keeps_old_writes_from_newer_ones_for_20_rounds(world):
    with scene(world) as lost:
        found = []
        for number in range(ROUNDS):
            heads.wait_for_state(lost.controllers[0], "live")
            with Rewriter(lost.device, PLACE + number * BLOCK) as rewriter:
                lost.lose_and_release(rewriter)
                lost.check_time(rewriter.wait(30 + lost.world.hold_ms / 1000).when)
                found.append(rewriter.read_again())
        print(f"# {world}: corrupt in {found.count('old')} of {ROUNDS} rounds", flush=True)
        assert set(found) == ({"new"} if lost.world.hold_ms else {"old"}), found
