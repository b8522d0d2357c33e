"""`wirecrypt spi`: whose SA an SPI is, from its number alone, and with names where the cluster can be asked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import click

from wirecrypt.cli.output import Grid, Json, emit
from wirecrypt.cli.tools import client, connecting, exits, formatted
from wirecrypt.errors import InputError, WirecryptError
from wirecrypt.model.objects import NodePeer
from wirecrypt.model.spi import RESIDUES, Spi

_RESERVED: Final = 256


@click.command(
    epilog=exits(
        {
            0: "decoded",
            1: "one of them is none that a node of ours can send with",
            2: "not an SPI",
        }
    )
)
@click.argument("numbers", nargs=-1, required=True, metavar="SPI...")
@click.option("--offline", is_flag=True, help="Do not ask the cluster for names.")
@connecting
@formatted
def spi(numbers: tuple[str, ...], *, offline: bool) -> None:
    """Say what the SPIs that `ip xfrm state` or tcpdump show mean: sender, lane, and the sessions' residues.

    An SPI is written 0x04100200 or in decimal. Names of nodes come from the cluster, where it can be asked.
    """
    parsed = [(text, parse(text)) for text in numbers]
    peers, note = ([], "") if offline else _peers()
    if note:
        click.echo(f"note: no names, the cluster cannot be asked: {note}", err=True)
    decoded = [(text, number, Spi.decode(number)) for text, number in parsed]
    documents = [document(number, parts, peers) for _, number, parts in decoded]
    emit({"spis": documents}, lambda: _lines(documents))
    if any(parts is None for _, _, parts in decoded):
        raise click.exceptions.Exit(1)


def parse(text: str) -> int:
    """Return the number that *text* writes; raises `InputError`."""
    try:
        number = int(text, 0) if text.lower().startswith("0x") else int(text, 10)
    except ValueError:
        number = -1
    if not 0 <= number < 1 << 32:
        hint = "write it 0x04100200, or in decimal"
        raise InputError("read an SPI", what=text, answer="not a number of 32 bits", hint=hint)
    return number


def document(number: int, parts: Spi | None, peers: Sequence[NodePeer]) -> Json:
    """Return what an SPI means, for programs; *peers* give names."""
    if parts is None:
        reserved = number < _RESERVED
        why = "reserved by RFC 4303" if reserved else "its node ID is below 16, so no node of ours sends with it"
        return {"spi": f"0x{number:08x}", "ours": False, "why": why}
    sender = next((p for p in peers if p.node_id == parts.sender), None)
    return {
        "spi": f"0x{number:08x}",
        "ours": True,
        "senderID": parts.sender,
        "sender": sender.name if sender else None,
        "lane": parts.lane,
        "residueLo": parts.residue_lo,
        "residueHi": parts.residue_hi,
        "receivers": [p.name for p in receivers(parts, sender, peers)] if sender else [],
    }


def receivers(parts: Spi, sender: NodePeer, peers: Iterable[NodePeer]) -> list[NodePeer]:
    """Return the nodes that can be the other end: with both ends' published sessions of these residues."""
    return [p for p in peers if p.node_id != sender.node_id and _fits(parts, sender, p)]


def _fits(parts: Spi, sender: NodePeer, other: NodePeer) -> bool:
    lo, hi = (sender, other) if sender.node_id < other.node_id else (other, sender)
    pairs = ((lo, parts.residue_lo), (hi, parts.residue_hi))
    return all(residue in {s.number % RESIDUES for s in end.sessions} for end, residue in pairs)


def _peers() -> tuple[Sequence[NodePeer], str]:
    try:
        return client().node_peers(), ""
    except WirecryptError as error:
        return [], error.answer or str(error)


def _lines(documents: Sequence[Json]) -> Iterable[Grid | str]:
    ours = [d for d in documents if d["ours"]]
    if ours:
        yield Grid(
            ("SPI", "SENDER", "SENDER ID", "LANE", "SESSION LO", "SESSION HI", "POSSIBLE RECEIVERS"),
            [
                (
                    d["spi"],
                    d["sender"] or "?",
                    str(d["senderID"]),
                    str(d["lane"]),
                    f"{d['residueLo']} mod {RESIDUES}",
                    f"{d['residueHi']} mod {RESIDUES}",
                    ", ".join(d["receivers"]) or "?",
                )
                for d in ours
            ],
        )
    yield from (f"{d['spi']} is not ours: {d['why']}" for d in documents if not d["ours"])
