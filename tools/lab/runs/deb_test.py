# SPDX-License-Identifier: GPL-2.0
"""`make deb-test`: the packages of `make deb CONFIG=lab`, on a Debian machine that runs on NVMe multipath itself.

The machine is a guest with a disk of its own (builds/debian_disk.py), whose root is on a namespace behind two NVMe
controllers. It boots Debian's kernel, installs the packages with apt, and reboots into them by its own boot loader and
initramfs. The test pulls each controller out under verified I/O and puts it back. It loads a driver in Rust that was
built against the package of headers, and nothing else of the build. Then the machine reboots into Debian's kernel, as
an administrator does to go back, and removes the packages.

Each `_Story` step is a test. A step that fails ends the story, since later steps build on it.
"""

import re
import shlex
import shutil
import time
from pathlib import Path

from lab.builds import cache
from lab.builds import debian_disk
from lab.builds import debs
from lab.builds import kernel
from lab.builds import setup
from lab.host import log
from lab.host import machine
from lab.host import paths
from lab.runs import deb
from lab.verdicts import record
from lab.verdicts.counts import Counts

from tests.guest import kernel_log

HOME = paths.BUILD / "deb-test"
_CONSOLE = paths.LOGS / "deb-console.log"
_SAMPLE = paths.ROOT / "samples" / "rust_mpath_ram.rs"
#: The file that it includes as a module.
_OF_SAMPLES = _SAMPLE.with_name("attribute.rs")
_MANUAL = paths.ROOT / "docs" / "operating.md"
#: A driver's Kbuild outside of any tree. The library's metadata comes with the headers.
_KBUILD = """\
obj-m := rust_mpath_ram.o
RUSTFLAGS_rust_mpath_ram.o := --extern libmultipath=$(objtree)/lib/multipath/rust/liblibmultipath.rmeta
"""
#: Seconds that a step of an emulated machine may take, on a host that does other things, too.
_BOOT, _INSTALL, _LOAD, _SHORT = 1200, 3600, 1200, 300
#: The partition with the root. The number of the head is that of the controller that the driver found first.
_ROOT = re.compile(r"/dev/(nvme\d+)(n1)p1")
#: I/O that the load must complete before and after each loss of a path.
_IOS = 200
#: The verified load: no block is written twice, and each is read back soon after. It is on the root file system.
_LOAD_MIB, _RATE = 96, 150
_FIO = (f"fio --name=load --filename=/root/load --size={_LOAD_MIB}m --bs=4k --rw=randwrite --ioengine=libaio --direct=1 "
        f"--iodepth=8 --verify=crc32c --verify_fatal=1 --verify_backlog=64 --rate_iops={_RATE},{_RATE} "
        "--output=/root/load.txt")
#: Lines of the kernel's log that say that I/O has failed.
_LOST = re.compile(r"I/O error|EXT4-fs (error|warning)|Buffer I/O|Remounting filesystem read-only|failing I/O")


def run() -> Counts:
    """Builds the packages, and tells the whole story; each of its steps counts."""
    setup.ensure_asked(setup.DEB_PACKAGES | setup.DEB_TEST_PACKAGES, asked=True)
    outcomes = {}
    story = _Story(outcomes)
    try:
        story.tell()
    except log.Failure as failure:
        log.error(str(failure))
    outcomes |= {name: record.FAILED for name in STEPS if name not in outcomes}
    record.write("deb", outcomes, whole=True)
    passed = sum(outcome == record.PASSED for outcome in outcomes.values())
    return Counts(passed, len(outcomes) - passed)


