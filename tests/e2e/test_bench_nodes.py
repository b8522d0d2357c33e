"""The bench of `scripts/bench nodes` reads what agents take where they run."""

from __future__ import annotations

from tests.bench import nodes
from wirecrypt.lab.lab import Lab


def test_each_agent_of_a_lab_is_found(all_protected: Lab) -> None:
    """One a node, none of the other programs, with the processor time and the memory that it has taken."""
    found = nodes.agents(all_protected)
    assert len(found) == len(all_protected.nodes)
    assert all(seconds > 0 and 20 < memory < 400 for seconds, memory in found.values())
