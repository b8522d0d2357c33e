"""Who may send to the control port sends all it can: the agents go on hearing each other, and are not kept busy."""

from __future__ import annotations

import json
from functools import partial
from typing import Any, Final

from wirecrypt.lab.attack.ground import NOBODY, OWN, PEER, Ground, moved
from wirecrypt.lab.attack.host_attacks import FETCH_LOCAL, HOST, SOCKET
from wirecrypt.lab.attack.pod_attacks import POD, REFUSED
from wirecrypt.lab.attack.scoreboard import Attack, Outcome
from wirecrypt.lab.attack.shapes import CONTROL_PORT
from wirecrypt.lab.machine.machine import GUEST_PYTHON

MOST: Final = 5000  # datagrams: many times what a queue takes
SECONDS: Final = 3
TICKS: Final = 100  # a second, of processor time in /proc (USER_HZ)


def flood(ground: Ground, *, sender: str, target: str) -> Outcome:
    """Send all that *sender* can to the control port of *target* while the agents probe each other: they have their answers."""
    count = partial(ground.metric, target, REFUSED)
    before = count()
    rights = () if sender.startswith("pod/") else NOBODY
    script = [*rights, GUEST_PYTHON, "-SE", "-c", _FLOOD, str(CONTROL_PORT), *ground.aim(target).nodes.values()]
    process = ground.lab.spawn(sender, script)
    try:
        moved(count, before, MOST)
        begin = _spent(ground, target)
        answer = ground.python(OWN, FETCH_LOCAL, SOCKET, f"verify?seconds={SECONDS}").stdout
        end = _spent(ground, target)
    finally:
        process.stop()
    sent, answered = _probes(answer)
    refused, busy = moved(count, before, MOST), 100 * (end[1] - begin[1]) / (end[0] - begin[0])
    fell = f"{sent - answered} of {sent} probes had no answer" if answered < sent else ""
    evidence = f"{refused} refused, by {busy:.0f} % of a processor; {answered} of {sent} probes answered"
    return Outcome(refused >= MOST and sent > 0, evidence, fell)


def _probes(answer: str) -> tuple[int, int]:
    """Return how many probes of the peer an agent tells of, in an answer with its head, and how many were answered."""
    begin = answer.find("{")
    peers: list[dict[str, Any]] = json.loads(answer[begin:])["peers"] if begin >= 0 else []
    probes = [probe for peer in peers if peer["node"] == PEER for probe in peer["probes"]]
    return sum(probe["sent"] for probe in probes), sum(probe["answered"] for probe in probes)


def _spent(ground: Ground, node: str) -> tuple[float, float]:
    """Return the guest's time and the agent's processor time, in seconds (proc(5))."""
    pid = next(pod.process.pid for pod in ground.lab.kubelet.pods("wirecrypt-agent") if pod.node == node)
    up, stat = ground.lab.exec(node, ["cat", "/proc/uptime", f"/proc/{pid}/stat"]).stdout.splitlines()
    user, system = stat.rpartition(")")[2].split()[11:13]
    return float(up.split()[0]), (int(user) + int(system)) / TICKS


ATTACKS: Final = (
    Attack(POD, "Floods a peer's control port while the agents probe each other.",
           partial(flood, sender=f"pod/{OWN}/a", target=PEER), quick=True),
    Attack(HOST, "Floods its own node's control port while the agents probe each other.",
           partial(flood, sender=OWN, target=OWN), quick=True),
)  # fmt: skip

_FLOOD = """
import contextlib, socket, sys
port, targets = int(sys.argv[1]), sys.argv[2:]
sockets = [socket.socket(socket.AF_INET6 if ":" in to else socket.AF_INET, socket.SOCK_DGRAM) for to in targets]
while True:
    for each, to in zip(sockets, targets):
        with contextlib.suppress(OSError):
            each.sendto(bytes(256), (to, port))
"""
