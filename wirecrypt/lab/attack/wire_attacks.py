"""Somebody on the wire between the nodes, who reads all and sends what they like: they want to be believed, or to stop traffic.

What they send has a source address of its own in its frames, so that the judge tells it from what nodes let out. Turning
traffic away by ARP or neighbour discovery stops it, as cutting the wire does: that is not tried.
"""

from __future__ import annotations

import struct
from functools import partial
from typing import Final

from wirecrypt.lab.attack import packets
from wirecrypt.lab.attack.ground import FAMILIES, OWN, PEER, THIRD, Ground, Markers, moved
from wirecrypt.lab.attack.packets import MORE, UDP
from wirecrypt.lab.attack.scoreboard import Attack, Outcome

WIRE: Final = "somebody on the wire"
ROUTER: Final = {4: "192.0.2.1", 6: "fd00:2::1"}
NARROW: Final = {4: 576, 6: 1280}
SPI, NUMBER = slice(20, 24), slice(24, 28)  # of ESP behind an IPv4 header without options
WRONG: Final = ("XfrmInStateProtoError", "XfrmInNoStates", "XfrmInStateSeqError", "XfrmInHdrError", "XfrmInError")
Ends = list[tuple[str, str]]


def honest(ground: Ground, *, size: int = 0) -> tuple[Markers, int]:
    """Send a packet of the peer's pod to node-1's pod, in ESP; return its marker and whether it has arrived."""
    mark, ears = Markers(), ground.ears(f"pod/{OWN}/a")
    source, target = ground.aim(PEER).pods[4], ground.aim(OWN).pods[4]
    ground.python(f"pod/{PEER}/a", _SEND, source, target, mark().decode(), str(size))
    return mark, ears.wait(mark.made)


def recorded(ground: Ground) -> tuple[Markers, list[bytes]]:
    """Return the marker of an honest packet and the ESP that carried it, with what else went that way meanwhile."""
    since = ground.lab.time()
    mark, _ = honest(ground)
    return mark, ground.esp_to(OWN, since)


def replay(ground: Ground) -> Outcome:
    """Send recorded ESP again, three times: the packet stays the one that it was."""
    mark, recording = recorded(ground)
    count = partial(ground.stat, OWN, "XfrmInStateSeqError")
    before = count()
    ground.inject(OWN, *recording * 3)
    refused = moved(count, before, 3 * len(recording))
    heard = len(ground.ears(f"pod/{OWN}/a").heard(mark.made))
    fell = f"the packet has arrived {heard} times" if heard > 1 else ""
    evidence = f"{3 * len(recording)} replays, {refused} refused by their number; delivered {heard} time"
    return Outcome(bool(recording) and refused >= 3 * len(recording) and heard > 0, evidence, fell)


def flipped(ground: Ground) -> Outcome:
    """Change a recorded packet, under a number that was not used: SPI, number, each part of what is hidden, and the end."""
    mark, recording = recorded(ground)
    count = partial(ground.stat, OWN, *WRONG)
    before, changed = count(), []
    for packet in recording[:1]:
        number = struct.unpack("!I", packet[NUMBER])[0] + 500
        fresh = packet[: NUMBER.start] + struct.pack("!I", number) + packet[NUMBER.stop :]
        changed = [fresh, *(_flip(fresh, place) for place in (SPI.stop - 1, 29, 40, 60, len(fresh) - 1))]
    ground.inject(OWN, *changed)
    refused = moved(count, before, len(changed))
    heard = len(ground.ears(f"pod/{OWN}/a").heard(mark.made))
    _, after = honest(ground)
    fell = f"delivered {heard} times" if heard > 1 else "" if after else "honest traffic does not arrive any more"
    evidence = f"{len(changed)} changed packets, {refused} refused; honest traffic goes on: {bool(after)}"
    return Outcome(len(changed) > 1 and refused >= len(changed), evidence, fell)


def _flip(packet: bytes, place: int) -> bytes:
    return packet[:place] + bytes([packet[place] ^ 1]) + packet[place + 1 :]


