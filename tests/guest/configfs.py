# SPDX-License-Identifier: GPL-2.0
"""A directory in configfs, as the drivers of samples/ have one for each path."""


class Item:
    """A directory of a name, which goes by `forget()`."""

    def __init__(self, name, directory):
        self.name = self.controller = name
        self._directory = directory
        self._directory.mkdir()

    def __repr__(self):
        return self.name

    def read(self, attribute) -> str:
        return (self._directory / attribute).read_text().strip()

    def write(self, attribute, value) -> None:
        (self._directory / attribute).write_text(f"{value}\n")

    def forget(self) -> None:
        self._directory.rmdir()
