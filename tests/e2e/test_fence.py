# SPDX-License-Identifier: GPL-2.0
"""Writes on a lost path, which its controller may still carry out when another path has written newer data.

A proxy keeps such a write, closes the host's side, and sends the write on to the controller a moment later. Without a
fence the old data is then on the disk: that this happens shows that the tests can see it.
"""

import contextlib
import ctypes
import dataclasses
import errno
import mmap
import os
import threading
import time

from tests.e2e.case import test
from tests.e2e.flush import Fsync
from tests.e2e.numbers import Numbers
from tests.e2e.proxy import IDENTIFY_CONTROLLER
from tests.e2e.proxy import Proxy
from tests.e2e.rewriter import BLKDISCARD
from tests.e2e.rewriter import BLKZEROOUT
from tests.e2e.rewriter import BLOCK
from tests.e2e.rewriter import Rewriter
from tests.e2e.test_flush import CACHED
from tests.guest import head as heads
from tests.guest import modules
from tests.guest import passthrough
from tests.guest import wait
from tests.guest.reader import Reader
from tests.guest.skip import Skip
from tests.guest.target import Target

#: Where Identify Controller has the time that a controller needs to come to rest, in ms (CQT).
QUIESCE_TIME = 386
#: Seconds after which host and target miss each other; more of them where things take longer. The target misses the
#: host between one and two such times after the last command. All that is to reach it has to do so before.
KEEP_ALIVE = max(2, round(2 * wait.SLOWNESS))
LONGER = 2 * KEEP_ALIVE
#: After how many of these a controller has surely noticed the loss, with keep alive that is based on traffic.
PERIODS = 3
#: How long after the loss the proxy sends the kept write on, in seconds.
RELEASE = 1
#: Where a test writes, and how much where that is more than fits into a command.
PLACE = 1 << 20
LARGE = 256 << 10
#: How much of that a command has, in KiB.
PIECE = 64
#: An I/O that waits for nothing takes no longer than this, in seconds, which is less than a fence.
AT_ONCE = PERIODS * KEEP_ALIVE
ROUNDS = 20
FLAPS = 3
LOSSES = 200
READS = 300
#: Seconds in which a controller has not come back or an I/O has not been answered.
SHORT = 1
IO_TIMEOUT = "/sys/module/nvme_core/parameters/io_timeout"
#: The kind of command that reads or sets a register of a controller, and the status of one that could not do it.
PROPERTY = (0x7F, 0x00)
INTERNAL_ERROR = 0x006
PATH_ERROR = 0x300
WRITE_ZEROES, DATASET_MANAGEMENT = 0x08, 0x09
#: The errors of a disk that is not there any more.
GONE = ("EIO", "ENODEV", "ENXIO")


@dataclasses.dataclass(frozen=True)
class World:
    """A controller's fence setting, the time that it says it needs, and how long the fence adds for that, in ms."""

    fence: str
    quiesce_ms: int
    added_ms: int | None

    def hold_ms(self, keep_alive) -> int:
        """For how long a fence holds writes of a lost controller that the host was to hear of every so many seconds."""
        return 0 if self.added_ms is None else PERIODS * keep_alive * 1000 + self.added_ms


WORLDS = {
    "off": World("off", 500, None),
    "auto_without_time": World("auto", 0, None),
    "auto": World("auto", 500, 500),
    "seconds": World("1", 0, 1000),
    "ten_seconds": World("10", 0, 10000),
}
#: One of each kind, and as many as there are, for tests that depend on no more than that.
SHOWN = tuple(name for name in WORLDS if name != "ten_seconds")
BOTH = ("off", "auto")
#: The same for controllers that say nothing.
BOTH_WITHOUT_TIME = ("off", "seconds")


@dataclasses.dataclass
class Loss:
    """The moments when connections were lost, and when the proxies sent the kept writes on."""

    begin: float
    released: float | None = None


