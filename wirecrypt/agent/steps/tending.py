"""Between two passes: the probes that are due, and a look at what a node has once, whatever the number of its peers.

A pass looks at every pair, so its cost grows with them. While all rests, what changes is told (by the API server's watches, by
the kernel's notifications, by datagrams), and a pass that compares everything makes up for what nobody told: the more peers,
the rarer it comes, so that it takes about one percent of a processor's time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from wirecrypt.agent.components import Components
from wirecrypt.agent.control.probe_timer import ProbeTimer
from wirecrypt.agent.control.protocol import ControlProtocol, PeerSession
from wirecrypt.agent.steps.guarding import GuardUpkeep
from wirecrypt.agent.view.pass_state import PassState
from wirecrypt.model.objects import NodeState
from wirecrypt.pairs.memory import Timing
from wirecrypt.pairs.probing import failing
from wirecrypt.settings import Settings

RESYNC: Final = 5.0  # seconds until the kernel is compared again when nothing was heard of
LONGEST: Final = 120.0  # seconds until that at most, however many peers there are
PER_PEER: Final = 0.07  # seconds until that for each peer: a hundred times what a pass takes for it
NEVER: Final = float("inf")


def at_rest(pass_state: PassState) -> bool:
    """Return whether every peer is shown, decided about and protected, and nothing went wrong."""
    open_ends = pass_state.vanished, pass_state.succeeded, pass_state.undecided, pass_state.failed, pass_state.trouble
    if any(open_ends) or any(pass_state.failing.values()) or pass_state.own.state is not NodeState.ACTIVE:
        return False
    return all(view.peer.state is NodeState.ACTIVE and view.protected for view in pass_state.pair_views.values())


def oldest(peers: int) -> float:
    """Return for how many seconds what was read of the kernel stands when nobody tells of a change."""
    return min(LONGEST, max(RESYNC, PER_PEER * peers))


def resync(pass_state: PassState, read_at: float, *, rests: bool) -> float:
    """Return until when nothing need be looked at when nothing is heard of; *read_at*: when the kernel was read."""
    return read_at + oldest(len(pass_state.pair_views)) if rests else pass_state.now + RESYNC


class Tending:
    """What the loop does between two passes; *due*: when, in monotonic seconds."""

    def __init__(self, components: Components, guard: GuardUpkeep) -> None:
        self._components, self._guard = components, guard
        self._settings, self._times = Settings(), Timing()
        self.forget()

    def forget(self) -> None:
        """Have nothing to do: no peer is decided about."""
        self._timer, self._look = ProbeTimer(), NEVER
        self._pass_state: PassState | None = None

    @property
    def due(self) -> float:
        """Return when something is due."""
        return min(self._timer.due, self._look)

    def after(self, pass_state: PassState, settings: Settings, times: Timing, moments: Mapping[str, float]) -> None:
        """Begin anew after a pass; *moments*: when the next probes are due, by node UID."""
        self._pass_state, self._settings, self._times = pass_state, settings, times
        self._timer, self._look = ProbeTimer(moments), pass_state.now + RESYNC

    def tend(self, protocol: ControlProtocol, peer_sessions: Mapping[str, PeerSession], now: float) -> bool:
        """Do what is due; say whether it calls for a pass: a path that does not answer, a guard that is not there."""
        pass_state, called = self._pass_state, False
        if pass_state is None:
            return False

        def probe(uid: str) -> float:
            nonlocal called
            peer_session = peer_sessions[uid]  # of the last pass, which ended well: so it is there
            view, memory = peer_session.pair_view, peer_session.memory
            why = failing(view.inputs, memory, now, self._times) if view is not None else ""  # the next probe is not lost yet
            called = called or why != pass_state.failing.get(uid, "")
            return protocol.send_due(peer_session, now)

        self._timer.run(now, probe)
        if called:  # what ends a path may be a change that nobody told of
            self._components.datapath.forget()
        return self._looked(pass_state, now) or called

    def _looked(self, pass_state: PassState, now: float) -> bool:
        if now < self._look:
            return False
        self._look = now + RESYNC
        trouble = self._guard.trouble
        self._guard.ensure(pass_state.own, self._settings, pass_state.marks, now)
        self._components.guard_attachment.log_drops()
        return self._guard.trouble != trouble or self._components.api.api_addresses() != pass_state.connected