def copied_spi(ground: Ground) -> Outcome:
    """Send ESP of the own making with the SPI of a real SA, as the peer, as a stranger, and to the wrong end."""
    peer, own, plain = ground.aim(PEER), ground.aim(OWN), ground.aim(THIRD)
    mark, number = Markers(), 1 << 20
    spis = [ground.spi(PEER, OWN), ground.spi(OWN, PEER)]
    sources = (peer.nodes[4], plain.nodes[4], ROUTER[4])
    found = [
        packets.ipv4(source, own.nodes[4], packets.ESP, packets.esp(spi, mark() + bytes(41), number=number))
        for source in sources
        for spi in spis
    ]
    counts = (partial(ground.stat, OWN, *WRONG), partial(ground.guard, OWN, "ingress_"))
    return _undelivered(ground, found, mark, counts)


def _undelivered(ground: Ground, found: list[bytes], mark: Markers, counts: tuple[partial[int], ...]) -> Outcome:
    """Inject packets that nobody may get: each is counted as refused, and honest traffic goes on."""
    ears = [ground.ears(place) for place in (f"pod/{OWN}/a", OWN)]

    def count() -> int:
        return sum(each() for each in counts)

    before = count()
    ground.inject(OWN, *found)
    refused = moved(count, before, len(found))
    _, after = honest(ground)
    arrived = [marker for each in ears for marker in each.heard(mark.made)]
    fell = f"{len(arrived)} delivered" if arrived else "" if after else "honest traffic does not arrive any more"
    return Outcome(refused >= len(found), f"{len(found)} packets, {refused} counted as refused, {len(arrived)} delivered", fell)


def spoofed(ends: str, ground: Ground, *, tag: bytes = b"") -> Outcome:
    """Send cleartext in the peer's name, *ends* of pod or node: nothing arrives; in the plain node's name it does."""
    who, _, whom = ends.partition(" ")
    place = f"pod/{OWN}/a" if whom == "pod" else OWN
    own, ears, tried, control = ground.aim(OWN), ground.ears(place), Markers(), Markers()
    targets = own.pods if whom == "pod" else own.nodes
    for node, mark in ((PEER, tried), (THIRD, control)):
        sources = ground.aim(node).pods if who == "pod" else ground.aim(node).nodes
        ground.inject(OWN, *(packets.udp(sources[f], targets[f], mark()) for f in FAMILIES for _ in range(3)), tag=tag)
    heard, arrived = ears.wait(control.made), ears.heard(tried.made)
    fell = f"{len(arrived)} of {len(tried.made)} delivered" if arrived else ""
    evidence = f"{len(tried.made)} forged, {len(arrived)} delivered; in a plain node's name {heard} of {len(control.made)}"
    return Outcome(heard == len(control.made), evidence, fell)


def spoofed_fragments(ground: Ground) -> Outcome:
    """Send cleartext of the peer's pod in fragments, also those that begin behind the ports: no part arrives."""
    own, ears, tried, control = ground.aim(OWN), ground.ears(f"pod/{OWN}/a"), Markers(), Markers()
    for node, mark in ((PEER, tried), (THIRD, control)):
        source, target = ground.aim(node).pods[4], own.pods[4]
        whole = packets.datagram(source, target, mark() + b"\0" + mark() + b"\0" + bytes(24))
        parts = ((whole[:32], MORE), (whole[32:], 4))
        ground.inject(OWN, *(packets.ipv4(source, target, UDP, body, fragment=where) for body, where in parts))
    heard, arrived = ears.wait(control.made), ears.heard(tried.made)
    fell = f"{len(arrived)} of {len(tried.made)} delivered" if arrived else ""
    return Outcome(heard == len(control.made), f"{len(arrived)} delivered; of a plain node's pod {heard} of 2", fell)


def tunnelled(ground: Ground) -> Outcome:
    """Send cleartext of the peer's pod in IP in IP, GRE and VXLAN between node addresses: refused, and nothing arrives."""
    own, peer, mark = ground.aim(OWN), ground.aim(PEER), Markers()

    def inner() -> bytes:
        return packets.udp(peer.pods[4], own.pods[4], mark())

    ends = (peer.nodes[4], own.nodes[4])
    found = [
        packets.ipv4(*ends, packets.IPIP, inner()),
        packets.ipv4(*ends, packets.GRE, packets.gre(inner(), 0x0800)),
        packets.udp(*ends, packets.vxlan(packets.ether(inner())), port=4789),
        packets.ipv4(ROUTER[4], own.nodes[4], packets.IPIP, inner()),
        packets.udp(ROUTER[4], own.nodes[4], packets.vxlan(packets.ether(inner())), port=8472),
    ]
    return _undelivered(ground, found, mark, (partial(ground.guard, OWN, "ingress_"),))


