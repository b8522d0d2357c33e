"""A hostile pod on an enabled node, with NET_RAW and NET_ADMIN in its own network: it wants to be read, or believed.

A packet of a pod is tried twice: towards the peer, where nothing of it may be readable, and in the same shape towards a node
that takes no part, where the wire must show every one of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final

from wirecrypt.lab.attack import packets, shapes
from wirecrypt.lab.attack.ground import FAMILIES, OUTSIDE, OWN, PEER, THIRD, UNKNOWN, Ground, Markers, moved
from wirecrypt.lab.attack.scoreboard import Attack, Outcome
from wirecrypt.lab.attack.shapes import Shape
from wirecrypt.model.mark import MarkKind, MarkLayout

POD: Final = "hostile pod"
DEAD: Final = {4: "10.2.0.201", 6: "fd00:12::201"}  # in node-2's pod prefixes, nobody's
NARROW: Final = {4: 600, 6: 1280}  # bytes: the path behind the peer, for what is too big
REFUSED: Final = r'wirecrypt_control_refused_total\{reason="(?!not sent)[^"]*"\}'


def kind_to_the_attacker(ground: Ground) -> None:
    """Have node-1 forward whatever its pod says that it is: a host that checks sources would only make it harder."""
    links = ("all", "default", "upl", "cni0")
    words = [f"net.ipv4.conf.{link}.{name}" for link in links for name in ("accept_local=1", "rp_filter=0")]
    ground.lab.exec(OWN, ["sysctl", "-qw", *words])


def unreadable(shape: Shape, ground: Ground) -> Outcome:
    """Send a shape to the peer, where nothing of it may be readable, and to the plain node, where all of it must be."""
    kind_to_the_attacker(ground)
    tried, control = ground.hidden(), Markers()
    ground.from_pod(*shape(ground, ground.aim(PEER), tried))
    ground.from_pod(*shape(ground, ground.aim(THIRD), control))
    seen = ground.wait_readable(control.made)
    return _outcome(
        ground, tried, seen == len(control.made), f"the same to a plain node: {seen} of {len(control.made)} readable"
    )


def _compared(ground: Ground, tried: Markers, control: Markers, what: str = "the same to a plain node") -> Outcome:
    """Wait until the control is readable, which was sent last, and say what the wire shows of both."""
    seen = ground.wait_readable(control.made)
    happened, text = seen == len(control.made), f"{what}: {seen} of {len(control.made)} readable"
    return _outcome(ground, tried, happened, text, again=True)


def _outcome(ground: Ground, tried: Markers, happened: bool, control: str, *, again: bool = False) -> Outcome:  # noqa: FBT001
    leaked = ground.leaked(tried, again=again)
    fell = f"{len(leaked)} of {len(tried.made)} packets are readable on the wire" if leaked else ""
    return Outcome(happened and bool(tried.made), f"{len(tried.made)} packets, {len(leaked)} readable; {control}", fell)


def unchanged_by_control(ground: Ground) -> Outcome:
    """Send forged control datagrams: what arrives is refused; that nothing changes is judged after every attack."""
    count = partial(ground.metric, PEER, REFUSED)
    before = count()
    outcome = unreadable(shapes.control_port, ground)
    refused = moved(count, before, 1)
    return Outcome(outcome.happened and refused > 0, f"{outcome.evidence}; the peer refused {refused}", outcome.fell)


def impersonate(ground: Ground) -> Outcome:
    """Speak to the peer's pod as everybody but the own node: none of that arrives, the pod's own packets do."""
    kind_to_the_attacker(ground)
    tried, control = ground.hidden(), Markers()
    ears, target, own = ground.ears(f"pod/{PEER}/a"), ground.aim(PEER).pods, ground.aim(OWN)
    forged = [
        packets.udp(source, target[f], tried())
        for f in FAMILIES
        for source in (*ground.foreign(f), ground.aim(PEER).nodes[f], ground.aim(PEER).pods[f])
        if source != own.nodes[f]
    ]
    ground.from_pod(*forged)
    ground.from_pod(*(packets.udp(own.pods[f], target[f], control()) for f in FAMILIES))
    heard = ears.wait(control.made)
    arrived = ears.heard(tried.made)
    fell = f"{len(arrived)} of {len(forged)} forged packets were delivered" if arrived else ""
    evidence = f"{len(forged)} forged, {len(arrived)} delivered; the pod's own: {heard} of {len(control.made)}"
    return Outcome(heard == len(control.made), evidence, fell)


def as_the_peer(ground: Ground) -> Outcome:
    """Speak as the peer and its pod, to the peer and to a plain node: the own node takes none of it in."""
    peer, plain, tried = ground.aim(PEER), ground.aim(THIRD), ground.hidden()
    found = [
        packets.udp(source, target, tried())
        for f in FAMILIES
        for source in (peer.pods[f], peer.nodes[f])
        for target in (peer.pods[f], peer.nodes[f], plain.pods[f], plain.nodes[f])
    ]
    count = partial(ground.stat, OWN, "XfrmInTmplMismatch", "XfrmInNoPols")
    before = count()
    ground.from_pod(*found)
    refused = moved(count, before, len(found))
    return _outcome(ground, tried, refused >= len(found), f"{refused} refused by the pod's own node")


def unknown(ground: Ground) -> Outcome:
    """Send to addresses in the cluster's ranges that nobody has; addresses outside of them are readable."""
    own, tried, control = ground.aim(OWN), ground.hidden(), Markers()
    for targets, mark in ((UNKNOWN, tried), (OUTSIDE, control)):
        ground.from_pod(*(packets.udp(own.pods[f], targets[f], mark()) for f in FAMILIES for _ in range(3)))
    return _compared(ground, tried, control, "to an address outside")


