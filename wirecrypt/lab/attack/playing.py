"""Play attacks on a ground, one after another, and keep the score.

After each the IPsec of both victims is looked at with the kernel's own tool: an attack that changed an SA, a key or a policy
has fallen, whatever it says itself. An attack that breaks is an error, and the others go on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Final

from wirecrypt.errors import WirecryptError
from wirecrypt.lab import operations
from wirecrypt.lab.attack import flood_attacks, host_attacks, kubelet_attacks, node_attacks, pod_attacks, wire_attacks
from wirecrypt.lab.attack.ground import OWN, PEER, THIRD, Ground, Sas
from wirecrypt.lab.attack.scoreboard import FELL, Attack, Outcome, Score, Scoreboard, judge
from wirecrypt.lab.lab import Lab
from wirecrypt.lab.waiting import until
from wirecrypt.lab.wire.capture import Capture
from wirecrypt.model.spi import MAX_LANES

# With node-3 plain, and with node-3 enabled as well:
PLAIN: Final[tuple[Attack[Ground], ...]] = (
    *pod_attacks.ATTACKS, *flood_attacks.ATTACKS, *host_attacks.ATTACKS, *wire_attacks.ATTACKS
)  # fmt: skip
ENABLED: Final[tuple[Attack[Ground], ...]] = (*node_attacks.ATTACKS, *kubelet_attacks.ATTACKS)
QUIET: Final = "not tcp port 26443"  # what is left out of the recording: the API server's TLS
SETTLED = 60.0  # seconds until a pair has one generation
Scored = Callable[[Score], None]


def play(ground: Ground, attacks: Iterable[Attack[Ground]], scored: Scored = lambda _: None) -> Scoreboard:
    """Play *attacks* on nodes that are at rest and return their scores; *scored* hears of each as soon as it is known."""
    board, before = Scoreboard(), settle(ground)
    for attack in attacks:
        outcome, before = _played(ground, attack, before)
        board.scores.append(judge(attack, outcome))
        scored(board.scores[-1])
    if late := ground.late():
        board.scores.append(Score("any", "Waits.", FELL, f"{len(late)} packets have become readable after their attacks"))
    return board


def _played(ground: Ground, attack: Attack[Ground], before: dict[str, Sas]) -> tuple[Outcome, dict[str, Sas]]:
    try:
        outcome = attack.play(ground)
    except (WirecryptError, ValueError) as error:  # ValueError: an answer that is no JSON
        outcome = Outcome(happened=False, evidence=f"it broke: {error}")
    after = _sas(ground)
    changed = [node for node, sas in after.items() if sas != before[node]]
    if changed:
        parts = (outcome.fell, f"SAs or policies have changed on {', '.join(changed)}")
        outcome = replace(outcome, fell="; ".join(part for part in parts if part))
    return outcome, after


def _sas(ground: Ground) -> dict[str, Sas]:
    return {node: ground.sas(node) for node in (OWN, PEER)}


def settle(ground: Ground) -> dict[str, Sas]:
    """Wait until the victims have one generation for each peer, and return their IPsec."""
    last: dict[str, Sas] = {}

    def at_rest() -> bool:
        nonlocal last
        found, last = last, _sas(ground)
        return found == last and all(_once(sas) for sas in last.values())

    until(at_rest, what="one generation each", seconds=SETTLED, every=0.2)
    return last


def _once(sas: Sas) -> bool:
    generations = {(source, target, spi // MAX_LANES) for source, target, spi in sas.keys}
    return bool(generations) and len(generations) == len({ends[:2] for ends in generations})


def session(lab: Lab, capture: Path, say: Callable[[str], None], scored: Scored) -> Scoreboard:
    """Make the ground in a fresh lab of three nodes, play everything, and return the scores."""
    say("the manifests, by the overlay overlays/example; then a controller and an agent on every node")
    operations.deploy(lab, drain=3)
    say(f"label {OWN} and {PEER}; {THIRD} takes no part yet")
    board = Scoreboard()
    for nodes, attacks in (((OWN, PEER), PLAIN), ((OWN, PEER, THIRD), ENABLED)):
        operations.label(lab, *nodes)
        operations.wait_protected(lab, nodes)
        say(f"{', '.join(nodes)} are protected from each other: {len(attacks)} attacks")
        board.scores += _on_ground(lab, capture.with_suffix(f".{len(nodes)}.pcap"), attacks, scored)
    return board


def _on_ground(lab: Lab, recording: Path, attacks: Iterable[Attack[Ground]], scored: Scored) -> list[Score]:
    with Capture.start(lab, recording, QUIET) as capture:
        ground = Ground(lab, capture)
        try:
            return play(ground, attacks, scored).scores
        finally:
            ground.close()