class Scene:
    """A target with paths, of which the preferred ones lead through proxies."""

    def __init__(self, hold_ms, target, proxies, controllers):
        self.hold_ms = hold_ms
        self.target = target
        self.proxies = proxies
        self.controllers = controllers
        self.proxy = proxies[0] if proxies else None
        self.controller = controllers[0]
        self.head = target.head
        self.device = self.head.device
        self.loss = None
        #: The proxies that have none of the held writes.
        self._others = []

    @property
    def fenced(self) -> bool:
        return self.hold_ms > 0

    @property
    def patience(self) -> float:
        """Seconds after which a held write has surely ended."""
        return 30 + self.hold_ms / 1000

    def hold(self, *rewriters, what=passthrough.WRITE) -> None:
        """Has these rewriters' old data be on its way to a controller, where the proxy keeps all that follows, too."""
        for proxy in self.proxies:
            proxy.hold(*(rewriter.block for rewriter in rewriters), what=what)
        for rewriter in rewriters:
            rewriter.start()
        wait.until(lambda: sum(proxy.held() for proxy in self.proxies) == len(rewriters), "writes to be held")
        self._others = [proxy for proxy in self.proxies if not proxy.held()]
        for proxy in self.proxies:
            proxy.hold_no_more()

    def lose(self, shut=False, silent=False) -> None:
        """Loses all connections through the proxies, for good or until the host comes back."""
        # The proxy that has the writes is the last: when it goes, they are not to find the other one.
        proxies = sorted(self.proxies, key=lambda proxy: proxy not in self._others)
        for proxy in proxies[:-1]:
            self.lose_one(proxy, shut, silent)
        self.loss = self.lose_one(proxies[-1], shut, silent)

    def lose_one(self, proxy, shut=False, silent=False) -> Loss:
        # The target is to miss the host no sooner than it has to.
        identify(self.controllers[self.proxies.index(proxy)])
        if shut:
            proxy.shut()
        loss = Loss(time.monotonic())
        proxy.lose(silent)
        return loss

    def release(self, *rewriters) -> None:
        """Sends the kept writes on, which a fence outlasts; without a fence, when these rewriters have written."""
        if self.fenced:
            time.sleep(RELEASE)
        else:
            for rewriter in rewriters:
                rewriter.wait()
        fates = [fate for proxy in self.proxies for fate in proxy.release()]
        self.loss.released = time.monotonic()
        assert fates and not any(fates), f"the old controller has not carried out what it got: {fates}"

    def lose_and_release(self, *rewriters, **how) -> None:
        """Has the old data of these rewriters arrive after the loss."""
        self.hold(*rewriters)
        self.lose(**how)
        self.release(*rewriters)

    def check(self, *rewriters, loss=None, old="old") -> None:
        """Fails unless the proxy held the old data, and it is no more; without a fence, unless the old data is back."""
        for rewriter in rewriters:
            rewritten = rewriter.wait(self.patience)
            assert (rewritten.first, rewritten.second, rewritten.found) == ("done", "done", "new"), rewritten
            self.check_time(rewritten.when, loss)
            found = rewriter.read_again()
            assert found == ("new" if self.fenced else old), f"in the end the disk has what is {found}"

    def check_failed(self, rewriter) -> None:
        """Fails unless the first write has ended with an error, and a fence has held that error, too."""
        rewritten = rewriter.wait(self.patience)
        assert rewritten.first in GONE, rewritten
        self.check_time(rewritten.when)

    def check_time(self, when, loss=None) -> None:
        """Fails if a write that ended at `when` was not held for long enough; without a fence, if it was."""
        loss = loss or self.loss
        if self.fenced:
            held_ms = (when - loss.begin) * 1000
            assert held_ms >= self.hold_ms, f"it was held for {held_ms:.0f} of {self.hold_ms} ms"
        else:
            assert when < loss.released, "it waited for something, and nothing can be seen"

    def still_holds(self, *rewriters) -> bool:
        """Whether none has ended, where there is a fence; this takes no longer than the fence lasts."""
        held = not any(rewriter.result for rewriter in rewriters)
        return held or not self.fenced


def identify(controller) -> None:
    """Has a controller identify itself; it need not answer."""
    with contextlib.suppress(OSError), open(f"/dev/{controller}", "rb") as file:
        passthrough.command(file, passthrough.IDENTIFY, nsid=0, data=ctypes.create_string_buffer(4096),
                            dwords=(1, 0, 0), request=passthrough.NVME_IOCTL_ADMIN64_CMD)


@contextlib.contextmanager
def scene(world, ports=2, proxied=1, disk=None, keep_alive=KEEP_ALIVE, **options):
    """Paths through so many ports, the first of them proxied and preferred; the world's name says the settings."""
    world = WORLDS[world]
    hold_ms = world.hold_ms(keep_alive)
    if hold_ms and not modules.ours():
        raise Skip("the in-tree driver has no fence")
    with Target("fence", ports=("tcp",) * ports, disk=disk) as target, contextlib.ExitStack() as stack:
        for port in target.ports[proxied:]:
            port.digest = False
            if proxied:
                port.ana_state = "non-optimized"
        proxies = [stack.enter_context(Proxy(port)) for port in target.ports[:proxied]]
        for proxy in proxies:
            proxy.change(IDENTIFY_CONTROLLER, {QUIESCE_TIME: world.quiesce_ms.to_bytes(2, "little")})
        controllers = [target.connect(place, keep_alive_tmo=keep_alive, **options)
                       for place in proxies + target.ports[proxied:]]
        target.wait_for_heads(ports)
        for controller in controllers[:proxied] or controllers:
            _set(controller, world, hold_ms)
        yield Scene(hold_ms, target, proxies, controllers)
        target.disconnect()