def contained(make: Callable[[Ground, Markers], list[bytes]], ground: Ground) -> Outcome:
    """Send frames that must not leave the pods' bridge: the pod beside hears them all, the wire shows none."""
    tried, ears = ground.hidden(), ground.ears(f"pod/{OWN}/b")
    ground.pod_frames(*make(ground, tried))
    heard = ears.wait(tried.made)
    return _outcome(ground, tried, heard == len(tried.made), f"a pod beside has heard {heard}")


def priority_tags(ground: Ground) -> Outcome:
    """Send packets in frames with a tag of VLAN 0, which a node takes as its own."""
    tried, control = ground.hidden(), Markers()
    head = ground.mac(OWN, "cni0") + ground.mac("pod/node-1/a", "eth0")
    for shape, aim, mark in ((shapes.sources_to_pod, PEER, tried), (shapes.sources_to_pod, THIRD, control)):
        found = shape(ground, ground.aim(aim), mark)
        ground.pod_frames(*(head + b"\x81\0\0\0" + packets.TYPES[packet[0] >> 4] + packet for packet in found))
    seen = ground.wait_readable(control.made)
    return _outcome(
        ground, tried, seen == len(control.made), f"the same to a plain node: {seen} of {len(control.made)} readable"
    )


def socket_marks(ground: Ground) -> Outcome:
    """Set the socket's mark to all that the product uses, and to others: nothing of it decides."""
    layout, tried, control = MarkLayout(), ground.hidden(), Markers()
    kinds = [kind + slot for kind in (MarkKind.CONTROL, MarkKind.DECRYPTED) for slot in range(3)]
    marks = [0, 0xFFFFFFFF, *(kind << 4 << layout.shift for kind in (*kinds, MarkKind.ENCRYPT))]
    peer, third = ground.aim(PEER), ground.aim(THIRD)
    work = [
        (mark, target[f], made().decode())
        for aim, made in ((peer, tried), (third, control))
        for f in FAMILIES
        for target in (aim.pods, aim.nodes)
        for mark in marks
    ]
    ground.python("pod/node-1/a", _MARKED, json.dumps(work))
    seen = ground.wait_readable(control.made)
    return _outcome(
        ground, tried, seen == len(control.made), f"the same to a plain node: {seen} of {len(control.made)} readable"
    )


