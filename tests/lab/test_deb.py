# SPDX-License-Identifier: GPL-2.0
"""`make deb` names the faults of a configuration, or of the machine, before it builds anything."""

import subprocess

import pytest

from lab.builds import debian_config
from lab.builds import debs
from lab.builds import kernel
from lab.builds import versions
from lab.builds import setup
from lab.host import log
from lab.host import machine
from lab.host import paths
from lab.runs import deb
from lab.runs import deb_test

#: The options of a Debian kernel's configuration that `make deb` looks at.
GOOD = {"CONFIG_X86_64": "y", "CONFIG_MODULES": "y", "CONFIG_BLOCK": "y", "CONFIG_SYSFS": "y", "CONFIG_PCI": "y",
        "CONFIG_BLK_DEV_INITRD": "y", "CONFIG_RANDSTRUCT_NONE": "y", "CONFIG_DEBUG_INFO_BTF": "y",
        "CONFIG_LTO_NONE": "y", "CONFIG_MODULE_SIG": "y", "CONFIG_MODULE_SIG_ALL": "y",
        "CONFIG_MODULE_SIG_KEY": '"certs/signing_key.pem"', "CONFIG_SYSTEM_TRUSTED_KEYS": '""',
        "CONFIG_BLK_DEV_NVME": "m", "CONFIG_NVME_MULTIPATH": "y", "CONFIG_DEBUG_FS": "y",
        "CONFIG_LOCALVERSION": '""'}
NEW_PAHOLE = 124


@pytest.fixture
def tree(tmp_path):
    (tmp_path / "certs").mkdir()
    (tmp_path / "certs" / "mine.pem").touch()
    return tmp_path


def test_a_debian_configuration_is_accepted(tree):
    assert debian_config.refusals(GOOD, tree, NEW_PAHOLE) == []


@pytest.mark.parametrize("bad,pahole,said", (
    ({"CONFIG_X86_64": "n"}, NEW_PAHOLE, "only packages for x86-64"),
    ({"CONFIG_MODULES": "n"}, NEW_PAHOLE, "set CONFIG_MODULES=y"),
    ({"CONFIG_BLOCK": "n"}, NEW_PAHOLE, "set CONFIG_BLOCK=y"),
    ({"CONFIG_SYSFS": "n"}, NEW_PAHOLE, "set CONFIG_SYSFS=y"),
    ({"CONFIG_PCI": "n"}, NEW_PAHOLE, "set CONFIG_PCI=y"),
    ({"CONFIG_BLK_DEV_INITRD": "n"}, NEW_PAHOLE, "set CONFIG_BLK_DEV_INITRD=y"),
    ({"CONFIG_RANDSTRUCT_FULL": "y"}, NEW_PAHOLE, "set CONFIG_RANDSTRUCT_NONE=y"),
    ({"CONFIG_RANDSTRUCT_PERFORMANCE": "y"}, NEW_PAHOLE, "set CONFIG_RANDSTRUCT_NONE=y"),
    ({}, 123, "v1.23 is installed"),
    ({}, 0, "none is installed"),
    ({"CONFIG_LTO_CLANG_THIN": "y"}, NEW_PAHOLE, "set CONFIG_LTO_NONE=y"),
    ({"CONFIG_LTO_CLANG_FULL": "y"}, NEW_PAHOLE, "set CONFIG_LTO_NONE=y"),
    ({"CONFIG_MODULE_SIG_KEY": '""'}, NEW_PAHOLE, "there is no key"),
    ({"CONFIG_MODULE_SIG_KEY": '"/keys/theirs.pem"'}, NEW_PAHOLE, 'set CONFIG_MODULE_SIG_KEY="certs/signing_key.pem"'),
    ({"CONFIG_SYSTEM_TRUSTED_KEYS": '"debian/certs/a.pem"'}, NEW_PAHOLE, 'set CONFIG_SYSTEM_TRUSTED_KEYS=""'),
    ({"CONFIG_SYSTEM_REVOCATION_KEYS": '"debian/revoked.pem"'}, NEW_PAHOLE, "debian/revoked.pem"),
    ({"CONFIG_SYSTEM_BLACKLIST_HASH_LIST": '"hashes"'}, NEW_PAHOLE, "hashes"),
    ({"CONFIG_INITRAMFS_SOURCE": '"/srv/files"'}, NEW_PAHOLE, "/srv/files"),
))
def test_an_option_that_cannot_be_put_right_is_refused(tree, bad, pahole, said):
    (reason,) = debian_config.refusals(GOOD | bad, tree, pahole)
    assert said in reason
    assert any(option in reason for option in [*bad, "CONFIG_DEBUG_INFO_BTF"])


