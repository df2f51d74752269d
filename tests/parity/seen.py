# SPDX-License-Identifier: GPL-2.0
"""The observations: records of an area, a key that is unique in it, and a text."""

import errno
import json
import os


class Seen:
    """Writes records to a file, one JSON list a line, for the host to compare."""

    def __init__(self, file):
        self._file = open(file, "w")
        self._keys = set()
        self._prefix = ""

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._file.close()

    def during(self, act) -> None:
        """Has all observations from now on belong to `act`."""
        self._prefix = act

    def note(self, area, key, text) -> None:
        area = f"{self._prefix}: {area}"
        assert (area, key) not in self._keys, f"{area}: {key} was noted before"
        self._keys.add((area, key))
        self._file.write(json.dumps([area, key, text]) + "\n")
        self._file.flush()


def outcome(function, *arguments) -> str:
    """The outcome of a request: its result as text, or the name of its error."""
    try:
        return str(function(*arguments))
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error))


def content(path) -> str:
    """Reads an attribute. Python's own files take "try again" for an empty one."""
    file = os.open(path, os.O_RDONLY)
    try:
        return os.read(file, 1 << 16).decode(errors="replace").rstrip("\n")
    finally:
        os.close(file)
