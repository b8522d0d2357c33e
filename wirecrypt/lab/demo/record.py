"""What the demo leaves behind: the timeline, the claims with their evidence, the figures."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from wirecrypt.errors import LabError

EVENTS = (
    "node",
    "pod",
    "labelled",
    "protected",
    "rotating",
    "rotated",
    "unlabelled",
    "load-start",
    "load-end",
)  # what readers of the timeline know
TIMELINE = "timeline.jsonl"
RESULT = "result.json"
CAPTURE = "wire.pcap"
PROTECTED = "wire-protected.pcap"  # the part of it in which nothing may be readable between the two nodes
EVIDENCE = (CAPTURE, PROTECTED, TIMELINE, RESULT)


@dataclass(frozen=True, slots=True)
class Claim:
    """One thing that was to be shown, whether it held, and the evidence in figures."""

    what: str
    held: bool
    evidence: str


@dataclass(slots=True)
class Record:
    """Collects claims, figures and events in *folder*; times are those of the side that captures."""

    folder: Path
    claims: list[Claim] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)

    def event(self, time: float, event: str, **facts: Any) -> None:  # noqa: ANN401 - any JSON
        """Write one line of the timeline; LabError for an event that its readers do not know."""
        if event not in EVENTS:
            raise LabError("no event of the timeline", what=event, hint="one of " + ", ".join(EVENTS))
        with (self.folder / TIMELINE).open("a") as file:
            file.write(json.dumps({"time": round(time, 6), "event": event, **facts}) + "\n")

    def claim(self, what: str, evidence: str, *, held: bool) -> None:
        """Note what was to be shown and whether it held."""
        self.claims.append(Claim(what, held, evidence))

    @property
    def held(self) -> bool:
        """Return whether everything held (and anything was claimed at all)."""
        return bool(self.claims) and all(claim.held for claim in self.claims)

    def write(self, error: str = "") -> None:
        """Write the result."""
        document = {
            "held": self.held and not error,
            "error": error,
            "claims": [{"what": c.what, "held": c.held, "evidence": c.evidence} for c in self.claims],
            "figures": self.figures,
        }
        (self.folder / RESULT).write_text(json.dumps(document, indent=2) + "\n")

    def show(self, console: Console) -> None:
        """Print the table of what was proved."""
        table = Table(title="What was proved", title_justify="left")
        table.add_column("")
        table.add_column("claim", overflow="fold")
        table.add_column("evidence", overflow="fold")
        for claim in self.claims:
            table.add_row("[green]yes[/]" if claim.held else "[red]NO[/]", escape(claim.what), escape(claim.evidence))
        console.print(table)
