"""Packets that a hostile pod might try, each shape towards a node and its pods in both families, every packet with its marker.

The same shape is sent to a node that encrypts and to one that does not: there it must be readable, or the try says nothing.
The frames at the end are for the bridge of the node's pods, which they must not leave.
"""

from __future__ import annotations

import secrets
import struct
from collections.abc import Callable
from ipaddress import ip_address

from wirecrypt.lab.attack import packets
from wirecrypt.lab.attack.ground import FAMILIES, OWN, PEER, THIRD, Aim, Ground, Markers
from wirecrypt.lab.attack.packets import ESP, MORE, UDP
from wirecrypt.lab.wire.observer import EXTENSIONS

Shape = Callable[[Ground, Aim, Markers], list[bytes]]
ESP_IN_UDP, CONTROL_PORT = 4500, 14500
VXLAN_PORTS, GENEVE_PORT = (4789, 8472), 6081


def sources_to_pod(ground: Ground, aim: Aim, mark: Markers) -> list[bytes]:
    """UDP to the pod from every foreign source."""
    return [packets.udp(source, aim.pods[f], mark()) for f in FAMILIES for source in ground.foreign(f)]


def sources_to_node(ground: Ground, aim: Aim, mark: Markers) -> list[bytes]:
    """UDP to the node's own address from every foreign source."""
    return [packets.udp(source, aim.nodes[f], mark()) for f in FAMILIES for source in ground.foreign(f)]


def protocol_50(ground: Ground, aim: Aim, mark: Markers) -> list[bytes]:
    """Protocol 50 with the SPIs of both real SAs, a random one and 0, as the pod and as its node, to pod and node."""
    own = ground.aim(OWN)
    spis = [ground.spi(OWN, PEER), ground.spi(PEER, OWN), secrets.randbits(32), 0]
    return [
        packets.ip(source, target, ESP, packets.esp(spi, mark(), number=1 << 20))
        for f in FAMILIES
        for source in (own.pods[f], own.nodes[f])
        for target in (aim.pods[f], aim.nodes[f])
        for spi in spis
    ]


def esp_in_udp(ground: Ground, aim: Aim, mark: Markers) -> list[bytes]:
    """Datagrams of port 4500 that begin with the SPI of a real SA."""
    own, spi = ground.aim(OWN), ground.spi(OWN, PEER)
    return [
        packets.ip(source, target, UDP, packets.datagram(source, target, packets.esp(spi, mark()), port=ESP_IN_UDP))
        for f in FAMILIES
        for source in (own.pods[f], own.nodes[f])
        for target in (aim.pods[f], aim.nodes[f])
    ]


def control_port(ground: Ground, aim: Aim, mark: Markers) -> list[bytes]:
    """Datagrams to the port of the control protocol, as the pod and as its node; 256 bytes, as real ones have."""
    own = ground.aim(OWN)
    return [
        packets.udp(source, aim.nodes[f], mark().ljust(256, b"\0"), port=CONTROL_PORT)
        for f in FAMILIES
        for source in (own.pods[f], own.nodes[f])
    ]


def protocols(ground: Ground, aim: Aim, mark: Markers) -> list[bytes]:
    """Send every protocol number, to pod and node; in IPv6 not those of headers that routers would have to understand."""
    own = ground.aim(OWN)
    return [
        packets.ip(own.pods[f], target, proto, b"\0\7\0\7\0\x40\0\0" + mark())
        for f in FAMILIES
        for target in (aim.pods[f], aim.nodes[f])
        for proto in range(256)
        if f == 4 or proto not in EXTENSIONS  # noqa: PLR2004 - the family
    ]


def _inner(ground: Ground, aim: Aim, mark: Markers, family: int) -> bytes:
    return packets.udp(ground.aim(OWN).pods[family], aim.pods[family], mark())


def _outer(ground: Ground, aim: Aim) -> list[tuple[str, str]]:
    """Return ends of tunnels: from the pod to the aim's pod, and to a node that does not encrypt."""
    own, plain = ground.aim(OWN), ground.aim(THIRD)
    return [(own.pods[f], target) for f in FAMILIES for target in (aim.pods[f], plain.nodes[f])]


def ip_in_ip(ground: Ground, aim: Aim, mark: Markers) -> list[bytes]:
    """Each family in each family."""
    protocols = {4: packets.IPIP, 6: packets.IPV6}
    return [
        packets.ip(source, target, protocols[f], _inner(ground, aim, mark, f))
        for source, target in _outer(ground, aim)
        for f in FAMILIES
    ]


def nested(ground: Ground, aim: Aim, mark: Markers) -> list[bytes]:
    """Put a packet to the aim's pod into three IP-in-IP tunnels to a node that does not encrypt."""
    own, plain, found = ground.aim(OWN), ground.aim(THIRD), []
    for f in FAMILIES:
        packet = _inner(ground, aim, mark, f)
        for _ in range(3):
            proto = packets.IPIP if packet[0] >> 4 == 4 else packets.IPV6  # noqa: PLR2004 - the family
            packet = packets.ip(own.pods[f], plain.nodes[f], proto, packet)
        found.append(packet)
    return found


