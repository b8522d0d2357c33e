"""The tree is the map: one word names one thing, no room is crowded, and no import runs in a circle."""

from __future__ import annotations

import ast
import re
from collections import Counter, defaultdict
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
import pytest

import wirecrypt

PACKAGE = Path(wirecrypt.__file__).parent
FILES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))
MODULES = [path for path in FILES if path.name != "__init__.py"]
MOST = 14  # modules in one folder

# Modules that share a name, because each is its room's part of one thing:
SHARED = {
    "actions": "what a pure decision asks for",
    "decide": "a room's decision",
    "endpoints": "what a program serves over HTTP",
    "guard": "its values, and the adapter of the kernel's programs",
    "reference": "what writes a page of docs/reference",
    "waiting": "the command line's, with output, and the lab's",
    "__main__": "what `python -m` runs",
}
VERBS = Path("cli/verbs")  # called as the user calls them, whatever else has that name


def test_no_two_public_classes_have_one_name() -> None:
    """Whoever reads a class's name knows which it is."""
    where: dict[str, list[str]] = defaultdict(list)
    for path in FILES:
        for node in ast.parse((PACKAGE / path).read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                where[node.name].append(str(path))
    assert {name: paths for name, paths in where.items() if len(paths) > 1} == {}


def test_no_two_modules_have_one_name_without_need() -> None:
    """But verbs, and a few whose reason stands above; each of those is still needed."""
    counted = Counter(path.stem for path in MODULES if path.parent != VERBS)
    shared = {name for name, number in counted.items() if number > 1}
    assert shared == SHARED.keys()


def test_no_folder_is_crowded() -> None:
    """A folder that grows beyond this wants rooms."""
    counted = Counter(str(path.parent) for path in MODULES)
    assert {folder: number for folder, number in counted.items() if number > MOST} == {}


def test_every_package_says_what_may_live_in_it() -> None:
    """In the first line of its docstring."""
    faces = [path for path in FILES if path.name == "__init__.py"]
    assert [str(path) for path in faces if not ast.get_docstring(ast.parse((PACKAGE / path).read_text()))] == []


def test_each_marked_rule_is_on_the_page_of_rules() -> None:
    """And each place that the page names carries the mark."""
    page = (PACKAGE.parent / "docs/explanation/rules.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| ") and line.endswith(".py` |")]
    named = {place for row in rows for place in re.findall(r"`([a-z_/]+\.py)`", row)}
    assert named == {str(path) for path in FILES if "◆" in (PACKAGE / path).read_text()}


def imports() -> dict[str, set[str]]:
    """Return which modules each module imports."""
    graph = grimp.build_graph("wirecrypt", cache_dir=None)
    return {module: set(graph.find_modules_directly_imported_by(module)) for module in graph.modules}


def test_no_import_runs_in_a_circle() -> None:
    """Not within a folder either, and not for types alone."""
    TopologicalSorter(imports()).prepare()


def test_a_circle_would_be_found() -> None:
    """Two modules that import each other are one."""
    found = imports()
    found["wirecrypt.errors"].add("wirecrypt.cli.main")
    with pytest.raises(CycleError):
        TopologicalSorter(found).prepare()
