"""Every key of every SA by its fingerprint, over all nodes: one sender per key, both ends equal, nothing twice."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from wirecrypt.model.verify_facts import NodeEvidence


@dataclass(slots=True)
class KeyRow:
    """One key: who sends with it to whom under which SPI, its fingerprints at both ends, and what is wrong with it.

    A fingerprint is empty where the end has no such SA: the other one then just waits to be removed, or to be used.
    """

    spi: int
    sender: str
    receiver: str
    at_sender: str = ""
    at_receiver: str = ""
    faults: list[str] = field(default_factory=list)

    @property
    def equal(self) -> bool | None:
        """Return whether both ends have the same key; None when only one has it."""
        return self.at_sender == self.at_receiver if self.at_sender and self.at_receiver else None


def audit(nodes: Iterable[NodeEvidence]) -> list[KeyRow]:
    """Return a row per sender, receiver and SPI, in this order, with the faults found."""
    rows: dict[tuple[str, str, int], KeyRow] = {}
    for node in nodes:
        for peer in node.peers:
            for sa in peer.sas:
                ends = (node.node, peer.node) if sa.sending else (peer.node, node.node)
                row = rows.setdefault((*ends, sa.spi), KeyRow(sa.spi, *ends))
                if sa.sending:
                    row.at_sender = sa.fingerprint
                else:
                    row.at_receiver = sa.fingerprint
    ordered = [row for _, row in sorted(rows.items())]
    _unequal(ordered)
    _twice(ordered)
    return ordered


def _unequal(rows: Iterable[KeyRow]) -> None:
    for row in rows:
        if row.equal is False:
            row.faults.append("the ends have different keys")


def _twice(rows: Iterable[KeyRow]) -> None:
    users: dict[str, list[KeyRow]] = defaultdict(list)
    for row in rows:
        for fingerprint in {row.at_sender, row.at_receiver} - {""}:
            users[fingerprint].append(row)
    for fingerprint, sharing in users.items():
        for row in sharing if len(sharing) > 1 else ():
            others = ", ".join(f"{o.sender} → {o.receiver} 0x{o.spi:08x}" for o in sharing if o is not row)
            row.faults.append(f"key {fingerprint} is also that of {others}")
