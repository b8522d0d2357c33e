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
ROOT = PACKAGE.parent
TEXT = frozenset({".py", ".md", ".pml", ".sh", ".c", ".h", ".yaml", ".toml", ".go", ""})
FOLDERS = ("wirecrypt", "lab-package", "tests", "docs", "bpf", "manifests", "monitoring", "overlays", "scripts")
WRITTEN = sorted(  # what people read
    path
    for path in (*ROOT.glob("*.md"), *(file for folder in FOLDERS for file in (ROOT / folder).rglob("*")))
    if path.is_file() and path.suffix in TEXT and not {"build", "__pycache__"} & set(path.parts)
)
CITED = re.compile(r"[\w./-]*\w\.(?:md|pml)\b")
MADE_UP = frozenset({"page.md", "gone.md", "docs/reference/PAGE.md", "docs/model/nowhere.pml", "nowhere.md"})  # in tests
EXAMPLES = frozenset({"R12"})

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


def rules() -> list[tuple[str, frozenset[str]]]:
    """Return each row of the page of rules: its number, and the files that it names."""
    page = (ROOT / "docs/explanation/rules.md").read_text()
    rows = re.findall(r"^\| ◆(R\d+) \|.*\| (`[^|]*`) \|$", page, re.MULTILINE)
    return [(number, frozenset(re.findall(r"`([a-z_/]+\.py)`", places))) for number, places in rows]


def marked(folder: Path) -> dict[str, frozenset[str]]:
    """Return the numbers of the rules that stand in each file of *folder*, without those of files that have none."""
    files = {str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("*.py"))}
    found = {name: frozenset(re.findall(r"◆(R\d+)", text)) for name, text in files.items()}
    return {name: numbers for name, numbers in found.items() if numbers}


def test_no_rule_has_anothers_number() -> None:
    """They are counted on from 1; each row of the page has one."""
    numbers = [number for number, _ in rules()]
    assert sorted(numbers, key=lambda n: int(n[1:])) == [f"R{count}" for count in range(1, len(numbers) + 1)]
    page = (ROOT / "docs/explanation/rules.md").read_text()
    assert len(re.findall(r"^\| .*\.py` \|$", page, re.MULTILINE)) == len(numbers)


def test_each_rule_stands_in_the_code_where_its_page_says() -> None:
    """And nowhere else, and no mark in the code has no number."""
    named = {(place, number) for number, places in rules() for place in places}
    assert named == {(place, number) for place, numbers in marked(PACKAGE).items() for number in numbers}
    assert [str(path) for path in FILES if re.search(r"◆(?!R\d)", (PACKAGE / path).read_text())] == []


def test_each_rule_has_a_test_that_says_so() -> None:
    """And no test names a number that is on no page."""
    assert frozenset(number for number, _ in rules()) == frozenset().union(*marked(ROOT / "tests").values())


def test_every_rule_that_a_page_or_a_model_names_is_there() -> None:
    """Pages and models say which rule they mean by its number."""
    texts = {str(path): path.read_text() for path in WRITTEN if path.suffix in (".md", ".pml")}
    numbers = {number for number, _ in rules()}
    named = {name: set(re.findall(r"◆(R\d+)", text)) - numbers for name, text in texts.items()}
    assert {name: unknown for name, unknown in named.items() if unknown - EXAMPLES} == {}


def test_every_page_and_model_that_is_cited_exists() -> None:
    """In pages, docstrings and comments, by a path or a bare name; a decision by its number."""
    cited = [(path, name) for path in WRITTEN for name in re.findall(CITED, path.read_text())]
    assert len(cited) > 100
    assert [(str(path.relative_to(ROOT)), name) for path, name in cited if name not in MADE_UP and not leads(path, name)] == []
    decisions = {int(path.name[:4]) for path in (ROOT / "docs/adr").glob("0*.md")}
    said = {int(number) for path in WRITTEN for number in re.findall(r"(?:\bADR |docs/adr/)(\d+)", path.read_text())}
    assert said - decisions == set()


def test_no_text_cites_what_is_not_here() -> None:
    """Designs that the tree was made from are no part of it: what is built is told in docs/."""
    elsewhere = re.compile(r"\bshared/design\b")
    assert [
        str(path.relative_to(ROOT)) for path in WRITTEN if path != Path(__file__) and elsewhere.search(path.read_text())
    ] == []


def leads(path: Path, name: str) -> bool:
    """Return whether *name*, as *path* cites it, is a file here."""
    if "/" in name:
        return any((base / name).is_file() for base in (ROOT, path.parent))
    return any(each.name == name for each in WRITTEN)


def test_a_page_that_is_missing_would_be_found() -> None:
    """By a path, and by its bare name."""
    here = Path(__file__)
    assert [leads(here, name) for name in ("docs/index.md", "index.md", "docs/model/nowhere.pml", "nowhere.md")] == [
        True,
        True,
        False,
        False,
    ]


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


def methods(folder: str) -> dict[str, dict[str, str]]:
    """Return the docstring of each public method of a public class in *folder*, empty without one, by class and name."""
    trees = [ast.parse((PACKAGE / path).read_text()) for path in MODULES if path.parts[0] == folder]
    classes = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name[0] != "_"]
    functions = {each.name: [m for m in each.body if isinstance(m, ast.FunctionDef)] for each in classes}
    return {name: {m.name: ast.get_docstring(m) or "" for m in of if m.name[0] != "_"} for name, of in functions.items()}


def test_an_adapter_says_what_its_port_does_not() -> None:
    """A method without docstring is a port's, and no adapter repeats the port's words."""
    ports = {(name, doc) for of in methods("ports").values() for name, doc in of.items()}
    names = {name for name, _ in ports}
    for folder in ("kernel", "cluster"):
        told = [(name, doc) for of in methods(folder).values() for name, doc in of.items()]
        assert [name for name, doc in told if not doc and name not in names] == []
        assert [name for name, doc in told if doc and (name, doc) in ports] == []
