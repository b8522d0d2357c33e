"""Control datagrams of all pairs: which SA one came by decides whose key it must be under.

The MAC is checked before anything is parsed, and then what the datagram claims is compared with the mark that the receiving
SA set ◆R12: a pod's packets come out of the same SAs. Answers are never larger than requests; each peer has a token bucket, and
another one of the passes that its datagrams call for: one that teaches nothing new calls for none.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from wirecrypt import keys
from wirecrypt.agent.control.probe_timer import NEVER, ProbeBudget
from wirecrypt.agent.control.verify_probes import LiveProbes
from wirecrypt.agent.store.state import State
from wirecrypt.agent.view.pair_view import PairView
from wirecrypt.errors import DatagramError
from wirecrypt.model.link import Arrived
from wirecrypt.model.mark import MarkLayout
from wirecrypt.model.objects import NodePeer
from wirecrypt.model.pair import Pair
from wirecrypt.model.session import Generation
from wirecrypt.model.xfrm import Address
from wirecrypt.pairs import decide as pairs
from wirecrypt.pairs import generations
from wirecrypt.pairs.memory import PairMemory, Sent, Timing
from wirecrypt.pairs.probing import LOST_IN_ROW, Due, ProbeReason, schedule
from wirecrypt.ports import ControlChannel

NONCE_BYTES: Final = 16
BURST: Final = 64.0
REFILL: Final = 50.0  # datagrams a second and peer
CALLS: Final = 5.0  # passes a second and peer
_MOST_AT_ONCE: Final = 32


@dataclass(slots=True)
class Bucket:
    """Tokens of one peer: at most BURST, *refill* a second."""

    refill: float = REFILL
    tokens: float = BURST
    at: float = 0.0

    def take(self, now: float) -> bool:
        """Take a token; False when there is none."""
        self.tokens = min(BURST, self.tokens + (now - self.at) * self.refill)
        self.at = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


@dataclass(frozen=True, slots=True)
class Moments:
    """When a pair's next *probe* is due, and the next *fact* will have held for long enough, in monotonic seconds."""

    probe: float
    fact: float
    rests_on: tuple[PairView | None, PairMemory, Timing]

    def stand(self, view: PairView | None, memory: PairMemory, timing: Timing, now: float) -> bool:
        """Return whether nothing has changed that they rest on, and neither has come."""
        same = view is self.rests_on[0] and memory is self.rests_on[1]
        same = same and (timing is self.rests_on[2] or timing == self.rests_on[2])
        return same and now < min(self.probe, self.fact)


@dataclass(slots=True)
class PeerSession:
    """What is kept of one peer between passes; *owed*: it called for a pass too soon after others.

    *turn*: the last turn that was taken for a look at its path. *moments*: what was waited for after the last pass.
    """

    memory: PairMemory = field(default_factory=PairMemory)
    bucket: Bucket = field(default_factory=Bucket)
    calls: Bucket = field(default_factory=lambda: Bucket(CALLS))
    pair_view: PairView | None = None
    owed: bool = False
    turn: float = -NEVER
    moments: Moments | None = None


def session_of(kept: dict[str, PeerSession], peer: NodePeer) -> PeerSession:
    """Return what is *kept* of *peer*: nothing of one that had another nodeID, for that one left and this one joined."""
    found = kept.get(peer.node_uid)
    if found is None or (found.pair_view is not None and found.pair_view.pair.peer.node_id != peer.node_id):
        found = kept[peer.node_uid] = PeerSession()
    return found


class PeersByAddress:
    """The peers by the address that their datagrams come from, worked out anew where one of them has changed."""

    def __init__(self) -> None:
        self._seen: list[tuple[PeerSession, Pair]] = []
        self._senders: dict[Address, PeerSession] = {}

    def of(self, peer_sessions: Mapping[str, PeerSession]) -> Mapping[Address, PeerSession]:
        """Return those of *peer_sessions* of which a pass has looked at the pair."""
        seen = [(each, each.pair_view.pair) for each in peer_sessions.values() if each.pair_view is not None]
        same = len(seen) == len(self._seen) and all(
            one is before and pair is known for (one, pair), (before, known) in zip(seen, self._seen, strict=True)
        )
        if not same:
            self._seen, self._senders = seen, {pair.outer()[1]: each for each, pair in seen}
        return self._senders


