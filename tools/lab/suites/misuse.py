# SPDX-License-Identifier: GPL-2.0
"""Misuse of the Rust face does not compile: tests/misuse/ against the crate, as a driver's module is.

The lab compiles a case twice. As it is, it must compile without a warning. With `--cfg misuse`, which changes the one
thing that its first line speaks of, it must fail. Then the compiler must print the error and the words that the case's
comment names, some of them only for a kernel of a version and newer ones. So the compiler refuses no case for another
reason.
"""

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from lab.builds import crate
from lab.builds import reuse
from lab.builds import setup
from lab.builds import versions
from lab.host import digest
from lab.host import log
from lab.host import paths
from lab.host import patterns
from lab.host import process
from lab.verdicts import memo
from lab.verdicts import record
from lab.verdicts.counts import Counts

_PLACE = paths.ROOT / "tests" / "misuse"
#: The file that every case includes.
_DRIVER = "driver"
#: Some compilers print with a type where it is from, others do not.
_CRATE = "libmultipath::"
_SAYS = re.compile(r"^//! (refused|says)(?: since (\d+\.\d+))?: (.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Case:
    file: Path
    #: The code of the error, or the lint.
    code: str
    #: The phrases that the user reads among others.
    phrases: list

    @classmethod
    def read(cls, file: Path, release: str) -> "Case":
        """A case as it is for a kernel."""
        said = [(key, text) for key, since, text in _SAYS.findall(file.read_text())
                if not since or versions.is_since(release, since)]
        codes = [text for key, text in said if key == "refused"]
        phrases = [text for key, text in said if key == "says"]
        if len(codes) != 1 or not phrases:
            log.fail(f"{file} does not say what it is refused with")
        return cls(file, codes[0], phrases)


def run() -> Counts:
    """Compiles every case both ways."""
    setup.ensure(booting=False)
    library = crate.ensure()
    at = _identity(library)
    if known := at and memo.recall("misuse", at):
        log.info(f"misuse: {len(known)} cases, refused before, when the library and they were the same")
        record.write("misuse", known, whole=True)
        return Counts(passed=len(known))
    files = [file for file in patterns.files("*.rs", place=_PLACE) if file.stem != _DRIVER]
    cases = [Case.read(file, library.built.release) for file in files]
    counts, outcomes = Counts(), {}
    output = paths.BUILD / "misuse"
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    with log.step("misuse", f"compiling {len(cases)} misuses of the Rust face") as step:
        for case in cases:
            step.progress(case.file.stem)
            wrong = _judge(library, step, output, case)
            counts += Counts(failed=1) if wrong else Counts(passed=1)
            outcomes[case.file.stem] = record.FAILED if wrong else record.PASSED
            if wrong:
                log.failure(f"misuse: {case.file.stem}: {wrong}, see {step.log}")
    record.write("misuse", outcomes, whole=True)
    if at and not counts.failed and _identity(library) == at:
        memo.keep("misuse", at, outcomes)
    return counts


def _identity(library) -> str:
    """A hash of all that the compiler reads: the cases, and the library as built, whose key has the compiler."""
    of_library = reuse.key_of(library.directory)
    files = [Path(__file__), *patterns.files("*.rs", place=_PLACE)]
    return of_library and digest.key(of_library, *digest.named(files, paths.ROOT))


def _judge(library, step, output: Path, case: Case) -> str | None:
    """The fault of a case, if any."""
    if errors := _compile(library, step, output, case, []):
        return f"the right use is refused: {errors[0]['message']}"
    errors = _compile(library, step, output, case, ["--cfg", "misuse"])
    codes = [(error["code"] or {}).get("code") for error in errors]
    if codes != [case.code]:
        return f"the misuse is refused with {codes}" if errors else "the misuse compiles"
    said = errors[0]["rendered"].replace(_CRATE, "")
    missing = [phrase for phrase in case.phrases if phrase not in said]
    return f"the error does not say \"{missing[0]}\"" if missing else None


def _compile(library, step, output: Path, case: Case, options: list) -> list:
    """The compiler's errors for a case, of which warnings are some."""
    argv = ["rustc", *library.flags, library.extern, "-Dwarnings", "-Adead_code", "--error-format=json",
            "--crate-name", case.file.stem, f"--emit=metadata={output / case.file.stem}.rmeta", *options,
            str(case.file)]
    environment = library.environment | {"RUST_MODFILE": str(output / case.file.stem)}
    child = process.start(argv, cwd=library.directory, env=environment, stderr=subprocess.PIPE)
    lines = child.communicate()[1].decode().splitlines()
    messages = [json.loads(line) for line in lines if line.startswith("{")]
    errors = [message for message in messages if message["level"] == "error" and message["spans"]]
    with open(step.log, "a") as file:
        file.write(f"$ {' '.join(argv)}\n")
        file.writelines(f"{line}\n" for line in lines if not line.startswith("{"))
        file.writelines(message["rendered"] for message in messages)
    if child.returncode and not errors:
        step.failed(f"rustc exited with {child.returncode}")
    return errors
