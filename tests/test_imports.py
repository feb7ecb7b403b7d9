"""The import graph of the package: no cycles, no room that imports a later one, and no torch where none belongs.

Read from the sources, so that imports under TYPE_CHECKING and within functions count as all others do.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import difflens_widgets

PACKAGE = Path(difflens_widgets.__file__).parent
NAME = "difflens_widgets"
SCRIPTS = PACKAGE.parent / "js"  # of a checkout only

ROOMS = ("runs", "models", "attention", "lens", "analysis", "dreambooth", "widgets", "tiny", "cli")
"""A room may import those before it."""
ONLY_FOR = {"tiny": {"cli"}}
"""The rooms that may import this one; all others know nothing of it."""
DOORS = {"__init__", "__main__"}  # may import anything
FOR_ALL = {"_version"}  # may be imported by anyone
MOST_LINES = 300

HEAVY = ("torch", "diffusers", "transformers", "accelerate", "peft")
WITHOUT_TORCH = ("runs", "dreambooth.history")


def module_name(path: Path) -> str:
    """`runs.format.webp`; a package is its `__init__`, named as the package, and the root is `__init__`."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    if parts[-1] == "__init__" and len(parts) > 1:
        parts = parts[:-1]
    return ".".join(parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imports_of(name: str, path: Path) -> tuple[set[str], set[str]]:
    """The modules of this package, and the packages of others, that a module names anywhere in its source."""
    package = [] if name in DOORS | FOR_ALL else name.split(".")
    if package and path.name != "__init__.py":
        package = package[:-1]
    ours: set[str] = set()
    others: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            targets = [(alias.name.split("."), None) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = [NAME, *package[: len(package) - node.level + 1]] if node.level else []
            base += node.module.split(".") if node.module else []
            targets = [(base, alias.name) for alias in node.names]
        else:
            continue
        for base, member in targets:
            if base[0] != NAME:
                others.add(base[0])
                continue
            inner = ".".join(base[1:])
            deeper = ".".join([*base[1:], *([member] if member else [])])
            ours.add(deeper if deeper in MODULES else inner or "__init__")
    return ours, others


IMPORTS = {name: imports_of(name, path) for name, path in MODULES.items()}
GRAPH = {name: ours for name, (ours, _) in IMPORTS.items()}


def room_of(name: str) -> str:
    return name.split(".")[0]


def cycles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules that import each other, directly or by others (Tarjan's strongly connected components)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for target in sorted(graph[node]):
            if target not in index:
                visit(target)
                low[node] = min(low[node], low[target])
            elif target in stack:
                low[node] = min(low[node], index[target])
        if low[node] == index[node]:
            group = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(group) > 1 or node in graph[node]:
                found.append(sorted(group))

    for node in sorted(graph):
        if node not in index:
            visit(node)
    return found


def test_every_import_names_a_module_that_is_there() -> None:
    """A mistake in reading the sources would make the tests below pass for nothing."""
    missing = {f"{name} → {target}" for name, targets in GRAPH.items() for target in targets - MODULES.keys()}
    assert missing == set()
    assert len(MODULES) > 100
    assert {room_of(name) for name in MODULES} - DOORS - FOR_ALL == set(ROOMS)
    assert "runs.events" in GRAPH["widgets._run_widget"]
    assert "torch" in set().union(*(others for name, (_, others) in IMPORTS.items() if room_of(name) == "models"))


def test_cycles_are_found() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a", "d"}, "e": {"d"}}
    assert cycles(graph) == [["a", "b", "c"], ["d"]]


def test_no_modules_import_each_other() -> None:
    graph = {name: targets - DOORS for name, targets in GRAPH.items()}
    found = cycles(graph)
    assert found == [], "\n".join(
        f"{name} → {', '.join(sorted(graph[name] & set(group)))}" for group in found for name in group
    )


def test_no_room_imports_a_later_one() -> None:
    upward = []
    for name, targets in sorted(GRAPH.items()):
        room = room_of(name)
        if name in DOORS:
            continue
        for target in sorted(targets):
            to = room_of(target)
            if to == room or to in FOR_ALL:
                continue
            if room in FOR_ALL or to in DOORS or ROOMS.index(to) > ROOMS.index(room):
                upward.append(f"{name} → {target}")
            elif to in ONLY_FOR and room not in ONLY_FOR[to]:
                upward.append(f"{name} → {target}, which is for {', '.join(ONLY_FOR[to])} only")
    assert upward == [], "\n".join(upward)


@pytest.mark.parametrize("room", WITHOUT_TORCH)
def test_a_room_names_no_heavy_package(room) -> None:
    """Also not within a function: what is read and shown where torch is not installed would fail late."""
    named = {
        f"{name}: {package}"
        for name, (_, others) in IMPORTS.items()
        if f"{name}.".startswith(f"{room}.")
        for package in others & set(HEAVY)
    }
    assert named == set()


@pytest.mark.parametrize("room", WITHOUT_TORCH)
def test_importing_a_room_imports_no_heavy_package(room) -> None:
    modules = [f"{NAME}.{name}" for name in MODULES if f"{name}.".startswith(f"{room}.")]
    program = (
        "import importlib, sys\n"
        f"for name in {modules!r}:\n"
        "    importlib.import_module(name)\n"
        f"    found = [each for each in {HEAVY!r} if each in sys.modules]\n"
        "    assert not found, f'{name} imports {found}'\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-1000:]


def test_importing_all_public_names_says_nothing() -> None:
    """Without torchvision transformers has notes about image processors, which are not used here."""
    program = [sys.executable, "-c", f"from {NAME} import *"]
    done = subprocess.run(program, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_no_module_is_long() -> None:
    scripts = SCRIPTS / "src"
    files = [*MODULES.values(), *(scripts.rglob("*.ts") if scripts.is_dir() else [])]
    lengths = {str(path.relative_to(PACKAGE.parent)): len(path.read_text("utf-8").splitlines()) for path in files}
    assert {name: lines for name, lines in lengths.items() if lines > MOST_LINES} == {}
