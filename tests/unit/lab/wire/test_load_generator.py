"""The load programs count right: over the loopback link, with losses, doubles and wrong order made up."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from wirecrypt.lab.addresses import NodeAddresses, node_number
from wirecrypt.lab.wire import load_generator


def test_arrivals_tell_lost_doubled_and_reordered_apart() -> None:
    arrivals = load_generator.Arrivals()
    for number in (0, 1, 4, 3, 4, 7):
        arrivals.add(number, 0.0, 1.0 + number)
    assert (arrivals.received, arrivals.duplicates, arrivals.reordered) == (5, 1, 1)
    assert arrivals.missing() == [(2, 1), (5, 2)]


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("kind", ["udp", "tcp"])
def test_what_is_sent_arrives_and_both_ends_say_so(kind: str, address: str) -> None:
    document = {
        "address": address,
        "port": 0,
        "rate": 200 if kind == "udp" else 100_000,
        "size": 200,
        "seconds": 30,
        "marker": "mark",
    }
    with socket.create_server((address, 0), family=socket.AF_INET6 if ":" in address else socket.AF_INET) as free:
        document["port"] = free.getsockname()[1]
    receiver = program({**document, "do": f"{kind}-receive"})
    assert receiver.stdout
    assert json.loads(receiver.stdout.readline()) == {"ready": True}
    sender = program({**document, "do": f"{kind}-send"})
    assert json.loads(receiver.stdout.readline()) == {"flowing": True}
    sender.terminate()
    sent = json.loads(sender.communicate(timeout=60)[0])
    receiver.terminate()
    received = json.loads(receiver.communicate(timeout=60)[0])
    assert sent["sent"] == received["received"] > 0


def program(document: dict[str, Any]) -> subprocess.Popen[str]:
    argv = [sys.executable, "-SE", str(Path(load_generator.__file__)), json.dumps(document)]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)


def test_addresses_follow_from_the_number() -> None:
    node = NodeAddresses(3)
    assert (node.name, str(node.wire4), str(node.wire6)) == ("node-3", "192.0.2.13/24", "fd00:2::13/64")
    assert (str(node.pods4), str(node.pods6)) == ("10.3.0.0/24", "fd00:13::/64")
    assert node_number("node-3") == 3
    with pytest.raises(ValueError, match="no lab node"):
        node_number("pod-3")
