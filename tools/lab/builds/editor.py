# SPDX-License-Identifier: GPL-2.0
"""rust-project.json: the facts that rust-analyzer needs to complete and to check in the crate and the samples.

The kernel's own script describes the kernel's crates; the lab puts ours beside them.
"""

import json
import re
from pathlib import Path

from lab.builds import crate
from lab.builds import kernel
from lab.builds import source
from lab.builds import toolchain
from lab.host import log
from lab.host import paths
from lab.host import patterns
from lab.host import process

PROJECT = paths.ROOT / "rust-project.json"
#: Modules of the library's crate that are elsewhere.
_SUITES = paths.ROOT / "tests" / "kunit"
#: The crates that a crate outside the kernel crate depends on, and the library's.
_BELOW = ("kernel", "pin_init", "zerocopy", "zerocopy_derive")
#: The complaints of rust-analyzer about our crates, apart from the check in export! of ffi.rs. It does not see that two
#: function items of one type have a common one.
_ERROR = re.compile(rf"at crate \S+, file {re.escape(str(paths.ROOT))}/(?!rust/ffi\.rs: Error RustcHardError\(.E0308)"
                    r"\S+: Error .*")


def write() -> str:
    """Writes the project, and has rust-analyzer look at it where there is one."""
    library = crate.ensure()
    with log.step("rust-analyzer", "describing the crates") as step:
        core = source.rust_library()
        crates = _kernel_crates(step, library, core)
        crates.append(_ours(crates, library, paths.ROOT / "rust" / "libmultipath.rs", _BELOW))
        for sample in patterns.files("samples/rust_*.rs"):
            crates.append(_ours(crates, library, sample, (*_BELOW, "libmultipath")))
        if missing := [entry["root_module"] for entry in crates if not Path(entry["root_module"]).exists()]:
            step.failed(f"there is no {', '.join(missing)}")
        sysroot = process.output(["rustc", "--print", "sysroot"]).strip()
        project = {"crates": crates, "sysroot": sysroot, "sysroot_src": str(core)}
        PROJECT.write_text(json.dumps(project, indent=1) + "\n")
        looked = _look(step)
    return f"{PROJECT} describes {len(crates)} crates; {looked}"


def _kernel_crates(step, library, core: Path) -> list:
    """The kernel's crates. rust-analyzer finds those of the core library by itself: it knows more of them.

    The script describes them for a tree outside the kernel, with nothing in it, so that no driver is among them.
    """
    place = paths.BUILD / "rust-analyzer"
    place.mkdir(parents=True, exist_ok=True)
    (place / "Kbuild").write_text("")
    step.run([*library.built.make(), f"M={place}", "rust-analyzer"],
             env=kernel.environment(RUST_LIB_SRC=str(core)))
    found = json.loads((place / "rust-project.json").read_text())["crates"]
    kept = [number for number, entry in enumerate(found) if not Path(entry["root_module"]).is_relative_to(core)]
    numbers = {old: new for new, old in enumerate(kept)}
    return [found[old] | {
        "is_workspace_member": False,
        "deps": [dep | {"crate": numbers[dep["crate"]]} for dep in found[old]["deps"] if dep["crate"] in numbers],
    } for old in kept]


def _ours(crates: list, library, root: Path, below) -> dict:
    """One more crate; the crates that it depends on are among `crates`, whose places are their numbers."""
    numbers = {entry["display_name"]: number for number, entry in enumerate(crates)}
    options = (library.built.build_dir / "include" / "generated" / "rustc_cfg").read_text().split("\n")
    return {
        "display_name": root.stem,
        "root_module": str(root),
        "is_workspace_member": True,
        "deps": [{"crate": numbers[name], "name": name} for name in below],
        "cfg": [*(option.removeprefix("--cfg=") for option in options if option), "MODULE",
                "CONFIG_LIBMULTIPATH_KUNIT_TEST"],
        "edition": "2021",
        "env": {"RUST_MODFILE": root.stem,
                "LIBMULTIPATH_BINDINGS": library.environment["LIBMULTIPATH_BINDINGS"]},
        "source": {"include_dirs": [*map(str, (root.parent, _SUITES, library.directory / "rust"))], "exclude_dirs": []},
    }


def _look(step) -> str:
    """Has rust-analyzer look for names that it cannot resolve."""
    if not toolchain.have("rust-analyzer") or process.logged(step, ["rust-analyzer", "--version"]):
        return "there is no rust-analyzer here to try it (`rustup component add rust-analyzer`)"
    before = step.log.stat().st_size
    process.logged(step, ["rust-analyzer", "diagnostics", str(paths.ROOT)], cwd=paths.ROOT)
    said = step.log.read_bytes()[before:].decode(errors="replace")
    if "diagnostic scan complete" not in said:
        step.failed("rust-analyzer did not come to an end")
    if error := _ERROR.search(said):
        step.failed(f"rust-analyzer finds an error: {error[0]}")
    return "rust-analyzer finds no error in ours"