def test_an_old_pahole_does_without_btf(tree):
    assert debian_config.refusals(GOOD | {"CONFIG_DEBUG_INFO_BTF": "n"}, tree, 0) == []


def test_keys_that_are_there_are_used(tree):
    keys = {"CONFIG_MODULE_SIG_KEY": '"pkcs11:token=mine"', "CONFIG_SYSTEM_TRUSTED_KEYS": '"certs/mine.pem"'}
    assert debian_config.refusals(GOOD | keys, tree, NEW_PAHOLE) == []


def test_nobody_needs_a_key_who_signs_no_modules(tree):
    unsigned = {"CONFIG_MODULE_SIG_ALL": "n", "CONFIG_MODULE_SIG_KEY": '""'}
    assert debian_config.refusals(GOOD | unsigned, tree, NEW_PAHOLE) == []


@pytest.mark.parametrize("has,option,value", (
    ({}, "CONFIG_RUST", "y"),
    ({}, "CONFIG_NVME_MULTIPATH_LIB", "y"),
    ({}, "CONFIG_LOCALVERSION", '"-mpath"'),
    ({"CONFIG_LOCALVERSION_AUTO": "y"}, "CONFIG_LOCALVERSION_AUTO", "n"),
    ({"CONFIG_NVME_MULTIPATH": "n"}, "CONFIG_NVME_MULTIPATH", "y"),
    ({"CONFIG_BLK_DEV_NVME": "n"}, "CONFIG_BLK_DEV_NVME", "m"),
    ({"CONFIG_BLK_DEV_NVME": "y"}, "CONFIG_BLK_DEV_NVME", "m"),
    ({"CONFIG_NVME_TCP": "y"}, "CONFIG_NVME_TCP", "m"),
    ({"CONFIG_NVME_TARGET_LOOP": "y"}, "CONFIG_NVME_TARGET_LOOP", "m"),
    ({"CONFIG_MODVERSIONS": "y"}, "CONFIG_MODVERSIONS", "n"),
))
def test_an_option_that_can_be_put_right_is_changed_and_said(has, option, value):
    (change,) = [each for each in debian_config.changes(GOOD | has) if each.option == option]
    assert change.value == value
    assert str(change).startswith(f"{option}={value}: ")


@pytest.mark.parametrize("has,option", (
    ({"CONFIG_RUST": "y"}, "CONFIG_RUST"),
    ({}, "CONFIG_NVME_MULTIPATH"),
    ({}, "CONFIG_BLK_DEV_NVME"),
    ({}, "CONFIG_LOCALVERSION_AUTO"),
    ({"CONFIG_MODVERSIONS": "y", "CONFIG_GENDWARFKSYMS": "y"}, "CONFIG_MODVERSIONS"),
))
def test_an_option_that_is_right_is_left_alone(has, option):
    assert option not in [each.option for each in debian_config.changes(GOOD | has)]


def test_a_change_takes_the_place_of_what_was_said():
    text = "CONFIG_RUST_X=y\n# CONFIG_RUST is not set\nCONFIG_MODVERSIONS=y\nCONFIG_A=y\n"
    changed = debian_config.apply(text, [debian_config.Change("CONFIG_RUST", "y", ""),
                                         debian_config.Change("CONFIG_MODVERSIONS", "n", "")])
    assert changed == "CONFIG_RUST_X=y\nCONFIG_A=y\nCONFIG_RUST=y\n# CONFIG_MODVERSIONS is not set\n"
    assert debian_config.apply(text, []) == text


@pytest.mark.parametrize("got,option,said", (
    ({"CONFIG_RUST_IS_AVAILABLE": "n"}, "CONFIG_RUST", "rustavailable"),
    ({"CONFIG_RUST_IS_AVAILABLE": "y", "CONFIG_KASAN_SW_TAGS": "y"}, "CONFIG_RUST", "CONFIG_KASAN_SW_TAGS"),
    ({}, "CONFIG_NVME_MULTIPATH_LIB", "needs CONFIG_RUST"),
    ({"CONFIG_NVME_CORE": "y", "CONFIG_NVME_FC": "y"}, "CONFIG_NVME_CORE", "CONFIG_NVME_FC is built in"),
))
def test_an_option_that_kconfig_does_not_accept_is_told_with_a_reason(got, option, said):
    (line,) = debian_config.lost(got, {option: debian_config.IN_FORCE[option]})
    assert line.startswith(f"{option} is {got.get(option, 'n')}, and must be ") and said in line


