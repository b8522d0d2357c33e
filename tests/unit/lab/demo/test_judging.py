"""The demo's judge: what it makes of captures that show a leak, no ESP, ESP one way alone, or a third node that fell silent."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from tests.unit.lab.wire.test_observer import ethernet, ipv4, udp
from wirecrypt.lab.demo.judging import Question, Side
from wirecrypt.lab.demo.judging import judge as ask
from wirecrypt.lab.demo.record import Record
from wirecrypt.lab.wire import observer

NODES = ("192.0.2.11", "192.0.2.12")
ONE, OTHER = Side((NODES[0], "fd00:2::11"), ("10.1.0.0/24",)), Side((NODES[1], "fd00:2::12"), ("10.2.0.0/24",))
HIDDEN, READABLE = [b"between-the-two"], [b"to-the-third", b"from-the-third"]
QUESTION = Question(100.0, 200.0, (ONE, OTHER), HIDDEN, READABLE)


def esp(way: int, spi: int) -> bytes:
    source, target = NODES[:: 1 if way else -1]
    return ethernet(ipv4(source, target, 50, struct.pack("!II", spi, 1) + bytes(40)))


def datagram(source: str, target: str, text: bytes) -> bytes:
    return ethernet(ipv4(source, target, 17, udp(1, 2, text)))


TO_THIRD = datagram("10.1.0.2", "10.3.0.2", READABLE[0])
FROM_THIRD = datagram("10.3.0.2", "10.2.0.2", READABLE[1])
LEAK = datagram("10.1.0.2", "10.2.0.2", HIDDEN[0])
GOOD = [(150.0, frame) for frame in (esp(1, 0x101), esp(1, 0x101), esp(0, 0x102), TO_THIRD, FROM_THIRD)]


def judged(folder: Path, frames: list[tuple[float, bytes]], question: Question = QUESTION) -> tuple[Record, list[bool]]:
    """Write *frames* as a capture, and return what is claimed of it."""
    data = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1)
    for time, frame in frames:
        data += struct.pack("<IIII", int(time), 0, len(frame), len(frame)) + frame
    (folder / "wire.pcap").write_bytes(data)
    record = Record(folder)
    ask(record, observer.read(folder / "wire.pcap"), question)
    return record, [claim.held for claim in record.claims]


def test_esp_both_ways_and_a_readable_third_node_hold(tmp_path: Path) -> None:
    """What was readable before *protected* and after *unlabelled* is nobody's fault."""
    record, held = judged(tmp_path, [(99.0, LEAK), *GOOD, (200.0, LEAK)])
    assert held == [True, True]
    assert record.claims[0].evidence == "0 cleartext packets, 0 markers, 3 ESP packets by 2 SAs"
    assert record.figures == {
        "wire_frames_judged": 5, "wire_esp_packets": 3, "wire_sas": 2, "wire_cleartext_packets": 0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("frames", "held"),
    [
        pytest.param([*GOOD, (150.0, LEAK)], [False, True], id="one packet in clear"),
        pytest.param([*GOOD, (100.0, LEAK)], [False, True], id="in the very first moment"),
        pytest.param(
            [*GOOD, (150.0, datagram("10.1.0.2", "10.2.0.2", b"?"))], [False, True], id="in clear, without the marker"
        ),
        pytest.param([*GOOD, (150.0, datagram(*NODES, HIDDEN[0]))], [False, True], id="the marker between other addresses"),
        pytest.param([GOOD[0], *GOOD[3:]], [False, True], id="ESP one way alone"),
        pytest.param(GOOD[3:], [False, True], id="no ESP at all"),
        pytest.param(GOOD[:4], [True, False], id="nothing from the third node"),
        pytest.param([*GOOD[:3], GOOD[4]], [True, False], id="nothing to the third node"),
        pytest.param([], [False, False], id="nothing"),
    ],
)
def test_what_is_not_shown_is_not_claimed(tmp_path: Path, frames: list[tuple[float, bytes]], held: list[bool]) -> None:
    """Each half of each claim can fail on its own."""
    assert judged(tmp_path, frames)[1] == held


def test_esp_of_other_nodes_proves_nothing(tmp_path: Path) -> None:
    """ESP from or to anybody else is not counted."""
    elsewhere = ethernet(ipv4(NODES[0], "192.0.2.13", 50, struct.pack("!II", 0x103, 1) + bytes(40)))
    record, held = judged(tmp_path, [(150.0, elsewhere), *GOOD[3:]])
    assert held == [False, True]
    assert record.figures["wire_esp_packets"] == 0


def test_without_a_third_flow_nothing_is_claimed_of_it(tmp_path: Path) -> None:
    """All of none is no evidence."""
    question = Question(100.0, 200.0, (ONE, OTHER), HIDDEN, [])
    assert judged(tmp_path, GOOD, question)[1] == [True, False]
