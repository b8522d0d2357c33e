"""The documentation keeps its word: links lead somewhere, tests, verbs and figures that it names exist."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from tests.unit.sentences import reflowed
from wirecrypt.cli.main import cli
from wirecrypt.metrics import AgentMetrics, ControllerMetrics

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
MADE = {
    "figures.md",
    *(f"reference/{name}.md" for name in ("cli", "configuration", "doctor", "exit-codes", "reasons")),
}  # by programs
WRITTEN = [page for page in PAGES if page not in {ROOT / "docs" / name for name in MADE}]
THREATS = ROOT / "docs/explanation/threat-model.md"
UNPROVED = ("not shown by a test yet", "nothing to show")
FENCE = re.compile(r"^```.*?\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)\)")
COMMAND = re.compile(r"(?<![\w./:-])wirecrypt ((?:-[^\s]+ )*[a-z]+(?: [a-z]+)?)([^|#&\n]*)")
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
OF_ONE_MACHINE = re.compile(r"/(?:root|home/\w+|Users/\w+|work)(?:/|\b)")


def _names(pages: list[Path]) -> list[str]:
    return [str(page.relative_to(ROOT)) for page in pages]


@pytest.mark.parametrize("page", PAGES, ids=_names(PAGES))
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    """A relative link names a file that exists, and its anchor a heading of that file."""
    dead = [target for target in _links(page) if not _leads_somewhere(page, target)]
    assert dead == []


@pytest.mark.parametrize("page", PAGES, ids=_names(PAGES))
def test_every_command_that_is_shown_exists(page: Path) -> None:
    """`wirecrypt VERB` names a verb, and the long options behind it are among that verb's."""
    wrong = [shown for words, rest in _commands(page) for shown in _unknown(words, rest)]
    assert wrong == []


@pytest.mark.parametrize("page", PAGES, ids=_names(PAGES))
def test_no_page_names_a_path_of_one_machine(page: Path) -> None:
    """Home directories and checkouts of whoever wrote it are nobody else's business."""
    assert OF_ONE_MACHINE.findall(_text(page)) == []


@pytest.mark.parametrize("page", WRITTEN, ids=_names(WRITTEN))
def test_prose_has_one_sentence_a_line(page: Path) -> None:
    """So a review shows the sentence that changed; `python -m tests.unit.sentences FILE` writes it so."""
    assert _text(page) == reflowed(_text(page))


def test_lines_with_more_or_less_than_a_sentence_are_found() -> None:
    """Two on one line, one on two lines, and in a list; code, tables and abbreviations are as they are."""
    kept = "| a. B | c. D |\n\n```\na. B\n```\n\nRFC 4303, 4.4.1, e.g. Not `a. B`.\n"
    assert reflowed(kept) == kept
    assert reflowed("One. Two\ngoes on.\n\n- One. Two.\n") == "One.\nTwo goes on.\n\n- One.\n  Two.\n"


def test_every_test_that_the_threat_model_names_exists() -> None:
    """`file::name` is a function of that file."""
    named = TEST.findall(_text(THREATS))
    assert len(named) > len(_rows())
    assert [f"{file}::{name}" for file, name in named if name not in _functions(ROOT / file)] == []


def test_every_row_of_the_threat_model_names_a_test_or_says_that_there_is_none() -> None:
    """No promise without evidence goes unmarked."""
    rows = _rows()
    assert len(rows) > 7
    assert [row for row in rows if not TEST.search(row) and not any(words in row.lower() for words in UNPROVED)] == []


@pytest.mark.parametrize("metrics", [AgentMetrics, ControllerMetrics])
def test_every_figure_has_a_row(metrics: type[AgentMetrics | ControllerMetrics]) -> None:
    """The page of metrics names what both programs serve."""
    page = _text(ROOT / "docs/reference/metrics.md")
    families = [(f.name, f.type) for f in metrics().registry.collect()]
    names = [f"{name}_total" if kind == "counter" else name for name, kind in families]
    assert [name for name in names if f"| `{name}` |" not in page] == []


def test_every_decision_is_in_the_index() -> None:
    """The index links each page of its folder."""
    index = ROOT / "docs/adr/README.md"
    assert {p.name for p in index.parent.glob("0*.md")} <= set(_links(index))


def test_a_dead_link_and_an_unknown_verb_are_found(tmp_path: Path) -> None:
    """The checks above fire."""
    page = tmp_path / "page.md"
    page.write_text("# One\n[a](gone.md) [b](page.md#one) [c](#two)\n\n`wirecrypt jump`, `wirecrypt rotate --wiat`\n")
    assert [t for t in _links(page) if not _leads_somewhere(page, t)] == ["gone.md", "#two"]
    assert [s for words, rest in _commands(page) for s in _unknown(words, rest)] == ["jump", "rotate --wiat"]


def _text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def _links(page: Path) -> list[str]:
    """Return the targets of relative links, outside of code."""
    prose = INLINE.sub("", FENCE.sub("", _text(page)))
    return [target for target in LINK.findall(prose) if "://" not in target and not target.startswith("mailto:")]


def _leads_somewhere(page: Path, target: str) -> bool:
    path, _, anchor = target.partition("#")
    file = (page.parent / path).resolve() if path else page
    return file.exists() and (not anchor or anchor in _anchors(file))


def _anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings: lower case, no punctuation, hyphens for blanks."""
    headings = re.findall(r"^#+ +(.+?) *$", FENCE.sub("", _text(page)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _commands(page: Path) -> Iterator[tuple[list[str], str]]:
    """Yield (words of the verb, the rest of the line) of every command in code."""
    text = _text(page)
    for code in (*FENCE.findall(text), *INLINE.findall(FENCE.sub("", text))):
        for words, rest in COMMAND.findall(code):
            yield [w for w in words.split() if not w.startswith("-")], rest


def _unknown(words: list[str], rest: str) -> Iterator[str]:
    """Yield the verb if there is none of this name, else each long option that it does not take."""
    command = cli.get_command(click.Context(cli), words[0])
    if command is None:
        yield words[0]
        return
    if isinstance(command, click.Group) and len(words) > 1:
        inner = command.get_command(click.Context(command), words[1])
        if inner is None:
            yield " ".join(words)
            return
        command = inner
    known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    own = rest.partition(" -- ")[0]
    yield from (f"{words[0]} {option}" for option in re.findall(r"--[a-z][a-z-]*", own) if option not in known)


def _functions(file: Path) -> set[str]:
    return {node.name for node in ast.walk(ast.parse(_text(file))) if isinstance(node, ast.FunctionDef)}


def _rows() -> list[str]:
    """Return the rows of the first table of the threat model, without its head."""
    table = _text(THREATS).partition("| an attacker has |")[2].partition("\n\n")[0]
    return table.splitlines()[2:]