def _set(controller, world, hold_ms) -> None:
    """Sets the fence of a controller; a driver without a fence counts as one whose fence is off."""
    if not modules.ours():
        has_one = (heads.CONTROLLERS / controller / "fence").exists()
        assert not has_one, "there is a fence, of which the tests do not know"
        return
    _write(controller, "fence", world.fence)
    said = int(_read(controller, "fence_ms"))
    assert said == hold_ms, f"{world} is {said} instead of {hold_ms} ms"


@test(over=SHOWN)
def only_a_fence_keeps_an_old_write_from_a_newer_one(world):
    """Shows F-1."""
    with scene(world) as lost, Rewriter(lost.device, PLACE) as rewriter:
        lost.lose_and_release(rewriter)
        lost.check(rewriter)


@test(over=BOTH)
def only_a_fence_keeps_old_writes_from_newer_ones(world):
    """Shows F-1."""
    with scene(world) as lost, contextlib.ExitStack() as stack:
        rewriters = [stack.enter_context(Rewriter(lost.device, PLACE + number * BLOCK)) for number in range(4)]
        lost.lose_and_release(*rewriters)
        lost.check(*rewriters)


@test(over=BOTH)
def only_a_fence_keeps_a_large_old_write_from_a_newer_one(world):
    """Its data is not in the command. Shows F-1."""
    with scene(world) as lost, Rewriter(lost.device, PLACE, size=PIECE << 10) as rewriter:
        lost.lose_and_release(rewriter)
        lost.check(rewriter)


@test(over=BOTH)
def only_a_fence_keeps_a_part_of_an_old_write_from_a_newer_one(world):
    """Shows F-1."""
    with scene(world) as lost, Rewriter(lost.device, PLACE, size=LARGE) as rewriter:
        lost.head.write("queue/max_sectors_kb", PIECE)
        for proxy in lost.proxies:
            proxy.hold(rewriter.block + (PIECE << 1))
        rewriter.start()
        lost.proxy.wait_until_held()
        lost.lose()
        lost.release(rewriter)
        lost.check(rewriter, old="new,old")


@test(over=BOTH)
def only_a_fence_keeps_an_old_write_that_was_not_to_wait_from_a_newer_one(world):
    """Shows F-1."""
    with scene(world) as lost, Rewriter(lost.device, PLACE, nowait=True) as rewriter:
        lost.lose_and_release(rewriter)
        lost.check(rewriter)


@test(over=BOTH)
def only_a_fence_keeps_an_old_write_that_is_to_be_stored_from_a_newer_one(world):
    """The path has been given a clone of it. Shows F-1."""
    with scene(world, disk=CACHED) as lost, Rewriter(lost.device, PLACE, stored=True) as rewriter:
        lost.lose_and_release(rewriter)
        lost.check(rewriter)


@test(over=BOTH)
def only_a_fence_keeps_an_old_write_on_a_path_that_has_failed_before_from_a_newer_one(world):
    """The path has been given a clone of it. Shows F-1."""
    with scene(world) as lost, Rewriter(lost.device, PLACE) as rewriter:
        lost.proxy.refuse(passthrough.READ, PATH_ERROR, times=1)
        assert len(passthrough.read_directly(lost.device)) == BLOCK
        assert lost.proxy.refused(passthrough.READ) == 1
        lost.lose_and_release(rewriter)
        lost.check(rewriter)


@test(over=BOTH)
def only_a_fence_keeps_zeroes_from_a_newer_write(world):
    """Shows F-1."""
    with scene(world) as lost, Rewriter(lost.device, PLACE, erase=BLKZEROOUT) as rewriter:
        lost.hold(rewriter, what=WRITE_ZEROES)
        lost.lose()
        lost.release(rewriter)
        lost.check(rewriter)