def test_nothing_is_lost_that_is_in_force():
    assert debian_config.lost(dict(debian_config.IN_FORCE), debian_config.IN_FORCE) == []


def test_notes_are_about_what_users_meet_later(tmp_path):
    variable = tmp_path / debian_config._SECURE_BOOT
    variable.parent.mkdir(parents=True)
    variable.write_bytes(b"\6\0\0\0\1")
    bad = {"CONFIG_MODULE_SIG_FORCE": "y", "CONFIG_DEBUG_FS": "n", "CONFIG_DEBUG_INFO": "y"}
    told = debian_config.notes(GOOD | bad, tmp_path)
    assert [any(word in note for note in told) for word in ("Secure Boot", "DKMS", "debugfs", "disk space")] == [True] * 4
    variable.write_bytes(b"\6\0\0\0\0")
    assert debian_config.notes(GOOD, tmp_path) == []


@pytest.mark.parametrize("option,package", (("CONFIG_KERNEL_ZSTD", "zstd"), ("CONFIG_KERNEL_LZ4", "lz4"),
                                            ("CONFIG_MODULE_COMPRESS_ZSTD", "zstd"), ("CONFIG_MODULE_SIG", "openssl"),
                                            ("CONFIG_GENDWARFKSYMS", "libdw-dev")))
def test_an_option_needs_its_program(option, package):
    assert list(debian_config.needed({option: "y"})) == [package]
    assert debian_config.needed({option: "n"}) == {}


@pytest.mark.parametrize("content,said", ((None, "does not exist"), (b"\xff\xfe\x00", "is no text"),
                                          (b"hello\n", "sets no option")))
def test_a_file_that_is_no_configuration_is_refused(tmp_path, content, said):
    file = tmp_path / "config"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(log.Failure, match=said):
        debian_config.read(file)


def test_a_directory_is_no_configuration(tmp_path):
    with pytest.raises(log.Failure, match="is no file"):
        debian_config.read(tmp_path)


@pytest.mark.parametrize("place", ("boot/config-7.3", "usr/lib/modules/7.3/config"))
def test_the_configuration_of_the_running_kernel_is_where_debian_has_it(tmp_path, place):
    with pytest.raises(log.Failure, match="no configuration of the kernel that runs.*boot/config-7.3.*modules/7.3/config"):
        debian_config.of_running_kernel("7.3", tmp_path)
    (tmp_path / place).parent.mkdir(parents=True)
    (tmp_path / place).touch()
    assert debian_config.of_running_kernel("7.3", tmp_path) == tmp_path / place


@pytest.fixture
def nothing_is_built(monkeypatch):
    """All steps before the build succeed, and the build itself is a fault."""
    def built(*_arguments):
        raise AssertionError("something was built")
    monkeypatch.setattr(debs, "check_top", lambda: None)
    monkeypatch.setattr(deb, "_tree", built)
    monkeypatch.setattr(deb, "_package", built)
    for variable in ("SERIES", "LOCALMODCONFIG", "INSTALL", "CONFIG"):
        monkeypatch.delenv(variable, raising=False)


def test_a_configuration_is_refused_before_anything_is_built(nothing_is_built, monkeypatch, tmp_path, capsys):
    file = tmp_path / "config"
    file.write_text("CONFIG_X86_64=y\nCONFIG_RANDSTRUCT_FULL=y\n")
    monkeypatch.setattr(setup, "ensure_asked", lambda more, asked: None)
    monkeypatch.setattr(deb.source, "kernel", lambda: deb.source.Source(tmp_path, "7.3.4", mutable=False))
    with pytest.raises(log.Failure, match="cannot be used as it is, for 6 reasons.*nothing was built"):
        deb.build(str(file))
    said = capsys.readouterr().err
    assert "CONFIG_RANDSTRUCT_FULL=y" in said and "CONFIG_MODULES is not set" in said