def cut_tunnel(ground: Ground, aim: Aim, mark: Markers) -> list[bytes]:
    """Put a packet to the aim's pod into IP in IP to a node that does not encrypt, cut into two within the inner header."""
    own, plain, found = ground.aim(OWN), ground.aim(THIRD), []
    for f in FAMILIES:
        proto = packets.IPIP if f == 4 else packets.IPV6  # noqa: PLR2004 - the family
        four, six = (_inner(ground, aim, mark, f) for _ in FAMILIES)
        found += [
            packets.ipv4(own.pods[4], plain.nodes[4], proto, part, fragment=where)
            for part, where in ((four[:8], MORE), (four[8:], 1))
        ]
        found += [
            packets.ipv6(
                own.pods[6], plain.nodes[6], packets.FRAGMENT, packets.fragment6(proto, offset, more=not offset) + part
            )
            for part, offset in ((six[:8], 0), (six[8:], 8))
        ]
    return found


def gre(ground: Ground, aim: Aim, mark: Markers) -> list[bytes]:
    """GRE around a packet and around a frame, with a key and without."""
    found = []
    for source, target in _outer(ground, aim):
        for f in FAMILIES:
            kind = 0x0800 if f == 4 else 0x86DD  # noqa: PLR2004 - the family
            bodies = (packets.gre(_inner(ground, aim, mark, f), kind, key=key) for key in (False, True))
            framed = packets.gre(packets.ether(_inner(ground, aim, mark, f)), 0x6558)
            found += [packets.ip(source, target, packets.GRE, body) for body in (*bodies, framed)]
    return found


def vxlan(ground: Ground, aim: Aim, mark: Markers) -> list[bytes]:
    """VXLAN on both usual ports and Geneve, around a frame to the aim's pod."""
    found = []
    for source, target in _outer(ground, aim):
        for f in FAMILIES:
            frames = {port: packets.vxlan(packets.ether(_inner(ground, aim, mark, f))) for port in VXLAN_PORTS}
            frames[GENEVE_PORT] = packets.geneve(packets.ether(_inner(ground, aim, mark, f)), 0x6558)
            found += [packets.udp(source, target, body, port=port) for port, body in frames.items()]
    return found


def header_chains(ground: Ground, aim: Aim, mark: Markers) -> list[bytes]:
    """IPv4 options, IPv6 extension headers and an authentication header, before a datagram to pod and node."""
    own, found = ground.aim(OWN), []
    for target in (aim.pods[4], aim.nodes[4]):
        for options in (b"\1" * 4, b"\1\1\1\0", b"\7\7\4\0\0\0\0\0", b"\x44\x08\x05\0\0\0\0\0", b"\x94\4\0\0"):
            body = packets.datagram(own.pods[4], target, mark())
            found.append(packets.ipv4(own.pods[4], target, UDP, body, options=options))
        body = packets.authentication(UDP) + packets.datagram(own.pods[4], target, mark())
        found.append(packets.ipv4(own.pods[4], target, packets.AH, body))
    for target in (aim.pods[6], aim.nodes[6]):
        for chain in ((0,), (60,), (44,), (43,), (51,), (0, 60, 43, 44, 60), (60,) * 12):
            first, body = _chain(chain, packets.datagram(own.pods[6], target, mark()))
            found.append(packets.ipv6(own.pods[6], target, first, body))
    return found


def _chain(kinds: tuple[int, ...], body: bytes) -> tuple[int, bytes]:
    """Return the first protocol and the bytes of a chain of extension headers before UDP."""
    proto = UDP
    for kind in reversed(kinds):
        if kind == packets.FRAGMENT:
            body = packets.fragment6(proto, 0, more=False) + body
        elif kind == packets.AH:
            body = packets.authentication(proto) + body
        elif kind == packets.ROUTING:
            body = bytes([proto, 0, 4, 0]) + bytes(4) + body
        else:
            body = packets.extension(proto) + body
        proto = kind
    return proto, body


def fragments(ground: Ground, aim: Aim, mark: Markers) -> list[bytes]:
    """First, later and tiny fragments of UDP, ICMP and protocol 50, as the pod and as its node."""
    own, found = ground.aim(OWN), []
    for f in FAMILIES:
        protocols = (UDP, ESP, packets.ICMP if f == 4 else packets.ICMPV6)  # noqa: PLR2004 - the family
        ends = [(s, t) for s in (own.pods[f], own.nodes[f]) for t in (aim.pods[f], aim.nodes[f])]
        found += [each for s, t in ends for proto in protocols for each in _fragments(s, t, proto, mark)]
    return found