@test(over=BOTH)
def only_a_fence_keeps_an_old_discard_from_a_newer_write(world):
    """Shows F-1."""
    with scene(world, disk={"discard": 1}) as lost, Rewriter(lost.device, PLACE, erase=BLKDISCARD) as rewriter:
        lost.proxy.hold(what=DATASET_MANAGEMENT)
        rewriter.start()
        lost.proxy.wait_until_held()
        lost.lose()
        lost.release(rewriter)
        lost.check(rewriter)


@test(over=BOTH)
def only_a_fence_keeps_an_old_write_from_a_newer_one_with_a_flush_between(world):
    """Shows F-1."""
    with scene(world, disk=CACHED) as lost, Rewriter(lost.device, PLACE, flush=True) as rewriter:
        lost.lose_and_release(rewriter)
        lost.check(rewriter)


@test(over=BOTH)
def only_a_fence_keeps_an_old_write_from_a_newer_one_with_three_paths(world):
    """Shows F-1."""
    with scene(world, ports=3) as lost, Rewriter(lost.device, PLACE) as rewriter:
        lost.lose_and_release(rewriter)
        lost.check(rewriter)


@test(over=BOTH)
def only_a_fence_keeps_an_old_write_from_a_newer_one_when_two_paths_are_lost(world):
    """Shows F-1."""
    with scene(world, keep_alive=LONGER, proxied=2) as lost, Rewriter(lost.device, PLACE) as rewriter:
        lost.lose_and_release(rewriter)
        lost.check(rewriter)


@test(over=BOTH)
def a_write_that_is_lost_twice_is_held_twice(world):
    """Shows F-1."""
    with scene(world, ports=3, proxied=2) as lost, Rewriter(lost.device, PLACE) as rewriter:
        first, second = lost.proxies
        lost.target.ports[1].ana_state = "non-optimized"
        lost.target.ports[2].ana_state = "inaccessible"
        _wait_for_states(lost, ["inaccessible", "non-optimized", "optimized"])
        first.hold(rewriter.block)
        rewriter.start()
        first.wait_until_held()
        second.hold(rewriter.block)
        begin = lost.lose_one(first, shut=True).begin
        if lost.fenced:
            time.sleep(RELEASE)
            assert first.release() == [0]
        wait.until(second.held, "the write to come another way", lost.patience)
        assert time.monotonic() - begin >= lost.hold_ms / 1000, "it came too early"
        lost.target.ports[2].ana_state = "non-optimized"
        _wait_for_states(lost, ["non-optimized", "non-optimized"])
        lost.loss = lost.lose_one(second)
        lost.release(rewriter)
        lost.check(rewriter)


def _wait_for_states(lost, states) -> None:
    wait.until(lambda: sorted(path.condition for path in lost.head.paths() if path.condition != "connecting") == states,
               f"paths to be {states}")


@test(over=BOTH)
def only_a_fence_keeps_an_old_write_from_a_newer_one_when_the_controller_is_back(world):
    """Shows F-1."""
    with (scene(world, keep_alive=LONGER) as lost, Rewriter(lost.device, PLACE) as rewriter,
          Rewriter(lost.device, PLACE + BLOCK) as other):
        lost.hold(rewriter)
        lost.lose()
        _wait_for_return(lost.controller)
        before = lost.proxy.received(passthrough.WRITE)
        other.start()
        assert other.wait().when < lost.loss.begin + AT_ONCE, "a new write waited"
        assert lost.proxy.received(passthrough.WRITE) == before + 2, "a path that is back was not used"
        assert lost.still_holds(rewriter)
        lost.release(rewriter)
        lost.check(rewriter)


def _wait_for_return(controller) -> None:
    heads.wait_for_state(controller, "connecting")
    heads.wait_for_state(controller, "live")


@test(over=BOTH)
def only_a_fence_keeps_old_writes_from_newer_ones_of_a_controller_that_comes_and_goes(world):
    """Shows F-1, F-2."""
    with scene(world) as lost, contextlib.ExitStack() as stack:
        rewriters = [stack.enter_context(Rewriter(lost.device, PLACE + number * BLOCK)) for number in range(FLAPS)]
        losses = []
        for rewriter in rewriters:
            lost.hold(rewriter)
            lost.lose()
            losses.append(lost.loss)
            lost.release(rewriter)
            heads.wait_for_state(lost.controller, "live")
        for rewriter, loss in zip(rewriters, losses, strict=True):
            lost.check(rewriter, loss=loss)


@test(over=BOTH)
def only_a_fence_keeps_an_old_write_from_a_newer_one_when_the_controller_falls_silent(world):
    """Shows F-1."""
    with scene(world, keep_alive=LONGER) as lost, Rewriter(lost.device, PLACE) as rewriter:
        lost.hold(rewriter)
        lost.lose(silent=True)
        lost.loss = _until_missed(lost.controller, meanwhile=identify)
        lost.release(rewriter)
        lost.check(rewriter)


