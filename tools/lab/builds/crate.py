# SPDX-License-Identifier: GPL-2.0
"""How the kernel's build compiles the library's crate, for those who compile against it or document it.

The flags come from the files that Kbuild has left beside the object: they are those of the very build in use.
"""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from lab.builds import kernel
from lab.builds import modules
from lab.host import log

#: The flags that say where the object goes, and the file that it is compiled from.
_OWN = re.compile(r"--emit=.*|--remap-path-.*|.*/rust/libmultipath\.rs")
_METADATA = Path("rust") / "liblibmultipath.rmeta"


@dataclass(frozen=True)
class Crate:
    #: Where the library was built, with the metadata and Module.symvers.
    directory: Path
    built: kernel.KernelBuild
    #: The flags of rustc and rustdoc for code of the kernel, without the file to compile.
    flags: list
    environment: dict

    @property
    def extern(self) -> str:
        """The flags for a driver's compiler."""
        return f"--extern=libmultipath={self.directory / _METADATA}"


def ensure(name: str = kernel.PLAIN) -> Crate:
    """The library, built for a kernel configuration."""
    built, directory = kernel.ensure(name), modules.ensure_library(name)
    command = (directory / "rust" / ".libmultipath.o.cmd").read_text().splitlines()[0]
    words = shlex.split(command.partition(":=")[2].replace("$(pound)", "#").partition(";")[0])
    try:
        begin = words.index("rustc")
        out_dir = words.index("--out-dir")
    except ValueError:
        log.fail(f"the command that compiled the crate is not understood: {command[:100]}")
    del words[out_dir:out_dir + 2]
    environment = dict(word.split("=", 1) for word in words[:begin])
    environment["LIBMULTIPATH_BINDINGS"] = str(directory / "rust" / "bindings_generated.rs")
    environment["RUSTC_BOOTSTRAP"] = "1"
    flags = [word for word in words[begin + 1:] if not _OWN.fullmatch(word)]
    return Crate(directory, built, flags, kernel.environment(**environment))
