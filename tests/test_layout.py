"""The layout that CONTRIBUTING.md states, held to by what modules import and how long they are."""

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "cips_lab"
MODULES = {
    ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(SOURCE.rglob("*.py"))
}
LONGEST_MODULE, LONGEST_FUNCTION = 350, 60  # lines


@cache
def rooms() -> list[str]:
    """The first words of the lines of CONTRIBUTING.md's layout, from the top down: packages, modules, "commands"."""
    (block,) = re.findall(r"## Where things live\n.*?```\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL)
    return [line.split()[0].strip("/").removesuffix(".py") for line in block.splitlines() if not line.startswith(" ")]


def room(module: str) -> str:
    """Where a module stands: every other module at the top is a command."""
    first = module.split(".")[1]
    return first if first in rooms() else "commands"


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """(line, module) of every import, in functions and under TYPE_CHECKING too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}:{node.lineno}: modules of cips_lab are named in full"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield node.lineno, whole if whole in MODULES else str(node.module)


def of_ours(path: Path) -> Iterator[tuple[int, str]]:
    """Imports of modules of cips_lab, itself (its version, `load_generator`) aside."""
    return ((line, name) for line, name in imports(path) if name.startswith("cips_lab."))


def test_every_package_has_its_place() -> None:
    packages = {path.parent.name for path in SOURCE.glob("*/__init__.py")}
    assert packages <= set(rooms()), "missing in CONTRIBUTING.md"
    there = packages | {path.stem for path in SOURCE.glob("*.py")} | {"commands"}
    assert set(rooms()) <= there, "in CONTRIBUTING.md only"
    assert len(set(rooms())) == len(rooms())
    assert not [name for name in MODULES if name.endswith("utils")]


def test_imports_run_downwards() -> None:
    order = {name: position for position, name in enumerate(rooms())}
    upwards = [
        f"{path.relative_to(ROOT)}:{line}: {room(name)} imports {imported}"
        for name, path in MODULES.items()
        if name != "cips_lab"
        for line, imported in of_ours(path)
        if order[room(imported)] < order[room(name)]
    ]
    assert upwards == []


def test_there_are_no_circles() -> None:
    graph = {name: {imported for _, imported in of_ours(path)} - {name} for name, path in MODULES.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))


def test_who_imports_what() -> None:
    users = defaultdict(set)
    for name, path in MODULES.items():
        for _, imported in imports(path):
            users[imported.split(".")[0]].add(name)
    assert {room(name) for name in users["wandb"] | users["wandb_workspaces"]} == {"tracking"}
    ours = {name for name in MODULES if name.startswith("cips_lab.networks")}
    of_networks = {library for library, names in users.items() if names & ours}
    assert of_networks - sys.stdlib_module_names == {"torch", "cips_lab"}


def test_modules_and_functions_are_short() -> None:
    long = []
    for path in MODULES.values():
        text = path.read_text()
        if (lines := len(text.splitlines())) > LONGEST_MODULE:
            long.append(f"{path.relative_to(ROOT)}: {lines} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines >= LONGEST_FUNCTION:
                    long.append(f"{path.relative_to(ROOT)}:{node.lineno}: {node.name} has {lines} lines")
    assert long == []