def _until_missed(controller, meanwhile=None) -> Loss:
    """Waits until the host itself gives a controller up, which it has not before this loss begins.

    Now and then it begins `meanwhile` something that waits for that, too.
    """
    begin = time.monotonic()
    again = begin
    while True:
        now = time.monotonic()
        if heads.controller_state(controller) != "live":
            return Loss(begin)
        begin = now
        if meanwhile and now >= again:
            threading.Thread(target=meanwhile, args=(controller,), daemon=True).start()
            again += KEEP_ALIVE / 4
        time.sleep(0.01)


@test(over=BOTH)
def only_a_fence_keeps_an_old_write_from_a_newer_one_after_a_timeout(world):
    """Shows F-1."""
    with _io_timeout(SHORT), scene(world, keep_alive=LONGER) as lost, Rewriter(lost.device, PLACE) as rewriter:
        lost.hold(rewriter)
        lost.loss = _until_missed(lost.controller)
        lost.release(rewriter)
        lost.check(rewriter)


@contextlib.contextmanager
def _io_timeout(seconds):
    """Controllers that are connected in a block answer an I/O within so many seconds, or are lost."""
    modules.load("nvme-tcp")
    with open(IO_TIMEOUT) as file:
        before = file.read()
    try:
        with open(IO_TIMEOUT, "w") as file:
            file.write(str(round(seconds * wait.SLOWNESS)))
        yield
    finally:
        with open(IO_TIMEOUT, "w") as file:
            file.write(before)


@test(over=BOTH)
def only_a_fence_keeps_an_old_write_from_a_newer_one_when_the_controller_hears_of_no_reset(world):
    """Shows F-1."""
    with scene(world) as lost, Rewriter(lost.device, PLACE) as rewriter:
        lost.hold(rewriter)
        lost.proxy.refuse(PROPERTY, INTERNAL_ERROR, times=1)
        lost.loss = Loss(time.monotonic())
        heads.reset_controller(lost.controller)
        assert lost.proxy.refused(PROPERTY) == 1
        assert time.monotonic() < lost.loss.begin + AT_ONCE, "a reset waited"
        assert lost.still_holds(rewriter)
        lost.release(rewriter)
        lost.check(rewriter)


@test(over=BOTH)
def a_controller_that_hears_of_a_reset_has_noticed(world):
    """It carries out no more of its commands, and a fence does not last until it would have missed the host."""
    with scene(world) as lost, Rewriter(lost.device, PLACE) as rewriter:
        lost.hold(rewriter)
        begin = time.monotonic()
        heads.reset_controller(lost.controller)
        rewritten = rewriter.wait()
        held_ms = (rewritten.when - begin) * 1000
        least_ms = WORLDS[world].added_ms or 0
        assert least_ms <= held_ms < PERIODS * KEEP_ALIVE * 1000, f"it was held for {held_ms:.0f} ms"
        assert lost.proxy.release() != [0], "the old controller has carried it out"
        assert (rewritten.first, rewritten.found, rewriter.read_again()) == ("done", "new", "new")


@test(over=BOTH)
def only_a_fence_keeps_an_old_write_from_a_newer_one_when_the_controller_hears_of_no_disconnect(world):
    """Shows F-1."""
    with (_io_timeout(SHORT), scene(world, keep_alive=LONGER) as lost,
          Rewriter(lost.device, PLACE) as rewriter):
        lost.hold(rewriter)
        lost.proxy.refuse(PROPERTY, INTERNAL_ERROR)
        lost.loss = Loss(time.monotonic())
        heads.delete_controller(lost.controller)
        assert lost.proxy.refused(PROPERTY)
        assert lost.still_holds(rewriter)
        lost.release(rewriter)
        lost.check(rewriter)


@test(over=BOTH)
def nothing_but_old_writes_waits(world):
    """Shows F-1."""
    with (scene(world, disk=CACHED) as lost, Rewriter(lost.device, PLACE) as rewriter,
          Rewriter(lost.device, PLACE + BLOCK) as other, Reader(lost.device, offset=PLACE) as reader,
          Fsync(lost.device) as fsync):
        lost.hold(rewriter)
        lost.lose()
        begin = time.monotonic()
        for process in (reader, fsync, other):
            process.start()
        assert (reader.outcome(), fsync.outcome()) == ("data", "done")
        other.wait()
        assert time.monotonic() < begin + AT_ONCE, "something waited"
        assert lost.still_holds(rewriter)
        lost.release(rewriter)
        lost.check(rewriter)


