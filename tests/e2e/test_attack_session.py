"""The short form of `scripts/attack`: what is quick of it, on the lab of the suite; each attack must hold, with its control."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from wirecrypt.lab.attack import playing
from wirecrypt.lab.attack.ground import Ground
from wirecrypt.lab.attack.scoreboard import HELD, Attack
from wirecrypt.lab.lab import Lab
from wirecrypt.lab.wire.capture import Capture

NEWEST_KERNEL = True  # what is judged here does not depend on the kernel; `scripts/attack --kernel` plays on any
QUIET = True


@contextmanager
def ground(lab: Lab, folder: Path) -> Iterator[Ground]:
    """Give attackers a recording of their own."""
    with Capture.start(lab, folder / "attacks.pcap", playing.QUIET) as capture:
        made = Ground(lab, capture)
        try:
            yield made
        finally:
            made.close()


def lost(lab: Lab, folder: Path, attacks: Iterable[Attack[Ground]]) -> list[str]:
    """Play what is quick of *attacks*; return what did not hold, with the evidence."""
    with ground(lab, folder) as made:
        board = playing.play(made, [attack for attack in attacks if attack.quick])
    assert board.scores
    return [f"{score.result}: {score.attack} {score.evidence}" for score in board.scores if score.result != HELD]


@pytest.mark.parametrize("text", ["Sends to a peer's pod as", "Sends cleartext as a peer's pod to a pod."])
def test_the_same_attacks_fall_where_nothing_is_encrypted(
    exposed: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """So they can: what they send is readable or delivered, and that is told."""
    monkeypatch.setattr("wirecrypt.lab.attack.ground.PATIENCE", 6.0)  # no counter of a refusal moves
    attack = next(attack for attack in playing.PLAIN if attack.text.startswith(text))
    with ground(exposed, tmp_path) as made:
        assert attack.play(made).fell


@pytest.mark.L1
@pytest.mark.L3
@pytest.mark.L6
@pytest.mark.L7
@pytest.mark.L9
def test_a_hostile_pod_a_process_and_the_wire_get_nothing(protected: Lab, tmp_path: Path) -> None:
    """Nothing of theirs is readable or believed, and no SA or policy changes."""
    assert lost(protected, tmp_path, playing.PLAIN) == []


@pytest.mark.L7
@pytest.mark.K3
def test_a_third_node_and_a_kubelet_get_nothing(all_protected: Lab, tmp_path: Path) -> None:
    """They speak for nobody else, and write and read nothing that is not theirs."""
    assert lost(all_protected, tmp_path, playing.ENABLED) == []
