# SPDX-License-Identifier: GPL-2.0
"""The outcomes of each part's tests by their names, in build/reports/ran-<part>.json.

A part that ran as a whole has its record written anew; a run of some of its tests changes the record of those. So a
record says of every test how it ended the last time that it ran. A part that ran in a kernel of another configuration
than the usual one is a part of its own, named after both.
"""

import json
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path

from lab.host import paths

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"
#: The configuration that a part's name does not mention.
USUAL = "x86_64"


@dataclass(frozen=True)
class Record:
    #: Has the part ever run as a whole? If not, a test that is not in the record is yet to run.
    whole: bool = False
    #: "passed", "failed" or "skipped", by the test's name.
    outcomes: dict = field(default_factory=dict)


def name(part: str, configuration: str = USUAL) -> str:
    """The name of a part in a kernel of this configuration: "kunit", "kunit+sanitize", "kunit+arm64"."""
    return part if configuration == USUAL else f"{part}+{configuration.removeprefix(f'{USUAL}+')}"


def write(part: str, outcomes: dict, whole: bool) -> None:
    """Notes the outcomes of tests, by their names; `whole` says that these are all that the part has."""
    before = Record() if whole else read(part)
    now = {"whole": whole or before.whole, "outcomes": before.outcomes | outcomes}
    file = _file(part)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(now, indent=1, sort_keys=True) + "\n")


def read(part: str, reports: Path = paths.REPORTS) -> Record:
    """The record of a part; empty when it has never run."""
    file = _file(part, reports)
    return Record(**json.loads(file.read_text())) if file.exists() else Record()


def _file(part: str, reports: Path = paths.REPORTS) -> Path:
    return reports / f"ran-{part.replace(' ', '-')}.json"