@test(over=BOTH, long=True)
def reads_go_on_while_a_write_is_held(world):
    """Says how long they take; the figures to compare with are the other world's."""
    with scene(world) as lost, Rewriter(lost.device, PLACE) as rewriter:
        lost.hold(rewriter)
        lost.lose()
        heads.wait_for_state(lost.controller, "connecting")
        times = sorted(_times_of_reads(lost.device, READS))
        assert lost.still_holds(rewriter)
        said = ", ".join(f"{name} {times[round(part * (READS - 1))] * 1000:.1f} ms"
                         for name, part in (("median", .5), ("99 %", .99), ("longest", 1)))
        print(f"# {world}: {READS} reads: {said}", flush=True)
        lost.release(rewriter)
        lost.check(rewriter)


def _times_of_reads(device, count):
    """How many seconds each of so many reads has taken, past the page cache."""
    file = os.open(device, os.O_RDONLY | os.O_DIRECT)
    try:
        memory = mmap.mmap(-1, BLOCK)
        for number in range(count):
            begin = time.monotonic()
            os.preadv(file, [memory], number * BLOCK)
            yield time.monotonic() - begin
    finally:
        os.close(file)


@test(over=BOTH)
def a_read_that_is_lost_is_sent_again_at_once(world):
    with scene(world) as lost, Reader(lost.device, offset=PLACE) as reader:
        lost.proxy.hold(PLACE >> 9, what=passthrough.READ)
        reader.start()
        lost.proxy.wait_until_held()
        lost.lose()
        begin = time.monotonic()
        assert reader.outcome() == "data"
        assert time.monotonic() < begin + AT_ONCE, "it waited"


@test(over=BOTH)
def only_a_fence_keeps_an_old_write_from_a_newer_one_when_the_path_is_taken_away(world):
    """Shows F-1."""
    with scene(world) as lost, Rewriter(lost.device, PLACE) as rewriter:
        lost.hold(rewriter)
        lost.lose(shut=True)
        heads.wait_for_state(lost.controller, "connecting")
        heads.delete_controller(lost.controller)
        assert time.monotonic() < lost.loss.begin + AT_ONCE, "a disconnect waited"
        assert lost.still_holds(rewriter)
        lost.release(rewriter)
        lost.check(rewriter)


@test(over=BOTH)
def only_a_fence_keeps_an_old_write_from_being_reported_when_the_head_goes(world):
    """Shows F-3."""
    with scene(world, proxied=2) as lost, Rewriter(lost.device, PLACE) as rewriter:
        lost.hold(rewriter)
        lost.lose(shut=True)
        for controller in lost.controllers:
            heads.wait_for_state(controller, "connecting")
            heads.delete_controller(controller)
        assert time.monotonic() < lost.loss.begin + AT_ONCE, "a disconnect waited"
        assert lost.still_holds(rewriter)
        lost.release(rewriter)
        lost.check_failed(rewriter)


@test(over=BOTH)
def only_a_fence_keeps_an_old_write_from_a_newer_one_when_the_head_stays_for_a_while(world):
    """Shows F-1."""
    with scene(world, ports=1) as lost, Rewriter(lost.device, PLACE) as rewriter:
        lost.head.write("delayed_removal_secs", 60)
        lost.hold(rewriter)
        lost.lose(shut=True)
        heads.wait_for_state(lost.controller, "connecting")
        heads.delete_controller(lost.controller)
        lost.target.connect(lost.target.ports[0])
        lost.release(rewriter)
        lost.check(rewriter)
        lost.head.write("delayed_removal_secs", 0)


@test(over=BOTH)
def only_a_fence_keeps_an_old_write_from_being_reported_when_the_head_stays_for_too_short_a_while(world):
    """Shows F-3."""
    with scene(world, ports=1, keep_alive=LONGER) as lost, Rewriter(lost.device, PLACE) as rewriter:
        lost.head.write("delayed_removal_secs", SHORT)
        lost.hold(rewriter)
        lost.lose(shut=True)
        heads.wait_for_state(lost.controller, "connecting")
        heads.delete_controller(lost.controller)
        wait.until(lambda: not os.path.exists(lost.device), "the head to go")
        assert lost.still_holds(rewriter)
        lost.release(rewriter)
        lost.check_failed(rewriter)


