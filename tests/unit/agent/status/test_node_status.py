"""What of a node's status is worth a write, and when."""

from __future__ import annotations

import math
from dataclasses import replace

from wirecrypt.agent.status.node_status import NodeReport, PeerReport, WriteLimiter, build
from wirecrypt.model.objects import NodeState

NODE = NodeReport(NodeState.ACTIVE, "boot", frozenset({1}), 1, 0, 100, (), (), cleaned=False)


def exempt(name: str, packets: int) -> PeerReport:
    """Return a protected peer with which node→node is in clear."""
    return PeerReport(
        name,
        protected=True,
        ready=True,
        failing="",
        joining=False,
        sending_epoch=1,
        accepting_epochs=frozenset({1}),
        exempt=True,
        exempt_packets=packets,
    )


def test_packets_in_clear_are_told_by_peer() -> None:
    """Those with most, most first; a sealed peer and one without any are left out."""
    peers = [exempt("a", 5), exempt("b", 9), exempt("c", 0), replace(exempt("d", 7), exempt=False)]
    assert build(NODE, peers).exempt_packets == (("b", 9), ("a", 5))
    many = [exempt(f"p{n:02}", n + 1) for n in range(40)]
    assert [packets for _, packets in build(NODE, many).exempt_packets] == list(range(40, 24, -1))


def test_a_counter_that_never_rests_is_written_now_and_then() -> None:
    """Every ten minutes, other numbers every minute, a transition at once; all with the newest counters."""
    limiter = WriteLimiter()
    first = build(NODE, [exempt("a", 1)])
    assert limiter.due(first, 0.0)
    limiter.written(first, 0.0)
    more = build(NODE, [exempt("a", 2)])
    assert [limiter.due(more, at) for at in (1.0, 61.0, 599.0, 600.0)] == [False, False, False, True]
    used = build(replace(NODE, headroom=99), [exempt("a", 2)])
    assert [limiter.due(used, at) for at in (1.0, 60.0)] == [False, True]
    failing = build(NODE, [replace(exempt("a", 2), failing="no answer")])
    assert limiter.due(failing, 1.0)


def test_transitions_are_written_at_once_but_four_times_in_four_seconds_at_most() -> None:
    """Among many peers there is one every moment; what is back as it was by then needs no write at all."""
    limiter = WriteLimiter()
    before, after = (build(replace(NODE, mtu=mtu), []) for mtu in (1400, 1500))
    for at in (9.0, 9.1, 9.2, 9.3):
        now = before if at in (9.0, 9.2) else after
        assert limiter.due(now, at)
        limiter.written(now, at)
    assert (limiter.due(before, 12.9), limiter.waits) == (False, 13.0)
    assert (limiter.due(after, 12.95), limiter.waits) == (False, math.inf)
    assert (limiter.due(before, 13.0), limiter.waits) == (True, math.inf)
    limiter.written(before, 13.0)
    assert (limiter.due(after, 13.05), limiter.waits) == (False, 13.1)
