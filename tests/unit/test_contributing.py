"""Whoever wants to change something finds its files: what the pages for contributors name exists, and is called as they say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

import wirecrypt

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("CONTRIBUTING.md", "RELEASING.md", "SECURITY.md", ".github/PULL_REQUEST_TEMPLATE.md")
CODE = re.compile(r"`([^`\n]+)`")
A_PATH = re.compile(r"[\w.-]+(/[\w.-]+)*/?")
SUFFIXES = (".c", ".cfg", ".go", ".h", ".lock", ".md", ".py", ".sh", ".toml", ".yaml")
MADE = (".venv/", "bench-results/", "demo-out/", "overlays/mine")  # by a script, by a test, by the user
CHANGES = (
    "a reason for which the guard drops",
    "a cipher",
    "a flow class",
    "prefixes outside podCIDRs",
    "a CNI in the lab",
    "a metric",
    "a trigger of rotations",
    "a verb",
    "UDP encapsulation of ESP",
    "encryption required by namespace",
)
VERSIONED = {
    "pyproject.toml": r'^version = "(.+)"|wirecrypt-lab==([^"]+)',
    "wirecrypt/__init__.py": r'__version__ = "(.+)"',
    "lab-package/pyproject.toml": r'^version = "(.+)"|wirecrypt==([^"]+)',
    "Dockerfile": r"^ARG VERSION=(.+)",
    "overlays/example/kustomization.yaml": r"newTag: (.+)",
    "docs/how-to/build-the-image.md": r"wirecrypt:(\d\S+)|VERSION=(\S+)",
    "SECURITY.md": r"^\| (\d\S+)",
}


def paths(text: str) -> set[str]:
    """Return the words in code that are paths of this project, not of a machine, of a cache or of what is made."""
    words = {word for code in CODE.findall(text) for word in code.split()}
    found = {word.rstrip(",;:").removeprefix("./") for word in words if not word.startswith(("/", "~", "-"))}
    named = {word for word in found if A_PATH.fullmatch(word) and ("/" in word or word.endswith(SUFFIXES))}
    return {word for word in named if not word.startswith(MADE)}


def missing(text: str) -> list[str]:
    """Return the paths that lead nowhere: from the root, from the package, or from the folder that a row is about."""
    found = set()
    for line in text.splitlines():
        row = re.match(r"\| `([\w./]+)`", line)
        bases = (ROOT, ROOT / "wirecrypt", *([ROOT / row[1]] if row else ()))
        found |= {path for path in paths(line) if not any((base / path).exists() for base in bases)}
    return sorted(found)


@pytest.mark.parametrize("page", PAGES)
def test_every_path_that_is_named_exists(page: str) -> None:
    """A file that was moved is moved on the page as well."""
    assert missing((ROOT / page).read_text()) == []


def test_a_path_that_leads_nowhere_is_found() -> None:
    """And what is no path of this project is none."""
    text = (
        "see `wirecrypt/gone.py`, `cli/main.py`, `render.py`, `./scripts/test tests/unit`, `/proc/cpuinfo` and `-o table|json`"
    )
    assert missing(text) == ["render.py", "wirecrypt/gone.py"]


@pytest.mark.parametrize("change", CHANGES)
def test_each_usual_change_has_its_way(change: str) -> None:
    """A paragraph of its own, which names at least a file of the program and one of the documentation, or a test."""
    how = (ROOT / "CONTRIBUTING.md").read_text().partition("## How to add …")[2].partition("\n## ")[0]
    (paragraph,) = [part for part in how.split("\n\n") if part.startswith(f"**{change}")]
    tops = {path.partition("/")[0] for path in paths(paragraph)}
    assert "wirecrypt" in tops
    assert tops & {"docs", "tests"}


@pytest.mark.parametrize("place", VERSIONED)
def test_every_place_of_the_version_has_the_same(place: str) -> None:
    """As many as RELEASING.md says, and all of them are listed there."""
    found = re.findall(VERSIONED[place], (ROOT / place).read_text(), re.MULTILINE)
    versions = [word for words in found for word in ([words] if isinstance(words, str) else words) if word]
    assert set(versions) == {wirecrypt.__version__}
    listed = re.search(rf"`{re.escape(place)}`( \(twice\))?", (ROOT / "RELEASING.md").read_text())
    assert listed
    assert not listed[1] or len(versions) == 2


def test_hooks_and_the_workflow_call_what_is_there() -> None:
    """Each hook is a part of scripts/check, and all of its parts are hooks; the workflow runs .ci/run."""
    check = (ROOT / "scripts/check").read_text()
    parts = re.findall(r"^parts=\((.+)\)$", check, re.MULTILINE)[0].split()
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    assert sorted(hook["entry"].split()[1] for hook in hooks if hook["language"] == "system") == sorted(parts)
    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]
    assert {step.get("run") for job in jobs.values() for step in job["steps"]} >= {".ci/run", "scripts/check"}