def _fragments(source: str, target: str, proto: int, mark: Markers) -> list[bytes]:
    tiny = b"\0\7\0\7\0\x40\0\0"  # a header of UDP and no more: no room for a marker
    first, later = tiny + mark() + b"\0", mark() + b"\0"
    if packets.version(target) == 4:  # noqa: PLR2004 - the family
        parts = ((first, MORE), (later, 4), (tiny, MORE), (later, 1))
        return [packets.ipv4(source, target, proto, body, fragment=where) for body, where in parts]
    heads = ((first, 0, True), (later, 32, False), (tiny, 0, True), (later, 8, False))
    return [
        packets.ipv6(source, target, packets.FRAGMENT, packets.fragment6(proto, offset, more=more) + body)
        for body, offset, more in heads
    ]


def neighbours(ground: Ground, aim: Aim, mark: Markers) -> list[bytes]:
    """Messages of neighbour discovery with hop limit 255, long and short, to the node and its pod, as the pod and its node."""
    own, found = ground.aim(OWN), []
    for source in (own.pods[6], own.nodes[6]):
        for target in (aim.nodes[6], aim.pods[6]):
            for kind in (133, 134, 135, 136, 137):
                for body in (mark(), mark() + bytes(400)):
                    message = bytes([kind, 0, 0, 0]) + bytes(4) + ip_address(target).packed + body
                    found.append(packets.icmp6(source, target, message, hops=255))
    return found


def quotes(ground: Ground, aim: Aim, mark: Markers) -> list[bytes]:
    """ICMP errors that the pod makes up, to the node and to its pod."""
    own, found = ground.aim(OWN), []
    for source in (own.pods[4], own.nodes[4]):
        for target in (aim.nodes[4], aim.pods[4]):
            for kind, code in ((3, 3), (3, 4), (5, 1), (11, 0), (12, 0)):
                quoted = packets.udp(target, source, mark())
                found.append(packets.icmp4(source, target, struct.pack("!BBHI", kind, code, 0, 576) + quoted))
    for target in (aim.nodes[6], aim.pods[6]):
        for kind in (1, 2, 3, 4):
            quoted = packets.udp(target, own.pods[6], mark())
            found.append(packets.icmp6(own.pods[6], target, struct.pack("!BBHI", kind, 0, 0, 1280) + quoted))
    return found


def link_frames(ground: Ground, mark: Markers) -> list[bytes]:
    """Frames to the cards of node and peer and to everybody, around packets to the peer's pod and node."""
    own, peer, of = ground.aim(OWN), ground.aim(PEER), ground.mac("pod/node-1/a", "eth0")
    cards = [ground.mac(OWN, "upl"), ground.mac(PEER, "upl"), b"\xff" * 6]
    targets = [(own.pods[f], target) for f in FAMILIES for target in (peer.pods[f], peer.nodes[f])]
    return [packets.ether(packets.udp(s, t, mark()), to=card, of=of) for card in cards for s, t in targets]


def tagged_frames(ground: Ground, mark: Markers) -> list[bytes]:
    """Make such frames with VLAN tags of both kinds, one and two."""
    plain = link_frames(ground, mark)
    tags = [b"\x81\0\0\5", b"\x88\xa8\0\5\x81\0\0\7", b"\x81\0\0\0"]
    return [frame[:12] + tags[i % 3] + frame[12:] for i, frame in enumerate(plain)]


def groups(ground: Ground, mark: Markers) -> list[bytes]:
    """Datagrams to groups and to everybody on the link."""
    own, of = ground.aim(OWN), ground.mac("pod/node-1/a", "eth0")
    targets = ("224.0.0.251", "239.1.2.3", "255.255.255.255", "ff02::fb", "ff05::2", "ff0e::101")
    return [packets.ether(packets.udp(own.pods[packets.version(t)], t, mark()), to=b"\xff" * 6, of=of) for t in targets]


def resolution(ground: Ground, mark: Markers) -> list[bytes]:
    """ARP answers and neighbour advertisements that say that this pod is its node, the peer, the peer's pod."""
    own, peer, of = ground.aim(OWN), ground.aim(PEER), ground.mac("pod/node-1/a", "eth0")
    found = []
    for four in (own.nodes[4], peer.nodes[4], peer.pods[4]):
        body = b"\0\1\x08\0\6\4\0\2" + of + bytes(map(int, four.split("."))) + b"\xff" * 6 + bytes(4)
        found.append(b"\xff" * 6 + of + b"\x08\6" + body + mark())
    for six in (own.nodes[6], peer.nodes[6], peer.pods[6]):
        body = bytes([136, 0, 0, 0, 0x20, 0, 0, 0]) + ip_address(six).packed + mark()
        found.append(packets.ether(packets.icmp6(six, "ff02::1", body, hops=255), to=b"\xff" * 6, of=of))
    return found
