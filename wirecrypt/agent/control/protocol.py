"""Control datagrams of all pairs: which SA one came by decides whose key it must be under.

The MAC is checked before anything is parsed, and then what the datagram claims is compared with the mark that the receiving
SA set: a pod's packets come out of the same SAs. Answers are never larger than requests; each peer has a token bucket.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from wirecrypt import keys
from wirecrypt.agent.control.verify_probes import LiveProbes
from wirecrypt.agent.store.state import State
from wirecrypt.agent.view.pair_view import Survey
from wirecrypt.errors import DatagramError
from wirecrypt.model.mark import MarkLayout
from wirecrypt.model.session import Generation
from wirecrypt.model.xfrm import Address
from wirecrypt.pairs import decide as pairs
from wirecrypt.pairs.memory import Memory, Sent, Timing
from wirecrypt.pairs.probing import Due, Need, schedule
from wirecrypt.ports import Arrived, ControlChannel

NONCE_BYTES: Final = 16
BURST: Final = 64.0
REFILL: Final = 50.0  # datagrams a second and peer
_MOST_AT_ONCE: Final = 32


@dataclass(slots=True)
class Bucket:
    """Tokens of one peer: at most BURST, REFILL a second."""

    tokens: float = BURST
    at: float = 0.0

    def take(self, now: float) -> bool:
        """Take a token; False when there is none."""
        self.tokens = min(BURST, self.tokens + (now - self.at) * REFILL)
        self.at = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


@dataclass(slots=True)
class Talk:
    """What is kept of one peer between passes."""

    memory: Memory = field(default_factory=Memory)
    bucket: Bucket = field(default_factory=Bucket)
    survey: Survey | None = None


class Conversation:
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
    ) -> None:
        self._channel = channel
        self._state = state
        self._marks = marks
        self._timing = timing
        self._live = live if live is not None else LiveProbes()
        self.refused: dict[str, int] = {} if refused is None else refused

    def send_due(self, talk: Talk, now: float) -> float:
        """Send the peer's due probes; return when the next is due."""
        survey = talk.survey
        if survey is None:
            return now + self._timing.steady
        for due in schedule(survey.view, talk.memory, now, self._timing)[:_MOST_AT_ONCE]:
            if due.at > now:
                return due.at
            self._probe(talk, survey, due, now)
        later = schedule(survey.view, talk.memory, now, self._timing)
        return later[0].at if later else now + self._timing.steady

    def examine(self, talks: Iterable[Talk]) -> None:
        """Send the probes that a verification asked for: on every lane of the generation that traffic takes."""
        if not self._live.taken():
            return
        for talk in talks:
            if talk.survey is not None:
                self._examine(talk.survey)

    def _examine(self, survey: Survey) -> None:
        seen = survey.view.observed
        generation = seen.in_use if seen.in_use is not None else pairs.channel(survey.view)
        installed = seen.installed.get(generation) if generation is not None else None
        if generation is None or installed is None:
            return
        for lane in range(installed.lanes):
            nonce = secrets.token_bytes(NONCE_BYTES)
            sent = self._say(survey, keys.Kind.PROBE, (generation, lane), nonce)
            spi = generation.spi(survey.pair.own.node_id, lane)
            self._live.sent(survey.peer.node_uid, spi, (generation, lane), nonce, refused=not sent)

    def take_in(self, talks: Mapping[str, Talk], now: float) -> bool:
        """Handle all that has arrived; say whether anything was learnt."""
        by_address = {t.survey.pair.outer()[1]: t for t in talks.values() if t.survey is not None}
        learnt = False
        for arrived in self._channel.receive():
            learnt |= self._take(arrived, by_address, now)
        return learnt

    def _take(self, arrived: Arrived, by_address: Mapping[Address, Talk], now: float) -> bool:
        talk = by_address.get(arrived.src)
        if talk is None or talk.survey is None:
            return self._refuse("unknown sender")
        if not talk.bucket.take(now):
            return self._refuse("too many")
        found = self._over(arrived, talk.survey)
        entry = self._state.entry(talk.survey.peer.node_uid, found[0]) if found else None
        if found is None or entry is None:
            return self._refuse("not decrypted by a receiving SA of the pair")
        try:
            message = keys.open_(arrived.data, entry.control_peer)
        except DatagramError:
            return self._refuse("not authentic")
        if (message.generation, message.lane) != found:
            return self._refuse("claims another SA than it came by")
        self._heard(talk, talk.survey, message, now)
        return True

    def _heard(self, talk: Talk, survey: Survey, message: keys.ControlMessage, now: float) -> None:
        over = (message.generation, message.lane)
        if message.kind is keys.Kind.ANSWER:
            self._live.answered(survey.peer.node_uid, message.nonce, over)
            talk.memory = talk.memory.answer(message.nonce, over, message.word, now)
            return
        talk.memory = talk.memory.heard(message.word).probed(message.generation)
        self._answer(survey, message)

    def _answer(self, survey: Survey, message: keys.ControlMessage) -> None:
        """Answer over the sending SA of the same generation and lane, else over the current one."""
        view = survey.view
        same = view.observed.installed.get(message.generation)
        if same is not None and message.lane in same.tx and same.slot >= 0:
            self._say(survey, keys.Kind.ANSWER, (message.generation, message.lane), message.nonce)
            return
        current = pairs.channel(view)
        if current is not None:
            self._say(survey, keys.Kind.ANSWER, (current, 0), message.nonce)

    def _probe(self, talk: Talk, survey: Survey, due: Due, now: float) -> None:
        nonce = secrets.token_bytes(NONCE_BYTES)
        said = pairs.word(survey.view)
        self._say(survey, keys.Kind.PROBE, (due.generation, due.lane), nonce)
        probe = Sent(due.generation, due.lane, now, said)
        talk.memory = talk.memory.sent(nonce, probe, proving=due.need is Need.PROVE)

    def _say(self, survey: Survey, kind: keys.Kind, over: tuple[Generation, int], nonce: bytes) -> bool:
        """Send one datagram; say whether it left."""
        generation, lane = over
        entry = self._state.entry(survey.peer.node_uid, generation)
        installed = survey.view.observed.installed.get(generation)
        if entry is None or installed is None or installed.slot < 0:
            return False
        said = pairs.word(survey.view)
        message = keys.ControlMessage(kind=kind, lane=lane, generation=generation, nonce=nonce, word=said)
        own, peer = survey.pair.outer()
        mark = self._marks.control(installed.slot, lane).value
        sent = self._channel.send(own, peer, mark, keys.seal(message, entry.control_own))
        return sent or self._refuse("not sent: the kernel refused it")

    def _over(self, arrived: Arrived, survey: Survey) -> tuple[Generation, int] | None:
        slot = self._marks.slot_of(arrived.mark)
        if slot is None:
            return None
        for generation, installed in survey.view.observed.installed.items():
            if installed.slot == slot[0] and slot[1] in installed.rx:
                return generation, slot[1]
        return None

    def _refuse(self, why: str) -> bool:
        self.refused[why] = self.refused.get(why, 0) + 1
        return False
