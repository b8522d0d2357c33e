"""From the facts of both ends to a verdict about one direction.

The kernels are the witnesses: what the sender's policies point at must be there with one key at both ends, what the
policies and the guard are to enforce must be in place, probes over exactly these SAs must be answered, and the sender's
uplinks must show them as ESP and nothing readable. Counters of both ends tell a packet that never arrived from an answer
that got lost; they blame, and prove nothing: a direction is protected when its own probes were answered, on every lane.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from wirecrypt.model.spi import Spi
from wirecrypt.model.verify_facts import Deviation, LaneProbe, NodeEvidence, PeerEvidence, SaFact
from wirecrypt.verify.verdict import Cause, CauseKind, Silent, Standing, Unasked, Verdict

Asked = NodeEvidence | Silent | Unasked
_MOST_NAMED = 4  # objects named one by one


@dataclass(frozen=True, slots=True)
class _End:
    """One end of the direction: its node's facts, and what it knows of the other end."""

    node: NodeEvidence
    peer: PeerEvidence

    @property
    def name(self) -> str:
        return self.node.node


def judge(sender: Asked, receiver: Asked) -> Verdict:
    """Return the verdict about packets from *sender* to *receiver*."""
    out, inbound = _end(sender, receiver.node), _end(receiver, sender.node)
    causes = [c for asked, other in ((sender, receiver), (receiver, sender)) for c in _absent(asked, other.node)]
    causes += [c for asked in (sender, receiver) for c in _ungranted(asked)]
    if isinstance(out, _End):
        causes += _leaving(out)
    if isinstance(inbound, _End):
        causes += _arriving(inbound)
    if isinstance(out, _End) and isinstance(inbound, _End):
        causes += _between(out, inbound)
    if isinstance(out, _End):
        causes += _probes(out, inbound, silent=isinstance(receiver, Silent))
    elif isinstance(inbound, _End) and isinstance(sender, Unasked):
        causes += _answers(inbound)
    causes = sorted(dict.fromkeys(causes), key=lambda c: (list(CauseKind).index(c.kind), c.node, c.detail))
    return _verdict(sender, receiver, out, inbound, causes)


def _end(asked: Asked, other: str) -> _End | None:
    if not isinstance(asked, NodeEvidence):
        return None
    peer = asked.peer(other)
    return None if peer is None else _End(asked, peer)


def _verdict(sender: Asked, receiver: Asked, out: _End | None, inbound: _End | None, causes: list[Cause]) -> Verdict:
    probes = out.peer.probes if out else ()
    uses = out.peer.uses if out else ()
    times = [p.seconds for p in probes if p.seconds is not None]
    return Verdict(
        sender=sender.node,
        receiver=receiver.node,
        standing=_standing(out, inbound, causes),
        causes=tuple(causes),
        notes=tuple(_notes(out, inbound)),
        generation=out.peer.in_use if out else "",
        spis=uses,
        esp=sum(e.packets for e in out.peer.esp if e.spi in {*uses, *(p.spi for p in probes)}) if out else 0,
        probes=(sum(p.answered for p in probes), sum(p.sent for p in probes)),
        seconds=min(times, default=None),
    )


def _standing(out: _End | None, inbound: _End | None, causes: list[Cause]) -> Standing:
    """Return the worst that is shown; without a fault, a direction is protected when ESP is sent and required."""
    if any(not c.kind.proves_nothing for c in causes):
        return Standing.BROKEN
    if causes or (out is None and inbound is None):
        return Standing.UNKNOWN
    if (out is None or out.peer.out == "esp") and (inbound is None or inbound.peer.receive == "required"):
        return Standing.PROTECTED
    return Standing.LEAVING if "Leaving" in _states(out, inbound) else Standing.JOINING


def _states(*ends: _End | None) -> set[str]:
    return {state for end in ends if end is not None for state in (end.node.state, end.peer.state)}


def _settling(end: _End) -> bool:
    """Return whether one of the two nodes is on its way in or out, so that plaintext is no fault."""
    return bool({"Joining", "Leaving"} & _states(end))


def _absent(asked: Asked, other: str) -> Iterator[Cause]:
    if isinstance(asked, Silent):
        yield Cause(CauseKind.AGENT_SILENT, asked.node, asked.why)
    elif isinstance(asked, Unasked):
        return
    elif not asked.state:
        yield Cause(CauseKind.PEER_UNKNOWN, asked.node, "its agent has not heard yet that the node is enabled")
    elif asked.peer(other) is None:
        yield Cause(CauseKind.PEER_UNKNOWN, asked.node, f"its agent does not know {other} yet")


def _ungranted(asked: Asked) -> Iterator[Cause]:
    """Yield what a node has and no other node knows as its: packets from and to there are in no tunnel."""
    for claim in asked.ungranted if isinstance(asked, NodeEvidence) else ():
        yield Cause(CauseKind.UNGRANTED, asked.node, f"its Node has {claim}, its NodePeer does not: see its EncryptedNode")