def large_segments(ground: Ground) -> Outcome:
    """Send TCP segments of several kilobytes that the node has to cut: every part of one is encrypted."""
    tried, control = ground.hidden(), Markers()
    own, head = ground.aim(OWN), ground.mac(OWN, "cni0") + ground.mac("pod/node-1/a", "eth0")
    work = []
    for node, mark in ((PEER, tried), (THIRD, control)):
        aim = ground.aim(node)
        for f in FAMILIES:
            for target in (aim.pods[f], aim.nodes[f]):
                packet = packets.ip(own.pods[f], target, packets.TCP, packets.TCP_HEAD + (mark() + b" ") * 250)
                work.append((f, (head + packets.TYPES[f] + packet).hex()))
    ground.python("pod/node-1/a", _SEGMENTS, stdin=json.dumps(work))
    seen = ground.wait_readable(control.made)
    return _outcome(
        ground, tried, seen == len(control.made), f"the same to a plain node: {seen} of {len(control.made)} readable"
    )


@contextmanager
def _obstacles(ground: Ground) -> Iterator[None]:
    """Have the peer refuse an address of its pods' prefix, and know a path to its pod b that is narrow."""
    narrow = {4: ground.lab.pods[f"pod/{PEER}/b"].ip4, 6: ground.lab.pods[f"pod/{PEER}/b"].ip6}
    lab = ground.lab
    try:
        for f in FAMILIES:
            lab.exec(PEER, ["ip", f"-{f}", "route", "replace", "prohibit", DEAD[f]])
            lab.exec(PEER, ["ip", f"-{f}", "route", "replace", narrow[f], "dev", "cni0", "mtu", "lock", str(NARROW[f])])
        lab.exec(PEER, ["sysctl", "-qw", "net.ipv4.icmp_ratelimit=0", "net.ipv6.icmp.ratelimit=0"])
        yield
    finally:
        for f in FAMILIES:
            lab.exec(PEER, ["ip", f"-{f}", "route", "del", "prohibit", DEAD[f]], check=False)
            lab.exec(
                PEER, ["ip", f"-{f}", "route", "del", narrow[f], "dev", "cni0", "mtu", "lock", str(NARROW[f])], check=False
            )


def provoked(ground: Ground) -> Outcome:
    """Provoke errors that quote the packet: every one comes back to the pod, and none is readable on its way."""
    own, peer, tried = ground.aim(OWN), ground.aim(PEER), ground.hidden()
    beside = ground.lab.pods[f"pod/{PEER}/b"]
    ears, found = ground.ears(f"pod/{OWN}/a"), []
    for f in FAMILIES:
        source, wide = own.pods[f], beside.ip4 if f == 4 else beside.ip6  # noqa: PLR2004 - the family
        found.append(packets.udp(source, DEAD[f], tried()))
        found.append(packets.udp(source, peer.pods[f], tried(), hops=2))
        found += [packets.udp(source, target, tried(), port=9) for target in (peer.pods[f], peer.nodes[f])]
        big = packets.datagram(source, wide, tried() + bytes(1300))
        if f == 4:  # noqa: PLR2004
            found.append(packets.ipv4(source, wide, packets.UDP, big, fragment=0x4000))
        else:
            found.append(packets.ipv6(source, wide, packets.UDP, big))
    with _obstacles(ground):
        ground.from_pod(*found)
        heard = ears.wait(tried.made)
    return _outcome(ground, tried, heard == len(tried.made), f"{heard} errors have come back to the pod")


def _of(text: str, shape: Shape, *, quick: bool = False) -> Attack[Ground]:
    return Attack(POD, text, partial(unreadable, shape), quick)