def control(ground: Ground) -> Outcome:
    """Send control datagrams in clear, as the peer: refused; that nothing changes is judged after every attack."""
    own, peer, mark = ground.aim(OWN), ground.aim(PEER), Markers()
    found = [packets.udp(peer.nodes[f], own.nodes[f], mark().ljust(256, b"\0"), port=14500) for f in FAMILIES for _ in range(2)]
    return _undelivered(ground, found, mark, (partial(ground.guard, OWN, "ingress_"),))


def too_big(ground: Ground) -> Outcome:
    """Say to the peer, as a router and as node-1, that its ESP is too big: large packets go on arriving."""
    own, peer = ground.aim(OWN), ground.aim(PEER)
    _, recording = recorded(ground)
    errors = []
    for source in (ROUTER[4], own.nodes[4]):
        errors += [
            packets.icmp4(source, peer.nodes[4], struct.pack("!BBHI", 3, 4, 0, NARROW[4]) + packet[:128])
            for packet in recording
        ]
    count = partial(_heard_errors, ground)
    before = count()
    ground.inject(PEER, *errors)
    taken = moved(count, before, len(errors))
    try:
        narrow = f"mtu {NARROW[4]}" in ground.lab.exec(PEER, ["ip", "route", "get", own.nodes[4]]).stdout
        results = [honest(ground, size=size)[1] for size in (400, 1000, 1400) for _ in range(2)]
    finally:
        ground.lab.exec(PEER, ["ip", "route", "flush", "cache"])
    arrived = sum(results)
    fell = "" if arrived == len(results) else f"{arrived} of {len(results)} large packets arrive"
    evidence = (
        f"{len(errors)} messages, {taken} taken or refused by the peer; it believes them: {narrow}; "
        f"{arrived} of {len(results)} packets arrive"
    )
    return Outcome(bool(errors) and taken >= len(errors), evidence, fell)


def _heard_errors(ground: Ground) -> int:
    """Return how many ICMP errors the peer's kernel has taken, and how many packets its guard has refused."""
    text = ground.lab.exec(PEER, ["cat", "/proc/net/snmp"]).stdout
    names, values = (line.split() for line in text.splitlines() if line.startswith("Icmp:"))
    return int(values[names.index("InDestUnreachs")]) + ground.guard(PEER, "ingress_")


ATTACKS: Final = (
    Attack(WIRE, "Sends recorded ESP packets again.", replay, quick=True),
    Attack(WIRE, "Changes recorded ESP packets: SPI, number, content, end.", flipped, quick=True),
    Attack(WIRE, "Makes ESP up with the SPI of a real SA, as the peer and as strangers.", copied_spi),
    Attack(WIRE, "Sends cleartext as a peer's pod to a pod.", partial(spoofed, "pod pod"), quick=True),
    Attack(WIRE, "Sends cleartext as a peer's node to a pod.", partial(spoofed, "node pod"), quick=True),
    Attack(WIRE, "Sends cleartext as a peer's pod to a node.", partial(spoofed, "pod node")),
    Attack(WIRE, "Sends cleartext as a peer's node to a node.", partial(spoofed, "node node"), quick=True),
    Attack(
        WIRE, "Sends cleartext as a peer's pod to a pod in frames of VLAN 0.", partial(spoofed, "pod pod", tag=b"\x81\0\0\0")
    ),
    Attack(WIRE, "Sends cleartext of a peer's pod in fragments.", spoofed_fragments, quick=True),
    Attack(WIRE, "Sends cleartext of a peer's pod in IP in IP, GRE and VXLAN, as the peer's node and as a router.", tunnelled),
    Attack(WIRE, "Sends control datagrams in clear, as a peer.", control),
    Attack(WIRE, "Says that ESP packets are too big, as a router and as a node.", too_big),
)

_SEND = """
import socket, sys
source, target, text, size = sys.argv[1:]
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    s.setsockopt(socket.IPPROTO_IP, 10, 0)  # IP_MTU_DISCOVER: fragments are welcome
    s.bind((source, 0))
    s.sendto(text.encode() + bytes(int(size)), (target, 21998))
"""
