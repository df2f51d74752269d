# SPDX-License-Identifier: GPL-2.0
"""The disk of a Debian machine, as an installer leaves one: Debian's own kernel, initramfs-tools, systemd and GRUB.

mmdebstrap makes the root, mke2fs a file system of it in an image of a disk. No device of the host has a part in it: a
machine boots the disk once and installs the boot loader by itself. The image stays in the cache. It does not have the
packages that `make deb` builds: a machine installs those.
"""

import os
import shlex
import struct
from pathlib import Path

from lab.builds import apt
from lab.builds import cache
from lab.host import digest
from lab.host import log
from lab.host import machine
from lab.host import paths

SUITE = "bookworm"
#: Beside Debian's essential packages and apt: the system, and the programs that the test uses in it.
PACKAGES = ("systemd-sysv", "udev", "kmod", "dbus", "initramfs-tools", "linux-image-cloud-amd64", "grub-pc", "e2fsprogs",
            "fio", "nvme-cli", "python3")
AGENT = paths.ROOT / "tests" / "deb" / "agent.py"
_DISK_MIB = 3072
#: Where the only partition begins: GRUB has the space before it.
_BEGIN_MIB = 1
_SPACE_GIB = 6
_LABEL = "debian"
_BOOT_SECONDS = 600
_UNIT = """\
[Unit]
Description=what the lab asks this machine to do

[Service]
ExecStart=/usr/bin/python3 /opt/agent.py
StandardOutput=journal

[Install]
WantedBy=multi-user.target
"""
_GRUB = f"""\
GRUB_DEFAULT=saved
GRUB_TIMEOUT=1
GRUB_TERMINAL=serial
GRUB_SERIAL_COMMAND="serial --unit=0 --speed=115200"
GRUB_DISTRIBUTOR=Debian
GRUB_DISABLE_OS_PROBER=true
GRUB_CMDLINE_LINUX="{machine.PARAMETERS}"
"""
#: Files of the system, beside the agent, by name below its root.
_FILES = {
    "etc/fstab": f"LABEL={_LABEL} / ext4 errors=remount-ro 0 1\n",
    "etc/hostname": "debian\n",
    # Empty, or the first boot would ask questions.
    "etc/machine-id": "",
    "etc/hosts": "127.0.0.1 localhost debian\n",
    "etc/default/grub": _GRUB,
    "etc/systemd/system/agent.service": _UNIT,
}
#: The number of a head is that of the controller that the driver has found first.
_INSTALL = ('grub-install --target=i386-pc "/dev/$(lsblk -no PKNAME "$(findmnt -no SOURCE /)")"', "update-grub", "sync")


def ensure() -> Path:
    """The image, which nobody may write to."""
    home = paths.CACHE / "debian" / f"{SUITE}-{_key()}"
    with cache.lock(home, "Debian disk"):
        if not home.exists():
            _make(home)
    return home / "disk.img"


def _key() -> str:
    return digest.key(SUITE, *PACKAGES, str(_DISK_MIB), str(_FILES), str(_INSTALL), AGENT, Path(__file__))[:12]


def _make(home: Path) -> None:
    mirrors = apt.mirrors()
    if not mirrors:
        log.fail("the disk of a Debian machine cannot be had without apt and a mirror of Debian")
    cache.need_space(home, _SPACE_GIB, "the disk of a Debian machine")
    with cache.scratch(home) as part, log.step("debian-disk", f"making a machine with Debian {SUITE}") as step:
        done = part / "done"
        done.mkdir()
        step.run(["mmdebstrap", f"--mode={'root' if os.geteuid() == 0 else 'unshare'}", "--variant=minbase",
                  f"--include={','.join(PACKAGES)}", SUITE, part / "root.tar", f"deb {mirrors[0]} {SUITE} main"])
        _write_files(part / "files")
        _write_disk(step, part, done / "disk.img")
        _install_loader(part, done / "disk.img")
        done.rename(home)


def _write_files(place: Path) -> None:
    for name, text in _FILES.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text)
    (place / "opt").mkdir()
    (place / "opt" / "agent.py").write_bytes(AGENT.read_bytes())
    wanted = place / "etc/systemd/system/multi-user.target.wants"
    wanted.mkdir()
    (wanted / "agent.service").symlink_to("/etc/systemd/system/agent.service")


def _write_disk(step, part: Path, image: Path) -> None:
    """Writes a disk with one partition, whose file system has the root's files. Kernel and initramfs stay beside it."""
    with open(image, "wb") as disk:
        disk.truncate(_DISK_MIB << 20)
        disk.write(_partition_table())
    size_kib = (_DISK_MIB - _BEGIN_MIB) << 10
    options = f"offset={_BEGIN_MIB << 20},root_owner=0:0"
    script = " && ".join([
        f"cd {shlex.quote(str(part))}", "mkdir root", "tar -xpf root.tar -C root --numeric-owner --exclude='./dev/*'",
        "chown -R 0:0 files", "cp -a files/. root", "cp root/boot/vmlinuz-* vmlinuz", "cp root/boot/initrd.img-* initrd",
        "chmod a+r vmlinuz initrd",
        f"mke2fs -q -F -t ext4 -L {_LABEL} -E {options} -d root {shlex.quote(str(image))} {size_kib}", "rm -rf root"])
    # A user who is not root is root in a name space, where files may have owners.
    inside = [] if os.geteuid() == 0 else ["unshare", "--map-auto", "--map-root-user"]
    step.run([*inside, "sh", "-c", script])


def _partition_table() -> bytes:
    """A master boot record with one partition, which is active, up to the end of the disk."""
    begin, end = _BEGIN_MIB << 11, _DISK_MIB << 11
    no_cylinders = b"\xfe\xff\xff"
    entry = b"\x80" + no_cylinders + b"\x83" + no_cylinders + struct.pack("<II", begin, end - begin)
    return bytes(446) + entry + bytes(48) + b"\x55\xaa"


def _install_loader(part: Path, image: Path) -> None:
    """Boots the disk with its own kernel and initramfs, and has the system install its boot loader."""
    direct = (part / "vmlinuz", part / "initrd", f"root=LABEL={_LABEL} ro {machine.PARAMETERS}")
    with machine.start(image, paths.LOGS / "debian-disk-console.log", kept=True, direct=direct) as its:
        its.wait_for_boot(_BOOT_SECONDS)
        for command in _INSTALL:
            its.run(command, 300)
        its.leave("systemctl poweroff")
        its.wait_for_end(180)