ATTACKS: Final = (
    _of("Sends to a peer's pod as an outside address, an unknown one, other nodes, their pods, its own node.",
        shapes.sources_to_pod),
    _of("Sends to a peer's node address as all of these sources.", shapes.sources_to_node),
    Attack(POD, "Sends to everybody as the peer's node and the peer's pod.", as_the_peer, quick=True),
    Attack(POD, "Speaks to a peer's pod as other nodes, their pods and unknown addresses, to be believed.", impersonate,
           quick=True),
    _of("Sends protocol 50 with the SPI of a real SA, a random one and 0, as itself and as its node.", shapes.protocol_50,
        quick=True),
    _of("Sends every protocol number to a peer's pod and node.", shapes.protocols),
    _of("Sends what looks like ESP in UDP with a real SPI.", shapes.esp_in_udp),
    _of("Puts a packet to a peer's pod into IP in IP, each family in each.", shapes.ip_in_ip),
    _of("Puts a packet to a peer's pod into three tunnels, one in another, to a plain node.", shapes.nested),
    _of("Puts a packet to a peer's pod into IP in IP to a plain node, cut within the inner header.", shapes.cut_tunnel),
    _of("Puts a packet to a peer's pod into GRE, with a key and without, as packet and as frame.", shapes.gre),
    _of("Puts a packet to a peer's pod into VXLAN and Geneve on their usual ports.", shapes.vxlan),
    _of("Uses IPv4 options, chains of IPv6 extension headers and an authentication header.", shapes.header_chains),
    _of("Sends first, later and tiny fragments of UDP, ICMP and protocol 50, as itself and as its node.", shapes.fragments,
        quick=True),
    Attack(POD, "Sends segments for its node to cut, larger than any link takes.", large_segments),
    Attack(POD, "Sets the socket's mark to every mark that wirecrypt uses, and to others.", socket_marks),
    Attack(POD, "Forges control datagrams to a peer, as itself and as its node.", unchanged_by_control),
    Attack(POD, "Provokes ICMP errors at a peer that quote its packet: no such pod, hops used up, closed port, too big.",
           provoked),
    _of("Makes ICMP errors up that quote a packet of its own.", shapes.quotes),
    _of("Sends neighbour discovery with hop limit 255, long and short, to a peer's node and pod.", shapes.neighbours),
    Attack(POD, "Sends to addresses in the cluster's ranges that nobody has.", unknown, quick=True),
    Attack(POD, "Sends frames to the cards of its node and of a peer, and to everybody.",
           partial(contained, shapes.link_frames)),
    Attack(POD, "Sends frames to these cards with VLAN tags.", partial(contained, shapes.tagged_frames)),
    Attack(POD, "Sends packets to a peer's pod in frames of VLAN 0, as outside, unknown, other nodes, its own node.",
           priority_tags),
    Attack(POD, "Sends to groups and to everybody on the link.", partial(contained, shapes.groups)),
    Attack(POD, "Claims by ARP and neighbour advertisement to be its node, a peer and a peer's pod.",
           partial(contained, shapes.resolution)),
)  # fmt: skip

_SEGMENTS = """
import json, socket, struct, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.setsockopt(263, 15, 1)  # SOL_PACKET, PACKET_VNET_HDR
s.bind(("eth0", 0))
for family, frame in json.load(sys.stdin):
    size = 34 if family == 4 else 54
    s.send(struct.pack("=BBHHHH", 1, 1 if family == 4 else 4, size + 20, 1000, size, 16) + bytes.fromhex(frame))
"""
_MARKED = """
import json, socket, struct, sys
for mark, target, text in json.loads(sys.argv[1]):
    with socket.socket(socket.AF_INET6 if ":" in target else socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, struct.pack("I", mark))
        s.sendto(text.encode(), (target, 21998))
"""
