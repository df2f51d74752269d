# SPDX-License-Identifier: GPL-2.0
"""The order of the lab's modules and packages: none imports itself by way of others."""

import ast
from graphlib import CycleError
from graphlib import TopologicalSorter
from pathlib import Path

from lab.host import log
from lab.host import paths
from lab.host import patterns

_LAB = paths.ROOT / "tools" / "lab"


def check(step) -> None:
    """Fails when modules of the lab, or its packages, import each other in a circle."""
    graph = read(_LAB)
    for each in (graph, packages(graph)):
        if found := circle(each):
            step.failed(f"these import each other: {' -> '.join(found)}")
    log.info(f"imports: {len(graph)} modules, and no circle")


def read(place: Path) -> dict:
    """The modules below a directory by their names, `package.module`, and those that each imports, wherever in it."""
    files = {_name(file, place): file for file in patterns.files("**/*.py", place=place)}
    return {name: _imported(file.read_text(), place.name) & set(files) - {name} for name, file in files.items()}


def packages(graph: dict) -> dict:
    """The same of the packages, and of the modules that are in none."""
    found = {}
    for name, imported in graph.items():
        package = name.partition(".")[0]
        found.setdefault(package, set()).update({other.partition(".")[0] for other in imported} - {package})
    return found


def circle(graph: dict) -> list:
    """The names of a circle, of which the first comes again at the end; none when there is no circle."""
    try:
        TopologicalSorter(graph).prepare()
        return []
    except CycleError as error:
        return error.args[1][::-1]


def _name(file: Path, place: Path) -> str:
    return ".".join(file.relative_to(place).with_suffix("").parts)


def _imported(text: str, root: str) -> set:
    """The modules below `root` that an import may name: `from lab.a import b` names a.b, or something in module a."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        found |= {name.removeprefix(f"{root}.") for name in names if name.startswith(f"{root}.")}
    return found