@pytest.mark.parametrize("asked,root", ((False, True), (True, False), (False, False)))
def test_nothing_is_installed_that_nobody_has_asked_for(nothing_is_built, monkeypatch, asked, root):
    monkeypatch.setattr(setup, "_has", lambda sign: sign != "dh_builddeb")
    monkeypatch.setattr(setup, "_may_install", lambda: root)
    monkeypatch.setattr(setup.apt, "install", lambda packages: pytest.fail(f"{packages} were installed"))
    monkeypatch.setattr(setup, "_missing_llvm", lambda rustc: ["clang-7"])
    with pytest.raises(log.Failure, match="missing packages: debhelper clang-7 .nothing was installed"):
        setup.ensure_asked(setup.DEB_PACKAGES, asked)


def test_without_rust_its_packages_and_their_llvm_are_missing(monkeypatch):
    monkeypatch.setattr(setup.toolchain, "rustc", lambda: None)
    monkeypatch.setattr(setup, "_rust_packages", lambda: ("rustc-7", "cargo-7"))
    monkeypatch.setattr(setup.apt, "llvm_of", lambda package: 7 if package == "rustc-7" else None)
    assert setup._missing({}) == ["rustc-7", "cargo-7", "clang-7", "lld-7", "llvm-7", "libclang-7-dev"]


@pytest.mark.parametrize("variable,value", (("SERIES", "0"), ("LOCALMODCONFIG", "yes"), ("INSTALL", "please")))
def test_a_variable_with_another_value_is_refused(nothing_is_built, monkeypatch, variable, value):
    monkeypatch.setenv(variable, value)
    with pytest.raises(log.Failure, match=f"{variable}={value} is none of "):
        deb.build(deb.LAB)


def test_the_labs_configuration_is_not_made_smaller(nothing_is_built, monkeypatch):
    monkeypatch.setenv("LOCALMODCONFIG", "1")
    with pytest.raises(log.Failure, match="LOCALMODCONFIG=1 is for a distribution's"):
        deb.build(deb.LAB)


def test_a_tree_that_has_the_series_does_not_get_it_again(tmp_path):
    (tmp_path / "lib" / "multipath").mkdir(parents=True)
    (tmp_path / "lib" / "multipath" / "Kconfig").touch()
    with pytest.raises(log.Failure, match="SERIES=n builds it as it is"):
        deb._tree(deb.source.Source(tmp_path, "7.3.4", mutable=True))


@pytest.mark.parametrize("kconfig,absent", ((None, debian_config.OF_SERIES),
                                            ("config NVME_MULTIPATH\n", debian_config.OF_SERIES),
                                            ("config NVME_MULTIPATH_LIB\n\tbool\n", ())))
def test_options_are_set_as_far_as_the_tree_has_them(tmp_path, kconfig, absent):
    if kconfig:
        (tmp_path / "drivers/nvme/host").mkdir(parents=True)
        (tmp_path / "drivers/nvme/host/Kconfig").write_text(kconfig)
    assert deb._absent(tmp_path) == absent


def test_files_that_are_as_before_keep_their_times(tmp_path, monkeypatch):
    old, fresh = tmp_path / "old", tmp_path / "fresh"
    for place, other in ((old, "1"), (fresh, "2")):
        place.mkdir()
        (place / "same").write_text("same")
        (place / "other").write_text(other)
    for file in old.iterdir():
        deb.os.utime(file, (1000, 1000))
    (fresh / "new").write_text("new")
    monkeypatch.setattr(deb.process, "output", lambda words: "same\0other\0new\0")
    deb._keep_times(old, fresh)
    assert [(fresh / name).stat().st_mtime == 1000 for name in ("same", "other", "new")] == [True, False, False]


@pytest.mark.parametrize("there,said", (((), "no mpath-top and no mpath-top.8, which"),
                                        (("mpath-top",), "has no mpath-top.8, which"),
                                        (("mpath-top.8",), "has no mpath-top, which")))
def test_without_mpath_top_there_is_a_clear_error(monkeypatch, tmp_path, there, said):
    for name in there:
        (tmp_path / name).touch()
    monkeypatch.setattr(debs, "TOP", tmp_path)
    with pytest.raises(log.Failure, match=said):
        debs.check_top()


class Step:
    """Runs programs for real."""

    def run(self, words, **options):
        subprocess.run([str(word) for word in words], check=True, capture_output=True, **options)