@test(over=BOTH)
def only_a_fence_keeps_an_old_write_from_being_reported_when_io_is_to_fail_fast(world):
    """Shows F-3."""
    with (scene(world, keep_alive=LONGER, ports=1, fast_io_fail_tmo=SHORT) as lost,
          Rewriter(lost.device, PLACE) as rewriter, Reader(lost.device) as reader):
        lost.hold(rewriter)
        lost.lose(shut=True)
        reader.start()
        assert reader.outcome() == "EIO"
        assert time.monotonic() < lost.loss.begin + AT_ONCE, "a read waited"
        assert lost.still_holds(rewriter)
        lost.release(rewriter)
        lost.check_failed(rewriter)


@test(over=BOTH)
def only_a_fence_keeps_an_old_write_from_being_reported_when_the_controller_is_given_up(world):
    """Shows F-3."""
    with (scene(world, keep_alive=LONGER, ports=1, ctrl_loss_tmo=SHORT) as lost,
          Rewriter(lost.device, PLACE) as rewriter):
        lost.hold(rewriter)
        lost.lose(shut=True)
        wait.until(lambda: heads.controller_state(lost.controller) == "gone", "the controller to be given up")
        assert lost.still_holds(rewriter)
        lost.release(rewriter)
        lost.check_failed(rewriter)


@test(over=BOTH)
def only_a_fence_keeps_an_old_write_from_being_reported_when_the_transport_is_unloaded(world):
    """Shows F-3."""
    with scene(world, ports=1) as lost, Rewriter(lost.device, PLACE) as rewriter:
        lost.hold(rewriter)
        lost.lose(shut=True)
        heads.wait_for_state(lost.controller, "connecting")
        removal = threading.Thread(target=modules.unload, args=("nvme_tcp",), daemon=True)
        removal.start()
        lost.release(rewriter)
        lost.check_failed(rewriter)
        removal.join(lost.patience)
        assert not removal.is_alive(), "the module is still being unloaded"


@test(over=BOTH)
def a_write_that_is_later_than_any_fence_does_nothing(world):
    """The target has closed the connection by then, or a fence would not last long enough."""
    with scene(world) as lost, Rewriter(lost.device, PLACE) as rewriter:
        lost.hold(rewriter)
        lost.lose()
        rewritten = rewriter.wait(lost.patience)
        time.sleep(max(lost.loss.begin + PERIODS * KEEP_ALIVE - time.monotonic(), 0))
        assert lost.proxy.release() == ["closed"]
        assert (rewritten.found, rewriter.read_again()) == ("new", "new")


#: The settings that a fence takes, and how long it lasts then: for a controller that needs 500 ms, and for one that
#: does not say how long.
SETTINGS = {"off": (0, 0), "auto": (500, 0), "1": (500, 1000), "3600": (500, 3600_000)}
#: The settings that it refuses.
NO_SETTINGS = ("\n", "0", "-1", "3601", "1s", "on", "auto off", "99999999999999999999")
PARAMETER = "/sys/module/nvme_core/parameters/fence"


@test
def a_fence_lasts_for_what_was_set_and_said():
    with scene("auto") as lost:
        said, silent = lost.controllers
        assert (_read(said, "cqt"), _read(silent, "cqt")) == ("500", "0")
        for setting, added in SETTINGS.items():
            for controller, added_ms in zip(lost.controllers, added, strict=True):
                _write(controller, "fence", setting)
                expected = added_ms and PERIODS * KEEP_ALIVE * 1000 + added_ms
                assert (_read(controller, "fence"), int(_read(controller, "fence_ms"))) == (setting, expected), setting
        for setting in NO_SETTINGS:
            try:
                _write(said, "fence", setting)
            except OSError as error:
                assert error.errno == errno.EINVAL, error
            else:
                raise AssertionError(f"{setting!r} was accepted")
            assert _read(said, "fence") == "3600"


@test
def a_controller_begins_with_what_the_module_was_told():
    modules.load("nvme-tcp")
    if not modules.ours():
        raise Skip("the in-tree driver has no fence")
    with open(PARAMETER) as file:
        before = file.read().strip()
    assert before == "auto", f"the fence is {before} unless one asks"
    try:
        for setting in ("off", "7", "auto"):
            with open(PARAMETER, "w") as file:
                file.write(setting)
            with Target("fence", ports=("tcp",)) as target:
                (controller,) = target.connect_all()
                assert _read(controller, "fence") == setting
    finally:
        with open(PARAMETER, "w") as file:
            file.write(before)