def _leaving(end: _End) -> Iterator[Cause]:
    """Yield what is wrong where the packets start."""
    peer, name = end.peer, end.name
    settling = _settling(end)
    if peer.clear and not (settling and peer.out == "plain"):
        yield Cause(CauseKind.CLEARTEXT, name, _listed(peer.clear))
    if peer.refused:
        yield Cause(CauseKind.KERNEL_REFUSED, name, peer.refused)
    if peer.out == "plain" and not settling:
        yield Cause(CauseKind.PLAINTEXT, name, f"no policy encrypts packets to {peer.node}")
    if peer.nodes == "open" and peer.out == "esp" and not settling:
        yield Cause(CauseKind.PLAINTEXT, name, f"traffic between the addresses of {name} and {peer.node} is not sealed (yet)")
    if peer.out == "block" and not settling:
        yield Cause(CauseKind.BLOCKED, name, f"packets to {peer.node} are dropped: {peer.failing or peer.why}")
    sending = _by_spi(peer.sas, sending=True)
    missing = {spi for spi in peer.uses if spi not in sending} | set(peer.sending_missing)
    for spi in sorted(missing - set(peer.later)):
        yield Cause(CauseKind.SA_MISSING_AT_SENDER, name, f"{_spi(spi)} towards {peer.node}")
    yield from _wrong(end, sending.values())
    if end.node.settled:
        yield from _deviating(CauseKind.POLICY, name, peer.policies_out)
    if not (settling and peer.out == "plain"):
        yield from _deviating(CauseKind.GUARD, name, (*end.node.guard_out, *peer.guard_out) if end.node.settled else ())
    if end.node.watched.problem:
        yield Cause(CauseKind.NOT_WATCHED, name, end.node.watched.problem)


def _arriving(end: _End) -> Iterator[Cause]:
    """Yield what is wrong where the packets arrive."""
    peer, name = end.peer, end.name
    settling = _settling(end)
    if peer.receive != "required" and not settling:
        yield Cause(CauseKind.ACCEPTS_CLEARTEXT, name, f"no policy requires ESP of packets from {peer.node}")
    for spi in sorted(set(peer.receiving_missing) - set(peer.later)):
        yield Cause(CauseKind.SA_MISSING_AT_RECEIVER, name, f"{_spi(spi)} from {peer.node}")
    yield from _wrong(end, _by_spi(peer.sas, sending=False).values())
    if end.node.settled:
        yield from _deviating(CauseKind.POLICY, name, peer.policies_in)
    if not (settling and peer.receive != "required"):
        yield from _deviating(CauseKind.GUARD, name, (*end.node.guard_in, *peer.guard_in) if end.node.settled else ())


def _between(out: _End, inbound: _End) -> Iterator[Cause]:
    """Yield what only both ends together show: a receiving SA for each SPI that is used, with the same key."""
    sending, receiving = _by_spi(out.peer.sas, sending=True), _by_spi(inbound.peer.sas, sending=False)
    for spi in out.peer.uses:
        if spi not in receiving and spi not in inbound.peer.later:
            yield Cause(CauseKind.SA_MISSING_AT_RECEIVER, inbound.name, f"{_spi(spi)} from {out.name}")
    for spi in sorted(sending.keys() & receiving.keys()):
        mine, theirs = sending[spi].fingerprint, receiving[spi].fingerprint
        if mine != theirs:
            detail = f"{_spi(spi)}: fingerprint {mine} at {out.name}, {theirs} at {inbound.name}"
            yield Cause(CauseKind.WRONG_KEY, inbound.name, detail)


def _wrong(end: _End, sas: Iterable[SaFact]) -> Iterator[Cause]:
    for sa in sas:
        if not sa.right_key:
            yield Cause(
                CauseKind.WRONG_KEY, end.name, f"{_spi(sa.spi)}: fingerprint {sa.fingerprint} is not that of its generation"
            )
        if sa.errors:
            yield Cause(CauseKind.WRONG_KEY, end.name, f"{_spi(sa.spi)}: {sa.errors} packets failed authentication meanwhile")


def _probes(out: _End, inbound: _End | None, *, silent: bool) -> Iterator[Cause]:
    """Yield what the probes over the SAs in use show; the kernels go on without a *silent* agent, which answers nothing."""
    if out.peer.out != "esp":
        return
    lanes = out.peer.probes
    if not lanes:
        yield Cause(CauseKind.NOT_PROBED, out.name, "its loop sent no probe: it is busy or stuck")
    for spi in _unprobed(out.peer) if lanes else ():
        yield Cause(CauseKind.NOT_PROBED, out.name, f"{_spi(spi)}: no probe went over it to {out.peer.node}")
    for lane in lanes:
        if lane.refused and not lane.sent:
            yield Cause(CauseKind.NOT_SENT, out.name, f"{_spi(lane.spi)}: the kernel refused {lane.refused} probes")
        elif not lane.answered and not silent:
            yield from _unanswered(lane, out, inbound)
        yield from _unseen(lane, out)


