"""Two nodes whose pair is in order, as their agents tell it; tests change one thing at a time."""

from dataclasses import replace

from wirecrypt.model.verify_facts import FORMAT, CaptureSummary, EspSeen, LaneProbe, NodeEvidence, PeerEvidence, SaFact

A_TO_B, B_TO_A = 0x04100100, 0x04100110  # SPIs: nodeID 16 sends the first, 17 the second
GENERATION = "1.1.1"


def sa(spi: int, *, sending: bool, **more: object) -> SaFact:
    facts = {"lane": 0, "generation": GENERATION, "fingerprint": f"{spi:012x}", "right_key": True, "packets": 10, "grown": 6}
    return SaFact(spi=spi, sending=sending, **{**facts, **more})


def peer(name: str, number: int, out: int, inbound: int) -> PeerEvidence:
    return PeerEvidence(
        node=name,
        node_id=number,
        state="Active",
        out="esp",
        receive="required",
        in_use=GENERATION,
        why="",
        failing="",
        refused="",
        uses=(out,),
        sas=(sa(out, sending=True), sa(inbound, sending=False)),
        probes=(LaneProbe(out, 0, sent=3, refused=0, answered=3, seconds=0.001),),
        esp=(EspSeen(out, 6),),
        later=(out, inbound),
    )


def node(name: str, number: int, *peers: PeerEvidence) -> NodeEvidence:
    return NodeEvidence(
        FORMAT, name, number, "Active", settled=True, pass_age=1.0, watched=CaptureSummary(("eth0",), 2.0, 9), peers=peers
    )


def healthy() -> tuple[NodeEvidence, NodeEvidence]:
    """Return both ends of a pair that is protected."""
    return node("a", 16, peer("b", 17, A_TO_B, B_TO_A)), node("b", 17, peer("a", 16, B_TO_A, A_TO_B))


def changed(facts: NodeEvidence, **more: object) -> NodeEvidence:
    """Return *facts* with something else about its only peer."""
    return replace(facts, peers=(replace(facts.peers[0], **more),))


def without(facts: NodeEvidence, spi: int) -> NodeEvidence:
    """Return *facts* after the SA of *spi* was deleted."""
    only = facts.peers[0]
    rest = tuple(s for s in only.sas if s.spi != spi)
    return changed(facts, sas=rest, later=tuple(s for s in only.later if s != spi))


def rekeyed(facts: NodeEvidence, spi: int, **more: object) -> NodeEvidence:
    """Return *facts* with something else about one SA."""
    return changed(facts, sas=tuple(replace(s, **more) if s.spi == spi else s for s in facts.peers[0].sas))


def joining(facts: NodeEvidence, **more: object) -> NodeEvidence:
    """Return *facts* of a node that joins."""
    return replace(changed(facts, **more), state="Joining")
