# SPDX-License-Identifier: GPL-2.0
"""The kernel that the lab boots and builds modules against.

A configuration is a name: `x86_64` is `allnoconfig` with tools/kernel/x86_64.config on top, and `x86_64+sanitize` lays
tools/kernel/sanitize.config over that; the first layer is the architecture's. An older kernel gets the layers of
tools/kernel/older/ beside. The cache keeps a build under a key of everything that went into it: source, options,
compilers. KDIR= gives a kernel that the user configured and built; the lab uses it as it is.
"""

import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache as once
from functools import cached_property
from pathlib import Path

from lab.builds import cache
from lab.builds import layer
from lab.builds import plugins
from lab.builds import root
from lab.builds import setup
from lab.builds import source
from lab.builds import toolchain
from lab.builds import versions
from lab.host import arch
from lab.host import log
from lab.host import paths
from lab.host import process

#: The option that only a clang of rustc's own LLVM major makes possible.
INLINE_HELPERS = "CONFIG_RUST_INLINE_HELPERS"
#: The configuration that everything is for without another word, and the one that finds wrong accesses.
PLAIN = "x86_64"
SANITIZE = "x86_64+sanitize"
#: The configuration of another architecture, which only some suites can use.
ARM64 = "arm64"
#: By what factor a guest may be slower on a kernel with KASAN and lockdep than on one without.
SLOWNESS = 4
SPACE_GIB = 3
#: The layers that older kernels get beside.
OLDER = "older"
#: Where the lab keeps the kernels that it has built.
_KEPT = paths.CACHE / "kernel"
#: The directories of the tree whose modules `make localmodconfig` keeps, loaded or not.
_LOCAL_KEEP = "drivers/nvme:lib/multipath"
#: The options that must be built in for a kernel to find its root in the guest, and to print.
GUEST_OPTIONS = (
    "CONFIG_9P_FS", "CONFIG_NET_9P_VIRTIO", "CONFIG_OVERLAY_FS", "CONFIG_VIRTIO_CONSOLE", "CONFIG_VIRTIO_PCI",
)


@dataclass(frozen=True)
class KernelBuild:
    """A built kernel. `image` need not exist for a kernel that the user gave with KDIR=."""

    image: Path
    build_dir: Path
    source: Path
    release: str

    def options(self) -> dict:
        """The options of its configuration: name to value, without those that are not set."""
        return options_of((self.build_dir / ".config").read_text())

    @property
    def key(self) -> str:
        """Tells it from every other kernel; empty for a kernel of KDIR= or KSRC=, which may change under the lab."""
        return self.build_dir.name if self.build_dir.parent == _KEPT and not os.environ.get("KSRC") else ""

    @cached_property
    def arch(self) -> arch.Arch:
        """The architecture of its CPUs."""
        return arch.ARM64 if self.options().get("CONFIG_ARM64") == "y" else arch.X86_64

    @property
    def root(self) -> Path:
        """The root of its guests: the host's, if that has programs for its CPUs."""
        return Path("/") if self.arch == arch.HOSTS else root.ensure(self.arch.name)

    @property
    def layer(self) -> Path:
        """The files that its guests find over the host's root."""
        return layer.ensure()

    @property
    def barriers(self) -> Path:
        """QEMU's plugin that executes the barriers of its guests, where QEMU leaves them out."""
        return plugins.barriers()

    @property
    def sanitizes(self) -> bool:
        """Does it look for wrong accesses, locks and objects while it runs?"""
        return self.options().get("CONFIG_KASAN") == "y"

    @property
    def slowness(self) -> int:
        """By what factor the time limits of its guests are longer."""
        return SLOWNESS if self.sanitizes else 1

    @property
    def is_flat(self) -> bool:
        """Must its guests do without host bridges of their own for each node?

        Not every machine has such bridges (host/arch.py). And each time the kernel enables a device, it asks the
        firmware for the interrupt lines of a bridge, which takes a kernel with KASAN half a minute to interpret. So all
        controllers are on the first bus, and the guest tells the kernel which nodes they are on (tests/guest/pci.py).
        """
        return self.sanitizes or not self.arch.has_bridges

    @property
    def parameters(self) -> str:
        """Its guests' command line: where it looks for faults, as many interleavings as there can be.

        With five levels of page tables, KASAN takes good addresses for wild ones in an interrupt. It does so when the
        interrupt comes just while the kernel rewrites its data of its first CPU. Lockdep is off from then on.
        """
        return "preempt=full no5lvl" if self.sanitizes else ""

    def make(self) -> list:
        """The make command that builds with the compiler it was built with."""
        return ["make", "-C", self.build_dir, f"-j{os.cpu_count()}", *llvm(self.options()), *_foreign(self.arch)]