def _answers(inbound: _End) -> Iterator[Cause]:
    """Yield that a sender whom nobody asked was not heard on every lane: an answer comes by the lane that was probed."""
    probes = inbound.peer.probes
    if not probes or _unprobed(inbound.peer) or not all(p.answered for p in probes):
        detail = f"no answer from {inbound.peer.node} speaks for every lane of this direction"
        yield Cause(CauseKind.NOT_PROBED, inbound.name, detail)


def _unseen(lane: LaneProbe, out: _End) -> Iterator[Cause]:
    """Yield that probes left and the capture saw none of them; one that lost packets may have lost these."""
    watched = out.node.watched
    if not lane.sent or watched.problem or lane.spi in {e.spi for e in out.peer.esp}:
        return
    if watched.lost:
        detail = f"{_spi(lane.spi)}: none of {lane.sent} probes was read, {watched.lost} packets of the capture were lost"
        yield Cause(CauseKind.NOT_WATCHED, out.name, detail)
    else:
        links = ", ".join(watched.links) or "none"
        yield Cause(CauseKind.NOT_ON_UPLINK, out.name, f"{_spi(lane.spi)}: {lane.sent} probes left, none by uplinks {links}")


def _unprobed(peer: PeerEvidence) -> list[int]:
    """Return the SPIs in use that no probe went over; a lane that was switched meanwhile was probed over its new SA."""
    probed = {p.lane: p.spi for p in peer.probes}
    lanes = {spi: found.lane for spi in peer.uses if (found := Spi.decode(spi)) is not None}
    over = {spi: probed.get(lanes.get(spi, -1)) for spi in peer.uses}
    return [spi for spi, other in over.items() if other is None or (other != spi and other in peer.uses)]


def _unanswered(lane: LaneProbe, out: _End, inbound: _End | None) -> Iterator[Cause]:
    """Blame the direction that loses packets, by the counters of both ends; without any, both are blamed.

    That a packet arrived shows no more than that: what became of it only an answer tells.
    """
    detail = f"{_spi(lane.spi)}: {lane.sent} probes to {out.peer.node}"
    arrived = None
    if inbound is not None:
        arrived = next((sa.grown for sa in inbound.peer.sas if sa.spi == lane.spi and not sa.sending), None)
    if arrived == 0:
        yield Cause(CauseKind.NOT_RECEIVED, out.name, f"{detail}, no packet of it arrived: is ESP filtered on the way?")
    elif arrived and inbound is not None and _answers_lost(out, inbound):
        yield Cause(CauseKind.ANSWERS_LOST, out.name, f"{detail} arrived, nothing comes back: see the other direction")
    else:
        yield Cause(CauseKind.NO_ANSWER, out.name, f"{detail} without an answer: is ESP filtered?")


def _answers_lost(out: _End, inbound: _End) -> bool:
    """Return whether nothing at all arrives the other way, which that direction's own verdict tells."""
    sent = [sa.grown for sa in inbound.peer.sas if sa.sending and sa.spi in inbound.peer.uses]
    arrived = [sa.grown for sa in out.peer.sas if not sa.sending and sa.spi in inbound.peer.uses]
    return any(sent) and not any(arrived)


def _deviating(kind: CauseKind, node: str, deviations: Iterable[Deviation]) -> Iterator[Cause]:
    found = tuple(deviations)
    for deviation in found[:_MOST_NAMED]:
        yield Cause(kind, node, str(deviation))
    if len(found) > _MOST_NAMED:
        yield Cause(kind, node, f"and {len(found) - _MOST_NAMED} more")


def _notes(out: _End | None, inbound: _End | None) -> Iterator[str]:
    for end in (out, inbound):
        if end is None:
            continue
        if end.peer.failing and end.peer.out == "esp":
            yield f"{end.name} says of {end.peer.node}: {end.peer.failing}"
        if end is out and any(p.spi not in end.peer.uses for p in end.peer.probes) and end.peer.uses:
            yield f"{end.name} switched keys towards {end.peer.node} meanwhile: probes went over the new ones"
        if end.peer.nodes == "exempt" and end is out:
            seen = f"{end.peer.exempt_packets} packets so far"
            yield f"{end.name} to {end.peer.node}: traffic between node addresses is exempt, in clear ({seen})"
        if not end.node.settled:
            yield f"{end.name} was in the middle of a pass: its policies and guard entries were not compared"
        if end.node.watched.lost:
            yield f"{end.name} could not read {end.node.watched.lost} packets of the capture"


def _listed(things: Iterable[object]) -> str:
    found = [str(thing) for thing in things]
    more = f" and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
    return "; ".join(found[:_MOST_NAMED]) + more


def _by_spi(sas: Iterable[SaFact], *, sending: bool) -> dict[int, SaFact]:
    return {sa.spi: sa for sa in sas if sa.sending is sending}


def _spi(spi: int) -> str:
    return f"SPI 0x{spi:08x}"
