# SPDX-License-Identifier: GPL-2.0
"""The tests of the lab: its verdicts on recorded and written runs, good and bad. `tools/lab.py lab` runs them."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.dont_write_bytecode = True
sys.path.insert(0, str(ROOT / "tools"))

from lab.host import log


class Step:
    """A step whose log is in a scratch directory."""

    def __init__(self, directory):
        self.log = directory / "step.log"
        self.log.write_text("")
        self.name = "step"

    def progress(self, text):
        pass

    def failed(self, why):
        raise log.Failure(why)

    def say(self, text):
        self.log.write_text(text)
        return self


@pytest.fixture
def step(tmp_path):
    return Step(tmp_path)


@pytest.fixture(autouse=True)
def reports(tmp_path, monkeypatch):
    """Records go to a scratch directory, and not to build/; and nothing has failed yet."""
    from lab.host import log
    from lab.host import paths
    from lab.verdicts import defects
    from lab.verdicts import record
    place = tmp_path / "reports"
    monkeypatch.setattr(log, "_failures", [])
    monkeypatch.setattr(paths, "REPORTS", place)
    monkeypatch.setattr(record.read, "__defaults__", (place,))
    monkeypatch.setattr(defects.Test.outcomes, "__defaults__", (place,))
    monkeypatch.setattr(record._file, "__defaults__", (place,))
    return place