@test
def a_fence_counts_the_writes_that_it_holds():
    """Shows F-1."""
    with scene("auto") as lost, Rewriter(lost.device, PLACE) as rewriter:
        assert _said(lost) == (0, 0, 0)
        lost.hold(rewriter)
        lost.lose()
        # It is held before the host takes the controller down; until then nobody can say for less than the limit.
        wait.until(lambda: _read(lost.controller, "fence_held") == "1", "a write to be held")
        wait.until(lambda: int(_read(lost.controller, "fence_left_ms")) <= lost.hold_ms, "the hold to have an end")
        held, left_ms, count = _said(lost)
        assert (held, count) == (1, 1)
        assert 0 < left_ms <= lost.hold_ms, f"{left_ms} ms are left of {lost.hold_ms}"
        lost.release(rewriter)
        lost.check(rewriter)
        assert _said(lost) == (0, 0, 1)
        _path(lost).write("diag/multipath_fence_count", 0)
        assert _said(lost) == (0, 0, 0)


@test(over=("return", "disconnect"))
def a_setting_does_not_open_a_closed_fence(opener):
    with scene("auto", keep_alive=LONGER) as lost, Rewriter(lost.device, PLACE) as rewriter:
        lost.hold(rewriter)
        lost.lose()
        heads.wait_for_state(lost.controller, "connecting")
        _write(lost.controller, "fence", "off")
        if opener == "return":
            heads.wait_for_state(lost.controller, "live")
        else:
            heads.delete_controller(lost.controller)
        lost.release(rewriter)
        lost.check(rewriter)


def _said(lost) -> tuple:
    """How many writes the controller of the first path holds up, for how many ms, and how many it has held up."""
    return (*(int(_read(lost.controller, name)) for name in ("fence_held", "fence_left_ms")),
            int(_path(lost).read("diag/multipath_fence_count")))


def _path(lost) -> heads.Path:
    return next(path for path in lost.head.paths() if path.controller == lost.controller)


def _read(controller, attribute) -> str:
    return (heads.CONTROLLERS / controller / attribute).read_text().strip()


def _write(controller, attribute, value) -> None:
    (heads.CONTROLLERS / controller / attribute).write_text(value)


@test(over=tuple(WORLDS), limit=1200, long=True)
def only_a_fence_keeps_old_writes_from_newer_ones_for_20_rounds(world):
    with scene(world) as lost:
        found = []
        for number in range(ROUNDS):
            heads.wait_for_state(lost.controller, "live")
            with Rewriter(lost.device, PLACE + number * BLOCK) as rewriter:
                lost.lose_and_release(rewriter)
                lost.check_time(rewriter.wait(lost.patience).when)
                found.append(rewriter.read_again())
        print(f"# {world}: corrupt in {found.count('old')} of {ROUNDS} rounds", flush=True)
        assert set(found) == {"new" if lost.fenced else "old"}, found


@test(over=BOTH, limit=3000, long=True)
def only_a_fence_keeps_blocks_from_going_back_over_200_losses(world):
    with scene(world) as lost, Numbers(lost.device) as numbers:
        fates = []
        for number in range(LOSSES):
            heads.wait_for_state(lost.controller, "live")
            numbers.wait_for_rounds(writers=1, seconds=lost.patience)
            lost.proxy.hold(times=1 + number % 4)
            lost.proxy.wait_until_held()
            lost.lose()
            if lost.fenced:
                time.sleep(RELEASE)
            else:
                numbers.wait_for_rounds(2)
            fates += lost.proxy.release()
        _say(world, numbers, f"; of {len(fates)} old writes {fates.count(0)} were carried out")
        assert 0 in fates
        assert bool(numbers.count("back")) != lost.fenced


@test(over=BOTH_WITHOUT_TIME, limit=3000, long=True)
def a_fence_keeps_blocks_from_going_back_when_ports_close_200_times(world):
    with scene(world, proxied=0) as lost, Numbers(lost.device) as numbers:
        for number in range(LOSSES):
            port, controller = lost.target.ports[number % 2], lost.controllers[number % 2]
            numbers.wait_for_rounds(writers=1, seconds=lost.patience)
            port.stop()
            heads.wait_for_state(controller, "connecting")
            port.start()
            heads.wait_for_state(controller, "live")
        _say(world, numbers)
        assert not lost.fenced or not numbers.count("back")


def _say(world, numbers, more="") -> None:
    counts = {what: numbers.count(what) for what in numbers.COUNTS}
    print(f"# {world}: {counts['back']} of {counts['written']} blocks went back in {LOSSES} losses{more}", flush=True)
    assert not counts["failed"] and not counts["strange"], counts