def llvm(options: dict) -> list:
    """make's variables for the compiler that a kernel with these options was built with."""
    if options.get("CONFIG_CC_IS_CLANG") != "y":
        return []
    same = toolchain.Llvm(int(options["CONFIG_CLANG_VERSION"]) // 10000)
    return [f"LLVM={same.bin}/" if same.complete else "LLVM=1"]


@once
def ensure(name: str = PLAIN) -> KernelBuild:
    """The kernel of configuration `name`, built when it is not there yet."""
    setup.ensure(booting=False)
    if given := os.environ.get("KDIR"):
        return _users(Path(given).expanduser().resolve())
    tree = source.patched()
    options = _fragment_for(name, tree)
    home = _home(name, tree, options)
    with cache.lock(home, f"kernel {name}"):
        if tree.mutable or not cache.finished(home):
            _build(name, home, tree, options)
    return _built(home, tree.tree)


def asked(sanitize: bool = False) -> str:
    """The configuration of the architecture that ARCH= asks for, with sanitizers or without."""
    its = arch.named(os.environ.get("ARCH") or arch.HOSTS.name)
    if sanitize and its != arch.HOSTS:
        log.fail(f"there is no kernel with sanitizers for ARCH={its.name}")
    return SANITIZE if sanitize else its.name


def is_built(name: str) -> bool:
    """Is the kernel of this configuration in the cache?"""
    tree = source.patched()
    return not tree.mutable and cache.finished(_home(name, tree, _fragment_for(name, tree)))


def _home(name: str, tree: source.Source, options: dict) -> Path:
    return _KEPT / f"{name}-{_key(tree, options)}"


def arch_of(name: str) -> arch.Arch:
    """The architecture of a configuration."""
    return arch.named(name.split("+")[0])


def _foreign(its: arch.Arch) -> list:
    """make's variables for an architecture that is not the host's."""
    return [] if its == arch.HOSTS else [f"ARCH={its.name}"]


def place(name: str) -> Path:
    """The directory of all builds for a configuration."""
    return paths.BUILD if name == PLAIN else paths.BUILD / name


def suffix(name: str) -> str:
    """The suffix of the names of steps, logs and reports: nothing for the plain configuration."""
    return "" if name == PLAIN else "-" + name.removeprefix(f"{PLAIN}+").replace("+", "-")


def build_tree(step, tree: Path, home: Path, options: dict) -> KernelBuild:
    """Builds some tree in `home` with these options, and builds again only the parts that they or the tree change."""
    configure_tree(step, tree, home, options)
    step.run([*_make_in(tree, home), arch.X86_64.image.name, "modules"], env=_variables(), show=_Progress(home))
    return _built(home, tree)


def configure_tree(step, tree: Path, home: Path, options: dict) -> dict:
    """Writes a configuration of some tree with these options into `home`; returns all that it has then."""
    (home / "fragment").unlink(missing_ok=True)
    _configure(step, _make_in(tree, home), home, options, _variables())
    return options_of((home / ".config").read_text())


def configure_from(step, tree: Path, home: Path, text: str) -> dict:
    """Makes a user's configuration one for some tree, in `home`; returns all that it has then."""
    home.mkdir(parents=True, exist_ok=True)
    (home / "fragment").unlink(missing_ok=True)
    (home / ".config").write_text(text)
    return configure_again(step, tree, home)


def configure_local(step, tree: Path, home: Path) -> dict:
    """Leaves out the modules that this machine does not use now, or that are not in the list that LSMOD= names."""
    words = shlex.join(map(str, [*_make_in(tree, home), "localmodconfig"]))
    # New options get their usual value.
    step.run(["sh", "-c", f"yes '' | {words}"], env=_variables() | {"LMC_KEEP": _LOCAL_KEEP})
    return options_of((home / ".config").read_text())


def build_packages(step, tree: Path, home: Path, objects: int, variables: dict) -> None:
    """Has the kernel's make build Debian packages, which it leaves beside `home`."""
    step.run([*_make_in(tree, home), "bindeb-pkg"], env=_variables() | variables, show=_Progress(home, objects))


def configure_again(step, tree: Path, home: Path) -> dict:
    """Makes the configuration in `home` one for a tree that has changed since, as its users do; returns its options."""
    step.run([*_make_in(tree, home), "olddefconfig"], env=_variables())
    return options_of((home / ".config").read_text())


def _make_in(tree: Path, home: Path) -> list:
    return ["make", "-C", tree, f"O={home}", "LLVM=1", f"-j{os.cpu_count()}"]


def _variables() -> dict:
    """make's further variables for a tree that is nobody's release."""
    return environment(RUST_LIB_SRC=str(source.rust_library()), LOCALVERSION="")


def check_bootable(built: KernelBuild) -> None:
    """Fails when a guest could not run this kernel, which is possible of a kernel that KDIR= names."""
    if not built.image.exists():
        log.fail(f"{built.build_dir} has no {built.arch.image} to boot")
    options = built.options()
    if missing := [option for option in GUEST_OPTIONS + built.arch.options if options.get(option) != "y"]:
        log.fail(f"{built.build_dir} cannot be booted in a guest: it was configured without {' '.join(missing)}")


def environment(**changes: str) -> dict:
    """make's environment to build the kernel, or against it."""
    return toolchain.find().environment(**changes)


def _fragment_for(name: str, tree: source.Source) -> dict:
    return fragment(name, source.version(tree.tree))


def fragment(name: str, release: str) -> dict:
    """The options of a configuration for a kernel, layer by layer, later ones winning."""
    options = {}
    for part in name.split("+"):
        file = paths.CONFIGS / f"{part}.config"
        if not file.exists():
            known = ", ".join(sorted(file.stem for file in paths.CONFIGS.glob("*.config")))
            log.fail(f"there is no kernel configuration {part} (there are: {known})")
        options |= options_of(file.read_text())
    for version in versions.older(release):
        options |= options_of((paths.CONFIGS / OLDER / f"{version}.config").read_text())
    if not toolchain.find().inline_helpers:
        options.pop(INLINE_HELPERS, None)
    return options


def _key(tree: source.Source, fragment: dict) -> str:
    everything = json.dumps([tree.identity, fragment, toolchain.find().identity], sort_keys=True)
    return hashlib.sha256(everything.encode()).hexdigest()[:12]


def _build(name: str, home: Path, tree: source.Source, fragment: dict) -> None:
    """Builds in place; make takes up an interrupted build where it was left."""
    tools = toolchain.find()
    if not tools.inline_helpers:
        log.info(f"kernel {name}: without {INLINE_HELPERS}: rustc has LLVM {tools.rustc.llvm}, "
                 f"clang is {tools.llvm.major}")
    if not (home / "vmlinux").exists():
        cache.need_space(home, SPACE_GIB, "the kernel build")
    home.mkdir(parents=True, exist_ok=True)
    variables = environment(RUST_LIB_SRC=str(source.rust_library()))
    # Guests of another kernel may run beside this.
    its = arch_of(name)
    make = ["nice", "make", "-C", tree.tree, f"O={home}", "LLVM=1", f"-j{os.cpu_count()}", *_foreign(its)]
    with log.step(f"kernel-{name}", f"building Linux {tree.identity}") as step:
        _configure(step, make, home, fragment, variables)
        step.run([*make, its.image.name, "modules_prepare"], env=variables, show=_Progress(home))
        # No module of the tree is built, so vmlinux has all the symbols there are.
        shutil.copy(home / "vmlinux.symvers", home / "Module.symvers")
    cache.finish(home)


def _configure(step, make: list, home: Path, fragment: dict, variables: dict) -> None:
    """Writes .config, once; the fragment is part of the directory's name."""
    if (home / "fragment").exists():
        return
    part = home / "fragment.part"
    part.write_text("".join(f"{option}={value}\n" for option, value in fragment.items()))
    if fragment.get("CONFIG_RUST") == "y":
        step.run([*make, "rustavailable"], env=variables)
    step.run([*make, "allnoconfig"], env=variables | {"KCONFIG_ALLCONFIG": str(part)})
    got = options_of((home / ".config").read_text())
    lost = [option for option, value in fragment.items() if got.get(option, "n") != value]
    if lost:
        log.fail(f"{step.name}: Kconfig dropped options of the fragment: {' '.join(lost)}")
    part.rename(home / "fragment")


def options_of(text: str) -> dict:
    """The options that a .config or a fragment states."""
    options = {}
    for line in text.splitlines():
        if setting := re.match(r"(CONFIG_\w+)=(.*)", line):
            options[setting[1]] = setting[2]
        elif unset := re.match(r"# (CONFIG_\w+) is not set", line):
            options[unset[1]] = "n"
    return options


def show(line: str) -> str | None:
    """The step that a line of make's output names."""
    step = re.match(r"  ([A-Z]\S*) +(\[M\] +)?(\S.*)", line)
    return f"{step[1]} {step[3]}" if step else None


class _Progress:
    """Shows how much of a kernel build is done, by the number of objects in a whole one."""

    OBJECTS = 1620

    def __init__(self, home: Path, objects: int = OBJECTS):
        self.made = sum(1 for _ in home.rglob("*.o"))
        self.objects = objects

    def __call__(self, line: str) -> str | None:
        text = show(line)
        if text and text.endswith(".o"):
            self.made += 1
        if not self.objects:
            return text and f"{self.made} objects, {text}"
        return text and f"about {min(99, 100 * self.made // self.objects)}%, {text}"


def _built(build_dir: Path, tree: Path) -> KernelBuild:
    release = (build_dir / "include" / "config" / "kernel.release").read_text().strip()
    its = KernelBuild(build_dir, build_dir, tree, release).arch
    return KernelBuild(build_dir / its.image, build_dir, tree, release)


def _users(build_dir: Path) -> KernelBuild:
    """The kernel that KDIR= names, when modules in Rust can be built against it."""
    where = f"KDIR={build_dir}"
    if not (build_dir / ".config").exists():
        log.fail(f"{where} has no .config: it is no configured kernel")
    options = options_of((build_dir / ".config").read_text())
    for option in ("CONFIG_RUST", "CONFIG_MODULES"):
        if options.get(option) != "y":
            log.fail(f"{where} was configured without {option}=y, which libmultipath needs")
    needed = ("include/config/kernel.release", "scripts/mod/modpost", "Module.symvers", "rust/libkernel.rmeta")
    if missing := [file for file in needed if not (build_dir / file).exists()]:
        log.fail(f"{where} is not built (no {missing[0]}): run `make` and `make modules_prepare` there")
    _check_rustc(where, options)
    tree = build_dir / "source"
    if os.environ.get("KSRC"):
        tree = source.kernel().tree
    built = _built(build_dir, tree.resolve() if tree.exists() else build_dir)
    versions.check(built.release, where)
    return built


def _check_rustc(where: str, options: dict) -> None:
    """A crate's metadata is of one compiler only."""
    theirs = options.get("CONFIG_RUSTC_VERSION_TEXT", "").strip('"')
    try:
        ours = process.output(["rustc", "--version"]).strip()
    except subprocess.CalledProcessError:
        ours = "none"
    if theirs != ours:
        log.fail(f"{where} was built with {theirs}, but the rustc in PATH is {ours}")