class _Story:
    """The steps, each of which leaves the machine as the next one needs it."""

    def __init__(self, outcomes: dict):
        self._outcomes = outcomes

    def tell(self) -> None:
        self._do(self.the_packages_build)
        self._do(self.a_driver_in_rust_builds_against_the_headers)
        disk, packages = debian_disk.ensure(), self._disk_of_packages()
        with machine.start(disk, _CONSOLE, kept=False, packages=packages) as self._machine:
            for step in (self.debian_boots_its_own_kernel, self.apt_installs_the_packages,
                         self.the_new_kernel_boots_from_a_head_with_two_paths, self.systemd_runs_without_a_failed_unit,
                         self.controllers_are_pulled_out_under_verified_io, self.the_commands_of_the_manual_work,
                         self.mpath_top_shows_the_head, self.the_driver_in_rust_works,
                         self.the_previous_kernel_boots_and_finds_its_root,
                         self.the_packages_go):
                self._do(step)
            self._machine.leave("systemctl poweroff")
            self._machine.wait_for_end(_SHORT)

    def _do(self, step) -> None:
        name = step.__name__
        begun = time.monotonic()
        try:
            step()
        except log.Failure:
            self._outcomes[name] = record.FAILED
            raise
        self._outcomes[name] = record.PASSED
        log.info(f"deb: {name}: passed in {log.elapsed(time.monotonic() - begun)}")

    def the_packages_build(self) -> None:
        self._packages = deb.build(deb.LAB)

    def a_driver_in_rust_builds_against_the_headers(self) -> None:
        shutil.rmtree(HOME, ignore_errors=True)
        place = HOME / "driver"
        place.mkdir(parents=True)
        for file in (_SAMPLE, _OF_SAMPLES):
            shutil.copyfile(file, place / file.name)
        (place / "Kbuild").write_text(_KBUILD)
        with log.step("deb-driver", f"building {_SAMPLE.name} against {self._packages.headers.name}") as step:
            root = debs.unpack(step, self._packages.headers, HOME / "headers")
            (headers,) = root.glob("usr/src/linux-headers-*")
            step.run(["make", "-C", headers, f"M={place}", *kernel.llvm(self._packages.options), "modules"],
                     env=kernel.environment(), show=kernel.show)
        shutil.rmtree(HOME / "headers")

    def _disk_of_packages(self) -> Path:
        """The image of a file system with the packages and the driver."""
        place, image = HOME / "packages", HOME / "packages.img"
        place.mkdir()
        for file in [*self._packages.files, HOME / "driver" / "rust_mpath_ram.ko"]:
            shutil.copyfile(file, place / file.name)
        size = sum(file.stat().st_size for file in place.iterdir())
        with log.step("deb-packages", "writing a disk with the packages") as step:
            cache.need_space(image, size / cache.GIB * 1.5, "a disk with the packages")
            step.run(["mke2fs", "-q", "-F", "-t", "ext4", "-d", place, image, f"{(size >> 10) * 5 // 4 + (16 << 10)}"])
        return image

    def debian_boots_its_own_kernel(self) -> None:
        self._previous = self._machine.wait_for_boot(_BOOT)
        if self._previous == self._packages.release:
            self._machine.fail(f"the machine runs Linux {self._previous} before that was installed")
        self._check_root()

    def apt_installs_the_packages(self) -> None:
        release = self._packages.release
        self._machine.run("mount -o ro /dev/disk/by-id/virtio-packages /mnt")
        names = " ".join(shlex.quote(f"/mnt/{file.name}") for file in self._packages.files)
        self._machine.run(f"DEBIAN_FRONTEND=noninteractive apt-get install -y {names}", _INSTALL)
        held = self._machine.run(f"lsinitramfs /boot/initrd.img-{release}", _SHORT)
        missing = [name for name in ("libmultipath.ko", "nvme-core.ko", "nvme.ko") if f"/{name}" not in held]
        if missing:
            self._machine.fail(f"the initramfs of {release} does not have {', '.join(missing)}")
        self._machine.run(f"test -e /usr/src/linux-headers-{release}/rust/libkernel.rmeta")

    def the_new_kernel_boots_from_a_head_with_two_paths(self) -> None:
        self._reboot(self._packages.release)
        self._machine.run("test -d /sys/module/libmultipath")
        said = self._machine.run(f"cat /sys/kernel/debug/multipath/{self._head}")
        if "state live" not in said or "usable 2" not in said:
            self._machine.fail(f"debugfs does not say that {self._head} is live, with two usable paths", said)

    def systemd_runs_without_a_failed_unit(self) -> None:
        _, state = self._machine.try_out("systemctl is-system-running --wait", _BOOT)
        if state != "running":
            _, failed = self._machine.try_out("systemctl --failed --no-legend; systemctl list-jobs; journalctl -p err -b")
            self._machine.fail(f"systemctl is-system-running says {state}", failed)

    def controllers_are_pulled_out_under_verified_io(self) -> None:
        its = self._machine
        its.run(f"({_FIO}; echo $? > /root/load.status) > /dev/null 2>&1 &")
        for name in machine.CONTROLLERS:
            self._lose_a_path(name, lambda name=name: its.pull(name), lambda name=name: its.put_back(name))
        # As an administrator does for service.
        last = its.run("ls /sys/class/nvme | tail -n 1")
        self._lose_a_path(last, lambda: its.run(f"echo 1 > /sys/class/nvme/{last}/device/remove"),
                          lambda: its.run("echo 1 > /sys/bus/pci/rescan"))
        its.wait_until("test -e /root/load.status", "fio to end", _LOAD)
        if its.run("cat /root/load.status") != "0":
            its.fail("fio has found errors", its.run("cat /root/load.txt"))
        # By now, fio has read every block back. The test compares the data from here on with this.
        its.run("sync; sha256sum /root/load > /root/load.sum; sync")
        self._check_log()

    def the_commands_of_the_manual_work(self) -> None:
        it_is_in_force = self._machine.run("set -ex; " + manual("Is it in force?"))
        for word in (self._packages.release, "nvme_core", f"\n{self._head}\n"):
            if word not in f"{it_is_in_force}\n":
                self._machine.fail(f"the manual's commands do not print {word!r}", it_is_in_force)
        self._machine.run(f"cd /root && bash -c {shlex.quote(manual('Report a bug'))}")
        report = self._machine.run("cat /root/report.txt")
        missing = [word for word in (f"linux-image-{self._packages.release}", "iopolicy:numa", "state:live",
                                     "multipath_failover_count", "usable 2", "Linux version") if word not in report]
        if missing:
            self._machine.fail(f"the report of a bug does not have {', '.join(missing)}", report)

    def mpath_top_shows_the_head(self) -> None:
        said = self._machine.run("mpath-top --once")
        if self._head not in said:
            self._machine.fail(f"mpath-top does not show {self._head}", said)
        self._machine.run("zcat /usr/share/man/man8/mpath-top.8.gz | grep -q '^\\.TH'")

    def the_driver_in_rust_works(self) -> None:
        for command in ("modprobe configfs", "insmod /mnt/rust_mpath_ram.ko paths=2 size_mib=16",
                        "mkdir /sys/kernel/config/mpath_ram/0 /sys/kernel/config/mpath_ram/1",
                        "udevadm settle; test -b /dev/mpram0",
                        "dd if=/dev/urandom of=/root/data bs=1M count=16 status=none",
                        "dd if=/root/data of=/dev/mpram0 bs=64k oflag=direct status=none",
                        "echo 0 > /sys/kernel/config/mpath_ram/0/live",
                        "dd if=/dev/mpram0 bs=64k iflag=direct status=none | cmp - /root/data",
                        "rmdir /sys/kernel/config/mpath_ram/0 /sys/kernel/config/mpath_ram/1",
                        "rmmod rust_mpath_ram"):
            self._machine.run(command)
        self._check_log()

    def the_previous_kernel_boots_and_finds_its_root(self) -> None:
        menu = self._machine.run("cat /boot/grub/grub.cfg")
        submenu = re.search(r"'(gnulinux-advanced-\S+)'", menu)
        entry = re.search(rf"'(gnulinux-{re.escape(self._previous)}-advanced-\S+)'", menu)
        if not submenu or not entry:
            self._machine.fail(f"the boot menu has no entry for Linux {self._previous}", menu)
        self._machine.run(f"grub-reboot {shlex.quote(f'{submenu[1]}>{entry[1]}')}")
        self._reboot(self._previous)
        self._machine.run("sha256sum -c /root/load.sum", _LOAD)

    def the_packages_go(self) -> None:
        names = f"linux-image-{self._packages.release} linux-headers-{self._packages.release} mpath-top"
        self._machine.run(f"DEBIAN_FRONTEND=noninteractive apt-get purge -y {names}", _INSTALL)
        self._machine.run(f"! grep {self._packages.release} /boot/grub/grub.cfg")
        left = self._machine.run(f"ls -d /boot/*{self._packages.release}* 2>/dev/null || true")
        if left:
            self._machine.fail(f"the packages leave {left}")

    def _reboot(self, release: str) -> None:
        """Reboots, and fails unless this kernel runs then, from the same root."""
        self._machine.leave("systemctl reboot")
        runs = self._machine.wait_for_boot(_BOOT)
        if runs != release or self._machine.run("uname -r") != release:
            self._machine.fail(f"the machine boots Linux {runs} and not {release}")
        self._machine.try_out("mount -o ro /dev/disk/by-id/virtio-packages /mnt")
        self._check_root()

    def _check_root(self) -> None:
        source = self._machine.run("findmnt -no SOURCE /")
        found = _ROOT.fullmatch(source)
        if not found:
            self._machine.fail(f"the root is on {source} and not on a partition of a head")
        self._head = found[1] + found[2]
        self._wait_for_paths(f"{found[1]}c*{found[2]}", 2, "both paths")
        self._machine.run("touch /root/can-be-written-to; sync")

    def _wait_for_paths(self, pattern: str, count: int, what: str) -> None:
        self._machine.wait_until(f"[ $(ls -d /sys/block/{pattern} 2>/dev/null | wc -l) = {count} ]", what, _SHORT)

    def _lose_a_path(self, name: str, lose, restore) -> None:
        """Has a path go under I/O and come back, and I/O go on."""
        self._await_io(f"with both paths, before {name} goes")
        lose()
        links = f"{self._head}/multipath/nvme*"
        self._wait_for_paths(links, 1, f"the path by {name} to go")
        self._await_io(f"without {name}")
        self._check_loading(f"while {name} is out")
        restore()
        self._wait_for_paths(links, 2, f"the path by {name} to come back")

    def _await_io(self, when: str) -> None:
        count = f"awk '{{ print $1 + $5 }}' /sys/block/{self._head}/stat"
        begin = int(self._machine.run(count))
        self._machine.wait_until(f"[ $({count}) -ge {begin + _IOS} ]", f"{_IOS} I/Os {when}", _SHORT)

    def _check_loading(self, when: str) -> None:
        if not self._machine.try_out("test -e /root/load.status")[0]:
            self._machine.fail(f"fio has ended {when}", self._machine.try_out("cat /root/load.txt")[1])

    def _check_log(self) -> None:
        lines = self._machine.run("dmesg").splitlines()
        wrong = [*kernel_log.problems(lines), *(line for line in lines if _LOST.search(line))]
        if wrong:
            self._machine.fail("the kernel's log has what must not be there", "\n".join(wrong))


def manual(heading: str, text: str | None = None) -> str:
    """The commands of a chapter of docs/operating.md."""
    found = re.search(rf"^## {re.escape(heading)}$(?:(?!^## ).)*?^```sh$\n(.*?)^```$", text or _MANUAL.read_text(),
                      re.MULTILINE | re.DOTALL)
    return found[1] if found else log.fail(f"{_MANUAL.name} has no commands below the heading {heading}")


#: The tests, in their order.
STEPS = tuple(name for name in vars(_Story) if not name.startswith("_") and name != "tell")
