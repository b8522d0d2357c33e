"""The bench of `scripts/bench throughput`: that each way carries streams and is compared, not how much."""

from __future__ import annotations

import json
from pathlib import Path

from tests.bench import throughput
from tests.bench.compared import WIREGUARD, ways
from tests.bench.throughput import Listener, rows
from wirecrypt.model.xfrm import Algorithm

TINY = {"lanes": [2], "rounds": 1, "seconds": 0.05, "pings": 5}


def test_every_way_carries_streams(tmp_path: Path) -> None:
    """In a guest with both nodes: nothing is lost, and the product is compared with IPsec by hand and with WireGuard."""
    throughput.main(tmp_path, [Algorithm.AES_256_GCM], TINY)
    found = json.loads((tmp_path / "throughput-aes-256-gcm.json").read_text())["rows"]
    assert [row["way"] for row in found] == [str(way) for way in ways(TINY["lanes"])]
    by_hand = [row["way"] for row in found if row["8 streams ÷ by hand"]]
    assert by_hand == [str(way) for way in ways(TINY["lanes"]) if way.name == "wirecrypt"]
    assert all(row[f"round trip ÷ {WIREGUARD}"] for row in found)


def test_ratios_are_those_within_a_round() -> None:
    """A machine that is busy in one round slows both down: the ratio stays."""
    listener = Listener(iter([0, 1, 0, 2, 0, 4, 0, 8]).__next__)
    for name, seconds in (
        ("wirecrypt, 1 SA", 1),
        ("ip xfrm by hand, 1 SA", 2),
        ("wirecrypt, 1 SA", 4),
        ("ip xfrm by hand, 1 SA", 8),
    ):
        listener.hear(b"o", _line(begin=name) + _line(end=name, streams=1, bytes=125_000_000, seconds=seconds))
        listener.hear(b"o", _line(way=name, times=[0.25, 0.5, 0.75]))
    product, by_hand = rows(listener.ways)
    assert product["1 stream, Mbit/s"] == "625 (250 to 1,000)"
    assert product["1 stream, CPU s a Gbit"] == "2.50 (1.00 to 4.00)"
    assert product["1 stream ÷ by hand"] == "2.00 (2.00 to 2.00)"
    assert (product["round trip, ms, p50"], product["p99"]) == ("0.500 (0.500 to 0.500)", "0.750 (0.750 to 0.750)")
    assert by_hand["1 stream ÷ by hand"] == product["1 stream ÷ WireGuard"] == ""


def _line(**what: object) -> bytes:
    return json.dumps(what).encode() + b"\n"