@pytest.fixture
def package(tmp_path):
    """A package of headers as the kernel's own packaging leaves it, and the build that it comes from."""
    root, build = tmp_path / "root", tmp_path / "build"
    headers = root / "usr/src/linux-headers-7.3.4-mpath"
    (headers / "scripts").mkdir(parents=True)
    (headers / "scripts" / "a").write_text("a")
    (root / "DEBIAN").mkdir()
    (root / "DEBIAN" / "control").write_text(
        "Package: linux-headers-7.3.4-mpath\nVersion: 1\nArchitecture: amd64\nMaintainer: a <a@b>\nInstalled-Size: 1\n"
        "Description: headers\n more\n")
    for name in ("rust/libkernel.rmeta", "rust/libcore.rmeta", "rust/libmacros.so", "rust/helpers/helpers_module.bc",
                 "lib/multipath/rust/liblibmultipath.rmeta"):
        (build / name).parent.mkdir(parents=True, exist_ok=True)
        (build / name).write_text("x" * 3000)
    subprocess.run(["dpkg-deb", "--root-owner-group", "-b", root, tmp_path / "headers.deb"], check=True,
                   capture_output=True)
    return tmp_path / "headers.deb", build


RUST = {"CONFIG_RUST": "y", "CONFIG_LIBMULTIPATH": "m", "CONFIG_RUST_INLINE_HELPERS": "y"}


def test_headers_get_what_rust_needs_and_stay_a_good_package(package, tmp_path):
    file, build = package
    added = debs.complete_headers(Step(), file, build, RUST)
    assert len(added) == 5
    subprocess.run(["dpkg-deb", "-R", file, tmp_path / "out"], check=True)
    out = tmp_path / "out"
    assert (out / "usr/src/linux-headers-7.3.4-mpath/rust/libkernel.rmeta").read_text() == "x" * 3000
    subprocess.run(["md5sum", "--quiet", "-c", "DEBIAN/md5sums"], cwd=out, check=True)
    control = (out / "DEBIAN" / "control").read_text()
    assert control.count("Installed-Size: 16\n") == 1 and control.endswith("Description: headers\n more\n")
    assert not list(tmp_path.glob("headers*unpacked*"))


@pytest.mark.parametrize("lost", ("rust/libkernel.rmeta", "rust/libmacros.so", "rust/helpers/helpers_module.bc",
                                  "lib/multipath/rust/liblibmultipath.rmeta"))
def test_headers_without_what_rust_needs_are_no_package(package, lost):
    file, build = package
    (build / lost).unlink()
    with pytest.raises(log.Failure, match="no file is called"):
        debs.complete_headers(Step(), file, build, RUST)


def test_headers_without_the_library_need_nothing_of_it(package):
    file, build = package
    (build / "lib/multipath/rust/liblibmultipath.rmeta").unlink()
    assert len(debs.complete_headers(Step(), file, build, {"CONFIG_RUST": "y"})) == 3


def test_the_package_of_mpath_top_has_its_files(monkeypatch, tmp_path):
    place = tmp_path / "source"
    place.mkdir()
    (place / "mpath-top").write_text("#!/usr/bin/python3\n")
    (place / "mpath-top.8").write_text(".TH MPATH-TOP 8\n")
    monkeypatch.setattr(debs, "TOP", place)
    package = debs.top(Step(), "7.3.4-1", "A <a@b>", tmp_path)
    listed = subprocess.run(["dpkg-deb", "-c", package], check=True, capture_output=True, text=True).stdout
    assert "-rwxr-xr-x root/root" in listed and "./usr/bin/mpath-top" in listed
    assert "./usr/share/man/man8/mpath-top.8.gz" in listed


def test_every_step_that_did_not_come_to_its_turn_has_failed(monkeypatch):
    def story(self):
        self._do(self.the_packages_build)
        raise AssertionError("it goes on")

    def fails(self):
        log.fail("no")
    monkeypatch.setattr(deb_test._Story, "tell", story)
    monkeypatch.setattr(deb_test._Story, "the_packages_build", fails)
    fails.__name__ = "the_packages_build"
    monkeypatch.setattr(setup, "ensure_asked", lambda more, asked: None)
    counts = deb_test.run()
    assert counts.failed == len(deb_test.STEPS) > 9 and not counts.passed


