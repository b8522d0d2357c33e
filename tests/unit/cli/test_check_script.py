"""scripts/check-encryption.sh judges captures right, whatever the prefix; refuses bad arguments; is clean shell."""

import shutil
import struct
import subprocess
import sys
from ipaddress import ip_address, ip_network
from pathlib import Path
from random import Random

import pytest

SCRIPT = str(Path(__file__).resolve().parents[3] / "scripts/check-encryption.sh")
ETHERTYPES = {4: 0x0800, 6: 0x86DD}
NODES = {4: ("192.0.2.1", "192.0.2.2"), 6: ("2001:db8::1", "2001:db8::2")}
TCP, UDP, ESP = 6, 17, 50
BASES = {4: int(ip_address("64.0.0.0")), 6: int(ip_address("2000::"))}


def ip(src: str, dst: str, proto: int, body: bytes) -> bytes:
    """Return an IP packet (RFC 791, RFC 8200)."""
    source, target = ip_address(src), ip_address(dst)
    if source.version == 4:
        head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(body), 0, 0, 64, proto, 0)
    else:
        head = struct.pack(">IHBB", 6 << 28, len(body), proto, 64)
    return head + source.packed + target.packed + body


def udp(sport: int, dport: int, body: bytes) -> bytes:
    return struct.pack(">4H", sport, dport, 8 + len(body), 0) + body


def ether(packet: bytes) -> bytes:
    return bytes(12) + struct.pack(">H", ETHERTYPES[packet[0] >> 4]) + packet


def vxlan(packet: bytes, *, outer: int = 4, port: int = 8472) -> bytes:
    """Return a packet inside VXLAN (RFC 7348) between two nodes."""
    return ip(*NODES[outer], UDP, udp(50000, port, bytes([8, 0, 0, 0, 0, 0, 1, 0]) + ether(packet)))


def datagram(src: str, dst: str) -> bytes:
    return ip(src, dst, UDP, udp(1111, 2222, b"payload"))


def esp(spi: int, *, outer: int = 4) -> bytes:
    return ip(*NODES[outer], ESP, struct.pack(">II", spi, 1) + bytes(40))


def judge(folder: Path, packets: list[bytes], local: list[str], remote: list[str]) -> tuple[int, str]:
    """Write a capture of *packets* and let the script judge it."""
    frames = [ether(p) for p in packets]
    file = folder / "wire.pcap"
    records = [struct.pack("<4I", 0, 0, len(f), len(f)) + f for f in frames]
    file.write_bytes(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1) + b"".join(records))
    return run("-f", str(file), *(w for p in local for w in ("-l", p)), *(w for p in remote for w in ("-r", p)))


