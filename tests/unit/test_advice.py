"""What people are told to run: nothing of it puts our defaults over what they set."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXTS = ("*.md", "docs/**/*.md", "manifests/**/*.yaml", "overlays/**/*.yaml", "wirecrypt/**/*.py", "scripts/*", "Dockerfile")
OWN = {
    "FOLDER",
    "overlays/mine",
    "monitoring/",  # rules alone, with no value of the reader's
    "-",
}  # what the documentation calls the reader's own overlay; and what stands next to the command
COMMAND = re.compile(
    r"kubectl (?:[^`\n]*? )?(?:apply|replace|create) [^`\n]*?(?:-[kf]|--kustomize|--filename)[ =]([^\s`'\"),]+)"
)
OURS = r"(?:manifests/|overlays/example|config\.yaml)"
WORDS = re.compile(rf"(?<!kubectl )(?<!\.)\b(?:apply|replace it by|(?:make|create) it from)\b[^.;:`]*?`?{OURS}", re.IGNORECASE)


def said(path: Path) -> Iterator[str]:
    """Yield what a file says: of a program its texts, each with all its parts; of anything else the whole."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        yield from (n.value for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Constant) and isinstance(n.value, str))
    else:
        yield text


def advised(text: str) -> list[str]:
    """Return what *text* advises to apply that is not the reader's own overlay."""
    return [*(m[0] for m in COMMAND.finditer(text) if m[1] not in OWN), *(m[0] for m in WORDS.finditer(text))]


def test_nobody_is_told_to_apply_what_is_not_their_own() -> None:
    """No hint, page or comment names our own files as what is to be applied to an installation."""
    files = [path for pattern in TEXTS for path in sorted(ROOT.glob(pattern)) if path.is_file() and path.suffix != ".pyc"]
    assert len(files) > 200
    found = {str(path.relative_to(ROOT)): told for path in files if (told := [a for text in said(path) for a in advised(text)])}
    assert found == {}


@pytest.mark.parametrize(
    "text",
    [
        "kubectl apply -k manifests/",
        "`kubectl -n wirecrypt-system replace --force -f overlays/example/config.yaml`",
        "kubectl create --kustomize=manifests",
        "Next: apply manifests/config.yaml; until then nothing is decided",
        "make it from manifests/config.yaml",
        "Apply the new `manifests/`.",
    ],
)
def test_such_advice_would_be_found(text: str) -> None:
    """Commands and words both."""
    assert len(advised(text)) == 1


def test_the_own_overlay_may_be_advised() -> None:
    """As the documentation names it."""
    assert advised("apply your own overlay again (`kubectl apply -k FOLDER`)\nkubectl apply -k overlays/mine\n") == []