class ControlProtocol:
    """Send probes that are due, take in what arrives."""

    def __init__(  # noqa: PLR0913 - what it speaks through, and what others count and ask
        self,
        channel: ControlChannel,
        state: State,
        marks: MarkLayout,
        timing: Timing,
        *,
        live: LiveProbes | None = None,
        refused: dict[str, int] | None = None,
        budget: ProbeBudget | None = None,
        senders: PeersByAddress | None = None,
    ) -> None:
        self._channel = channel
        self._state = state
        self._marks = marks
        self._timing = timing
        self._live = live if live is not None else LiveProbes()
        self.refused: dict[str, int] = {} if refused is None else refused
        self._budget = budget if budget is not None else ProbeBudget()
        self._senders = senders if senders is not None else PeersByAddress()
        self._by_address: Mapping[Address, PeerSession] | None = None

    def moments(self, peer_session: PeerSession, now: float) -> Moments:
        """Send the peer's due probes; return what is waited for, as at the last pass where nothing has changed since."""
        kept = peer_session.moments
        if kept is None or not kept.stand(peer_session.pair_view, peer_session.memory, self._timing, now):
            probe = self.send_due(peer_session, now)
            view, memory = peer_session.pair_view, peer_session.memory
            kept = peer_session.moments = Moments(probe, memory.due(now, self._timing), (view, memory, self._timing))
        return kept

    def send_due(self, peer_session: PeerSession, now: float) -> float:
        """Send the peer's due probes; return when the next is due."""
        pair_view = peer_session.pair_view
        if pair_view is None:
            return now + self._timing.steady
        wanted = schedule(pair_view.inputs, peer_session.memory, now, self._timing)
        ready = [due for due in wanted[:_MOST_AT_ONCE] if self._moment(peer_session, due, now) <= now]
        for due in ready:
            self._probe(peer_session, pair_view, due, now)
        wanted = schedule(pair_view.inputs, peer_session.memory, now, self._timing) if ready else wanted
        return min((self._moment(peer_session, due, now) for due in wanted), default=now + self._timing.steady)

    def _moment(self, peer_session: PeerSession, due: Due, now: float) -> float:
        """Return when a probe may be sent: one that only looks whether the path still works waits for its turn."""
        if due.need is ProbeReason.CHECK and due.at <= now and peer_session.turn < due.at:
            peer_session.turn = self._budget.turn(now)
        return max(due.at, peer_session.turn) if due.need is ProbeReason.CHECK else due.at

    def examine(self, peer_sessions: Iterable[PeerSession]) -> None:
        """Send the probes that a verification asked for: on every lane of the generation that traffic takes."""
        if not self._live.taken():
            return
        for peer_session in peer_sessions:
            if peer_session.pair_view is not None:
                self._examine(peer_session.pair_view)

    def _examine(self, pair_view: PairView) -> None:
        seen = pair_view.inputs.observed
        generation = seen.in_use if seen.in_use is not None else generations.channel(pair_view.inputs)
        installed = seen.installed.get(generation) if generation is not None else None
        if generation is None or installed is None:
            return
        for lane in range(installed.lanes):
            nonce = secrets.token_bytes(NONCE_BYTES)
            sent = self._say(pair_view, keys.DatagramKind.PROBE, (generation, lane), nonce)
            spi = generation.spi(pair_view.pair.own.node_id, lane)
            self._live.sent(pair_view.peer.node_uid, spi, (generation, lane), nonce, refused=not sent)

    def take_in(self, peer_sessions: Mapping[str, PeerSession], now: float) -> bool:
        """Handle all that has arrived; say whether anything was learnt that calls for a pass.

        Who sends from where stays as it is from one pass to the next, which has a protocol of its own.
        """
        if self._by_address is None:
            self._by_address = self._senders.of(peer_sessions)
        by_address = self._by_address
        learnt = False
        for arrived in self._channel.receive():
            learnt |= self._take(arrived, by_address, now)
        return learnt

    def _take(self, arrived: Arrived, by_address: Mapping[Address, PeerSession], now: float) -> bool:
        peer_session = by_address.get(arrived.src)
        if peer_session is None or peer_session.pair_view is None:
            return self._refuse("unknown sender")
        if not peer_session.bucket.take(now):
            return self._refuse("too many")
        found = self._via(arrived, peer_session.pair_view)
        entry = self._state.entry(peer_session.pair_view.peer.node_uid, found[0]) if found else None
        if found is None or entry is None:
            return self._refuse("not decrypted by a receiving SA of the pair")
        try:
            message = keys.open_(arrived.data, entry.control_peer)
        except DatagramError:
            return self._refuse("not authentic")
        if (message.generation, message.lane) != found:
            return self._refuse("claims another SA than it came by")
        before = peer_session.memory
        self._heard(peer_session, peer_session.pair_view, message, now)
        ended = before.most_lost >= LOST_IN_ROW > peer_session.memory.most_lost  # it is reported as failing
        calls = peer_session.owed or ended or peer_session.memory.taught(before)
        peer_session.owed = calls and not peer_session.calls.take(now)
        return calls and not peer_session.owed

    def _heard(self, peer_session: PeerSession, pair_view: PairView, message: keys.ControlMessage, now: float) -> None:
        via = (message.generation, message.lane)
        if message.kind is keys.DatagramKind.ANSWER:
            self._live.answered(pair_view.peer.node_uid, message.nonce, via)
            peer_session.memory = peer_session.memory.answer(message.nonce, via, message.announcement, now)
            return
        peer_session.memory = peer_session.memory.heard(message.announcement).probed(message.generation, now)
        self._answer(pair_view, message)

    def _answer(self, pair_view: PairView, message: keys.ControlMessage) -> None:
        """Answer over the sending SA of the same generation and lane, else over the current one."""
        inputs = pair_view.inputs
        same = inputs.observed.installed.get(message.generation)
        if same is not None and message.lane in same.tx and same.slot >= 0:
            self._say(pair_view, keys.DatagramKind.ANSWER, (message.generation, message.lane), message.nonce)
            return
        current = generations.channel(inputs)
        if current is not None:
            self._say(pair_view, keys.DatagramKind.ANSWER, (current, 0), message.nonce)

    def _probe(self, peer_session: PeerSession, pair_view: PairView, due: Due, now: float) -> None:
        nonce = secrets.token_bytes(NONCE_BYTES)
        said = pairs.announcement(pair_view.inputs)
        self._say(pair_view, keys.DatagramKind.PROBE, (due.generation, due.lane), nonce)
        probe = Sent(due.generation, due.lane, now, said)
        peer_session.memory = peer_session.memory.sent(nonce, probe, proving=due.need is ProbeReason.PROVE)

    def _say(self, pair_view: PairView, kind: keys.DatagramKind, via: tuple[Generation, int], nonce: bytes) -> bool:
        """Send one datagram; say whether it left."""
        generation, lane = via
        entry = self._state.entry(pair_view.peer.node_uid, generation)
        installed = pair_view.inputs.observed.installed.get(generation)
        if entry is None or installed is None or installed.slot < 0:
            return False
        said = pairs.announcement(pair_view.inputs)
        message = keys.ControlMessage(kind=kind, lane=lane, generation=generation, nonce=nonce, announcement=said)
        own, peer = pair_view.pair.outer()
        mark = self._marks.control(installed.slot, lane).value
        sent = self._channel.send(own, peer, mark, keys.seal(message, entry.control_own))
        return sent or self._refuse("not sent: the kernel refused it")

    def _via(self, arrived: Arrived, pair_view: PairView) -> tuple[Generation, int] | None:
        slot = self._marks.slot_of(arrived.mark)
        if slot is None:
            return None
        for generation, installed in pair_view.inputs.observed.installed.items():
            if installed.slot == slot[0] and slot[1] in installed.rx:
                return generation, slot[1]
        return None

    def _refuse(self, why: str) -> bool:
        self.refused[why] = self.refused.get(why, 0) + 1
        return False