@pytest.mark.parametrize("line", ("EXT4-fs error (device nvme0n1p1): ext4_find_entry", "I/O error, dev nvme0n1, sector 8",
                                  "block nvme0n1: no available path - failing I/O", "WARNING: block/bio.c:1 at bio_put"))
def test_a_log_with_lost_io_is_bad(line):
    its = _Machine(["[ 1.0] fine", f"[ 2.0] {line}"])
    story = deb_test._Story({})
    story._machine = its
    with pytest.raises(log.Failure):
        story._check_log()


def test_a_log_of_a_path_that_went_is_good():
    story = deb_test._Story({})
    story._machine = _Machine(["block nvme0n1: path nvme0c0n1 fails I/O, 1 times up to now", "nvme nvme0: I/O 5 QID 1"])
    story._check_log()


class _Machine:
    """A machine on which all commands print the same."""

    def __init__(self, lines):
        self._lines = lines

    def run(self, command, seconds=0):
        return "\n".join(self._lines)

    def fail(self, why, said=""):
        log.fail(why)


@pytest.mark.parametrize("source", ("/dev/sda1", "/dev/nvme0c0n1p1", "overlay"))
def test_a_root_that_is_on_no_head_is_bad(source):
    story = deb_test._Story({})
    story._machine = _Machine([source])
    with pytest.raises(log.Failure, match=f"the root is on {source}"):
        story._check_root()


def test_the_manual_has_the_commands_that_are_tried():
    assert "uname -r" in deb_test.manual("Is it in force?") and "dmesg" in deb_test.manual("Report a bug")
    for text in ("## A\nno commands\n## B\n```sh\nb\n```\n", "## B\n```sh\nb\n```\n"):
        assert deb_test.manual("B", text) == "b\n"
        with pytest.raises(log.Failure, match="below the heading A"):
            deb_test.manual("A", text)


@pytest.fixture
def line(tmp_path):
    """A machine, and the other end of its agent's line."""
    ours, theirs = machine.socket.socketpair()
    its = machine.Machine.__new__(machine.Machine)
    its._agent, its._partial, its._console = ours, b"", tmp_path / "console"
    return its, theirs


def test_answers_are_found_among_what_firmware_writes(line):
    its, theirs = line
    theirs.sendall(b"\x1b[2JSeaBIOS\r\n12\n" + b'{"started": "7.3.4-mpath"}\n{"status": 3, "output": "no"}\n')
    assert its.wait_for_boot(5) == "7.3.4-mpath"
    assert its.try_out("true", 5) == (3, "no")
    with pytest.raises(log.Failure, match="waited 0 s for the system to boot"):
        its.wait_for_boot(0)


def test_the_answer_of_what_has_ended_the_system_is_not_that_of_the_next_one(line):
    its, theirs = line
    theirs.sendall(b'{"status": 0, "output": ""}\n{"started": "6.1"}\n')
    assert its.wait_for_boot(5) == "6.1"


def test_a_machine_that_boots_by_itself_is_bad(line):
    its, theirs = line
    theirs.sendall(b'{"started": "6.1"}\n')
    with pytest.raises(log.Failure, match="booted again while it was at `true`"):
        its.run("true", 5)


def test_a_command_that_fails_in_the_machine_is_told_with_its_output(line, capsys):
    its, theirs = line
    theirs.sendall(b'{"status": 7, "output": "no such disk"}\n')
    with pytest.raises(log.Failure, match="`false` exited with 7"):
        its.run("false", 5)
    assert "no such disk" in capsys.readouterr().out


def test_the_disk_that_is_kept_is_not_written_to():
    for kept, word in ((True, "snapshot=off"), (False, "snapshot=on")):
        assert word in " ".join(map(str, machine._arguments(paths.ROOT / "disk", kept, None, ())))


def test_the_firmware_starts_from_the_root_and_not_from_the_disk_of_packages():
    words = list(map(str, machine._arguments(paths.ROOT / "disk", False, paths.ROOT / "packages", ())))
    first = [word for word in words if "bootindex=" in word]
    assert len(first) == 2 and all(word.startswith("driver=nvme,") for word in first)
    assert not any("virtio-blk" in word and "bootindex" in word for word in words)


def test_debian_adds_to_the_labs_kernel():
    options = kernel.fragment(deb._LAB_CONFIGURATION, versions.NEWEST)
    assert options["CONFIG_BLK_DEV_NVME"] == "m" and options["CONFIG_PANIC_ON_OOPS"] == "n"