def run(*arguments: str) -> tuple[int, str]:
    done = subprocess.run(["sh", SCRIPT, *arguments], capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout + done.stderr


def test_esp_alone_is_encrypted(tmp_path: Path) -> None:
    """ESP over either family, and ESP in UDP, is listed by SPI and ends in 0."""
    in_udp = ip(*NODES[4], UDP, udp(4500, 4500, struct.pack(">II", 0x303, 1) + bytes(40)))
    status, said = judge(tmp_path, [esp(0x101), esp(0x101), esp(0x202, outer=6), in_udp], ["10.1.0.0/16"], ["10.2.0.0/16"])
    assert status == 0, said
    assert "192.0.2.1 > 192.0.2.2  spi 0x00000101  2 packets" in said
    assert "2001:db8::1 > 2001:db8::2  spi 0x00000202  1 packet\n" in said
    assert "spi 0x00000303  1 packet\n" in said


@pytest.mark.parametrize("way", ["10.1.0.5 10.2.0.6", "10.2.0.6 10.1.0.5"])
def test_a_capture_is_judged_both_ways(tmp_path: Path, way: str) -> None:
    """On the wire there is no leaving and arriving: cleartext counts in both directions."""
    src, dst = way.split()
    status, said = judge(tmp_path, [esp(1), datagram(src, dst)], ["10.1.0.0/16"], ["10.2.0.0/16"])
    assert status == 1, said
    assert f"UDP {src}:1111 > {dst}:2222  1 packet" in said


@pytest.mark.parametrize("outer", [4, 6])
@pytest.mark.parametrize("port", [4789, 8472])
@pytest.mark.parametrize("pods", ["10.1.0.5 10.2.0.6", "fd00:1::5 fd00:2::6"])
def test_vxlan_is_looked_into(tmp_path: Path, outer: int, port: int, pods: str) -> None:
    """Both families inside VXLAN over both families and on both ports."""
    src, dst = pods.split()
    packets = [vxlan(datagram(src, dst), outer=outer, port=port)]
    status, said = judge(tmp_path, packets, ["10.1.0.0/16", "fd00:1::/32"], ["10.2.0.0/16", "fd00:2::/32"])
    assert status == 1, said
    assert "(inside VXLAN)  1 packet" in said


def test_other_traffic_is_nobodys_business(tmp_path: Path) -> None:
    """Pods of one node among themselves, node to node, pods to the world, and VXLAN of others: 2, nothing seen."""
    packets = [
        datagram("10.1.0.5", "10.1.0.6"),
        datagram(*NODES[4]),
        datagram("10.1.0.5", "198.51.100.1"),
        vxlan(datagram("10.1.0.5", "10.3.0.6")),
    ]
    status, said = judge(tmp_path, packets, ["10.1.0.0/16"], ["10.2.0.0/16"])
    assert (status, "proves nothing" in said) == (2, True), said


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("tunnelled", [False, True])
def test_prefixes_of_every_length(tmp_path: Path, version: int, *, tunnelled: bool) -> None:
    """For prefixes of all lengths, exactly the packets that `ipaddress` puts between them are counted."""
    chance = Random(7)
    bits = 32 if version == 4 else 128
    for length in (*range(9, bits, 3 if version == 4 else 13), bits - 1, bits):
        step = 1 << (bits - length)
        local, remote = (ip_network((BASES[version] + 4 * step * n, length)) for n in (1, 2))
        near = [a for net in (local, remote) for a in _around(net, chance)]
        pairs = [(str(chance.choice(near)), str(chance.choice(near))) for _ in range(40)]
        crossing = [(local, remote), (remote, local)]
        wanted = sum(any(ip_address(s) in x and ip_address(d) in y for x, y in crossing) for s, d in pairs)
        packets = [vxlan(datagram(*p)) if tunnelled else datagram(*p) for p in pairs]
        status, said = judge(tmp_path, packets, [str(local)], [str(remote)])
        assert f"CLEARTEXT: {wanted} packet" in said if wanted else status == 2, (length, said)


def _around(net: object, chance: Random) -> list[object]:
    """Return addresses at and just beyond both ends of a prefix, and one inside."""
    assert hasattr(net, "network_address")
    first, last = int(net.network_address), int(net.broadcast_address)
    kind = type(net.network_address)
    return [kind(n) for n in (first - 1, first, chance.randint(first, last), last, last + 1)]


def test_protocols_are_told(tmp_path: Path) -> None:
    """TCP, ICMP and fragments are named for what they are."""
    syn = struct.pack(">HHIIBBHHH", 4444, 80, 1, 0, 0x50, 2, 100, 0, 0)
    echo = bytes([8, 0, 0, 0, 0, 1, 0, 1])
    packets = [ip("10.1.0.5", "10.2.0.6", TCP, syn), ip("10.1.0.5", "10.2.0.6", 1, echo)]
    _, said = judge(tmp_path, packets, ["10.1.0.0/16"], ["10.2.0.0/16"])
    assert "TCP 10.1.0.5:4444 > 10.2.0.6:80" in said
    assert "ICMP 10.1.0.5 > 10.2.0.6" in said


@pytest.mark.parametrize(
    "arguments",
    [
        "-l 10.1.0.0/33 -r 10.2.0.0/16",
        "-l 10.1.0/24 -r 10.2.0.0/16",
        "-l 10.1.0.256 -r 10.2.0.0/16",
        "-l fd00::1::/64 -r fd00:2::/64",
        "-l fd00:1:2:3:4:5:6:7:8 -r fd00:2::/64",
        "-l 10.1.0.0/16 -r fd00:2::/64",
        "-l 0.0.0.0/0 -r 10.2.0.0/16",
        "-l * -r 10.2.0.0/16",
        "-s 0 -i lo -l 10.1.0.0/16 -r 10.2.0.0/16",
        "-s soon -i lo -l 10.1.0.0/16 -r 10.2.0.0/16",
        "-i a/b -l 10.1.0.0/16 -r 10.2.0.0/16",
        "-x",
        "word",
    ],
)
def test_bad_arguments_are_refused(tmp_path: Path, arguments: str) -> None:
    """What is no prefix, interface or number of seconds is usage, 64, and never reaches tcpdump's filter."""
    file = tmp_path / "empty.pcap"
    file.write_bytes(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
    capture = [] if "-i" in arguments else ["-f", str(file)]
    status, said = run(*capture, *arguments.split())
    assert (status, "usage:" in said) == (64, True), said


def test_an_unreadable_capture_is_no_answer(tmp_path: Path) -> None:
    """A file that is no capture ends in 69, never in one of the three answers."""
    file = tmp_path / "no.pcap"
    file.write_bytes(b"no capture at all, whatever its name")
    status, said = run("-f", str(file), "-l", "10.1.0.0/16", "-r", "10.2.0.0/16")
    assert status == 69, said


def test_shellcheck_is_clean() -> None:
    """The script is POSIX shell without a finding."""
    program = shutil.which("shellcheck") or str(Path(sys.executable).with_name("shellcheck"))
    done = subprocess.run([program, "--shell=sh", SCRIPT], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("", 0)
