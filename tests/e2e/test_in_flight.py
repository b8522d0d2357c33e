"""Packets that are long on their way: agents wait for them by what they measure, and lose none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e import product
from wirecrypt.lab import operations
from wirecrypt.lab.demo.traffic import LoadTotals
from wirecrypt.lab.lab import Lab

NEWEST_KERNEL = True  # the other one has no netem
PATHS = {
    "far, and reordering": "delay 100ms 60ms 25%",
    "a full queue": "rate 12mbit",
}
BURST = (  # 3 MB, two seconds of the queue at that rate
    "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM);"
    " [s.sendto(bytes(1300), ('{peer}', 9)) for _ in range(2300)]"
)


@pytest.mark.R1
@pytest.mark.C1
@pytest.mark.L1
@pytest.mark.parametrize("path", PATHS)
def test_no_packet_is_lost_however_long_it_is_on_its_way(exposed: Lab, tmp_path: Path, path: str) -> None:
    """Two nodes join, rotate and leave under load, over a path of 200 ms that reorders, and through a queue of seconds."""
    lab = exposed
    with _slowed(lab, PATHS[path]):
        product.under_load(lambda part: _moves(lab, tmp_path, part, queue=path == "a full queue"))
        product.expose(lab)


def _moves(lab: Lab, folder: Path, part: float, *, queue: bool) -> None:
    """Let two nodes join, rotate and leave, each under load: nothing is lost."""
    product.expose(lab)
    for name, move in (("join", _join), ("rotate", _rotate), ("leave", _leave)):
        with product.load(lab, folder, name, part / 4) as load:
            product.wait_clock(lab, 1)
            if queue:
                _fill(lab)
            move(lab)
            product.wait_clock(lab, 3)  # longer than the path: what was sent last arrives
            totals: LoadTotals = load.stop()
        assert totals.complete, (name, totals.text)


def _join(lab: Lab) -> None:
    operations.label(lab, *product.PAIR)
    operations.wait_protected(lab, product.PAIR, product.SECONDS)


def _rotate(lab: Lab) -> None:
    before = operations.xfrm_errors(lab)
    operations.wirecrypt(lab, "rotate", "--wait", "--reason", "test")
    assert operations.differences(before, operations.xfrm_errors(lab)) == {}


def _leave(lab: Lab) -> None:
    operations.unlabel(lab, *product.PAIR)
    operations.wait_removed(lab, product.PAIR, product.SECONDS)


def _fill(lab: Lab) -> None:
    """Send more at once than the path takes, both ways, so that all that comes after waits for it."""
    for node, other in (product.PAIR, product.PAIR[::-1]):
        peer = lab.nodes[other].addresses.wire4.ip
        lab.exec(node, ["python3", "-c", BURST.format(peer=peer)])


@contextmanager
def _slowed(lab: Lab, how: str) -> Iterator[None]:
    """Have what leaves the two nodes by their uplinks take this way; nothing is dropped by it."""
    try:
        for node in product.PAIR:
            lab.exec(node, ["tc", "qdisc", "replace", "dev", "upl", "root", "netem", "limit", "100000", *how.split()])
        yield
    finally:
        for node in product.PAIR:
            lab.exec(node, ["sh", "-c", "tc qdisc del dev upl root || true"])
