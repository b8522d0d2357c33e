"""Prose in Markdown with one sentence a line, so that a review shows the sentence that changed.

python -m tests.unit.sentences FILE…    writes files anew
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

_ENDS = re.compile(r"(?<=[.!?])(?P<close>[)\"*_]*) +(?=[A-Z0-9`*_\"(\[/◆.~-])")
_NO_END = re.compile(r"(?:\b(?:e\.g|i\.e|cf|vs|etc|No|ca|approx|p|pp|ff)\.|\.\.\.|…)[)\"*_]*$", re.IGNORECASE)
_ITEM = re.compile(r"(?P<mark> *(?:[-*+]|\d+\.) +)(?P<text>.*)")
_STANDS = re.compile(r"\s*(?:\||#|<|>|```|:?-{3,}|\[[^\]]+\]:)")  # tables, headings, HTML, quotes, fences, rules, link targets


def reflowed(text: str) -> str:
    """Return a page with each sentence of a paragraph or a list's item on a line of its own."""
    return "\n".join(_lines(text.split("\n")))


def _lines(lines: list[str]) -> Iterator[str]:
    fenced, mark, words = False, "", []
    for line in [*lines, None]:
        fence = line is not None and line.lstrip().startswith("```")
        item = None if fenced or line is None else _ITEM.fullmatch(line)
        stands = line is None or fenced or fence or not line.strip() or bool(_STANDS.match(line)) or _is_code(line, mark, words)
        if (stands or item) and words:
            yield from _paragraph(mark, " ".join(words))
            mark, words = "", []
        fenced ^= fence
        if item is not None and not stands:
            mark, words = item["mark"], [item["text"].strip()]
        elif line is not None and stands:
            mark = mark if line.strip() else ""
            yield line
        elif line is not None:
            mark = mark if words else " " * (len(line) - len(line.lstrip()))
            words.append(line.strip())


def _is_code(line: str, mark: str, words: list[str]) -> bool:
    """Return whether a line is indented as code is, and goes on with nothing."""
    return line.startswith("    ") and not words and not mark


def _paragraph(mark: str, text: str) -> Iterator[str]:
    for number, sentence in enumerate(sentences(text)):
        yield (mark if not number else " " * len(mark)) + sentence


def sentences(text: str) -> Iterator[str]:
    """Yield the sentences of a paragraph; a full stop inside code, a number or a common abbreviation ends none."""
    start, spans = 0, [m.span() for m in re.finditer(r"`[^`]*`|\[[^\]]*\]\([^)]*\)", text)]
    for found in _ENDS.finditer(text):
        at = found.end("close")
        if any(a < at < b for a, b in spans) or _NO_END.search(text[start:at]):
            continue
        yield text[start:at]
        start = found.end()
    yield text[start:]


if __name__ == "__main__":
    for name in sys.argv[1:]:
        Path(name).write_text(reflowed(Path(name).read_text()))
