"""An agent around the pure core: the same passes as the real one, over a kernel, a network and an API in memory.

What may be lost is kept apart: `Tmpfs` (sessions with their private keys, ledger with control keys), `disk` (pairs to block
at boot), and the volatile rest. A pass decides on a snapshot; its actions are then done one at a time, so that others act,
and crashes happen, between any two.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from tests.unit.pairs.simulated_state import (
    BLOCK_ALL,
    LAYOUT,
    MARKS,
    TIMING,
    Datagram,
    Derivation,
    Entry,
    SimulatedPair,
    Snapshot,
    Tmpfs,
    blocking,
)
from wirecrypt.model.guard import GuardEntry
from wirecrypt.model.objects import NodePeer, NodeState
from wirecrypt.model.pair import Pair
from wirecrypt.model.session import Generation, Session
from wirecrypt.model.xfrm import Algorithm, Network, Sa, SaLimits
from wirecrypt.pairs import decide as pairs
from wirecrypt.pairs import generations, probing, sessions
from wirecrypt.pairs.inputs import Observed, OfferedSession, PairInputs
from wirecrypt.pairs.memory import PairMemory, Sent
from wirecrypt.plan import diff, guard_entries, observe, policies, states
from wirecrypt.plan.snapshot import sas_of

if TYPE_CHECKING:
    from tests.unit.pairs.simulator import SimulatedCluster


class Agent:
    """One node's agent."""

    def __init__(self, cluster: SimulatedCluster, name: str, lanes: int) -> None:
        self.cluster = cluster
        self.name = name
        self.lanes = lanes
        self.boot = 1
        self.own_uid = ""
        self.tmpfs = Tmpfs(self.boot_id)
        self.disk: set[str] = set()
        self.known: dict[str, NodePeer] = {}  # kept on disk as well: pairs that the kernel may have
        self.inputs = Snapshot({}, ())
        self.memory: dict[str, PairMemory] = {}
        self.pending: list[diff.Action] = []
        self.pair_views: dict[str, SimulatedPair] = {}
        self.wanted_renewal = False
        self.in_pass = False
        self.desired_pairs: list[diff.DesiredPair] = []
        self.entries: Mapping[Network, GuardEntry] = {}
        self.disturbed = False

    @property
    def boot_id(self) -> str:
        """Return the ID of the current boot."""
        return f"{self.name}-boot-{self.boot}"

    # ---- a pass: decide, then one action at a time, then the rest

    def begin(self) -> None:
        """Look at everything and decide; the actions wait in *pending*, their ledger entries are written."""
        own = self.cluster.api.get(self.name)
        self.in_pass = False
        if own is None or own.node_uid != self.own_uid:
            self._forget("" if own is None else own.node_uid)
        if own is None:
            return
        own = replace(own, state=self._own_state(own))
        if own.boot_id == self.boot_id and not self.tmpfs.boot_session:
            self.tmpfs.boot_session = own.boot_session
        self.tmpfs.last = max(self.tmpfs.last, own.last_session)
        self.pair_views = {p.node_uid: self._turn(own, p, gone=gone) for p, gone in self._partners()}
        if self._make_sessions(own):
            return
        self.desired_pairs = [self._desired(t) for t in self.pair_views.values()]
        self.entries = guard_entries.wanted(own.end, [(t.pair, t.decision) for t in self.pair_views.values()], [], [])
        self.pending = diff.plan(self.desired_pairs, self.entries, self.cluster.kernels[self.name].snapshot())
        steps = [a.step for a in self.pending]
        assert steps == sorted(steps), "a plan that is out of order"
        self.in_pass, self.disturbed = True, False
        for pair_view in self.pair_views.values():
            if pair_view.decision.mark:
                self.disk.add(pair_view.peer.node_uid)

    def _forget(self, uid: str) -> None:
        """Start as another node: the one before has left and has nothing in the kernel."""
        self.own_uid, self.tmpfs = uid, Tmpfs(self.boot_id)
        self.known, self.disk, self.memory, self.pair_views = {}, set(), {}, {}

    def step(self) -> None:
        """Do the next action of the pass, or end it when there is none."""
        if not self.in_pass:
            return
        if self.pending:
            self.cluster.kernels[self.name].apply(self.pending.pop(0))
            return
        self.in_pass = False
        kernel = self.cluster.kernels[self.name].snapshot()
        if not self.disturbed:
            assert not diff.plan(self.desired_pairs, self.entries, kernel), "a second plan writes again"
        self._publish()
        self._tidy()
        for pair_view in self.pair_views.values():
            self._send_due(pair_view)

    def run(self) -> bool:
        """Do a whole pass; say whether it changed the kernel."""
        self.begin()
        changed = bool(self.pending)
        while self.in_pass:
            self.step()
        return changed

    # ---- messages

    def receive(self, datagram: Datagram) -> None:
        """Take a datagram that came out of a receiving SA; the MAC and the claimed SA are checked."""
        kernel = self.cluster.kernels[self.name]
        sa = kernel.sas.get(datagram.via)
        if sa is None or sa.key.fingerprint != datagram.key or sa.set_mark is None or not sa.receives:
            self.cluster.unreceived += 1
            return
        kernel.touched.add(sa.name)
        sender = self.cluster.ids[datagram.sender]
        pair_view = next((t for t in self.pair_views.values() if t.peer.node_uid == sender.node_uid), None)
        if pair_view is None:
            return
        slot = MARKS.slot_of(sa.set_mark.value)
        installed = pair_view.inputs.observed.installed.get(datagram.generation)
        entry = self.tmpfs.ledger.get(pair_view.peer.node_uid, {}).get(datagram.generation)
        if installed is None or (installed.slot, datagram.lane) != slot or entry is None or entry.control != datagram.mac:
            return
        self._heard(pair_view, datagram)

    def _heard(self, pair_view: SimulatedPair, datagram: Datagram) -> None:
        uid, now = pair_view.peer.node_uid, self.cluster.now
        memory = self.memory.get(uid, PairMemory())
        via = (datagram.generation, datagram.lane)
        if not datagram.probe:
            self.memory[uid] = memory.answer(datagram.nonce, via, datagram.announcement, now)
            return
        self.memory[uid] = memory.heard(datagram.announcement).probed(datagram.generation, now)
        same = pair_view.inputs.observed.installed.get(datagram.generation)
        if same is not None and datagram.lane in same.tx and same.slot >= 0:
            self._say(pair_view, *via, datagram.nonce, probe=False)
        elif (current := generations.channel(pair_view.inputs)) is not None:
            self._say(pair_view, current, 0, datagram.nonce, probe=False)

    def _send_due(self, pair_view: SimulatedPair) -> None:
        uid, now = pair_view.peer.node_uid, self.cluster.now
        if uid not in self.memory:
            return
        for due in probing.schedule(pair_view.inputs, self.memory[uid], now, TIMING):
            if due.at > now:
                break
            nonce = self.cluster.nonce()
            self._say(pair_view, due.generation, due.lane, nonce, probe=True)
            sent = Sent(due.generation, due.lane, now, pairs.announcement(pair_view.inputs))
            self.memory[uid] = self.memory[uid].sent(nonce, sent, proving=due.need is probing.ProbeReason.PROVE)

    def _say(self, pair_view: SimulatedPair, generation: Generation, lane: int, nonce: bytes, *, probe: bool) -> None:
        """Send over exactly the SA that the control policy of the generation's slot and lane leads to."""
        installed = pair_view.inputs.observed.installed.get(generation)
        entry = self.tmpfs.ledger.get(pair_view.peer.node_uid, {}).get(generation)
        if installed is None or installed.slot < 0 or entry is None:
            return
        announcement = pairs.announcement(pair_view.inputs)
        assert len(announcement.sending) <= 3, "a word that no datagram can hold"
        mark = MARKS.control(installed.slot, lane).value
        via, key = self.cluster.control_route(self.name, pair_view.pair, mark)
        if via is not None:
            name = pair_view.peer.name
            self.cluster.post(Datagram(self.name, name, probe, generation, lane, nonce, announcement, via, key, entry.control))

    # ---- parts of a pass

    def _own_state(self, own: NodePeer) -> NodeState:
        seen = self.inputs.peers.get(self.name)
        return seen.state if seen is not None and seen.uid == own.uid else NodeState.JOINING

    def _partners(self) -> list[tuple[NodePeer, bool]]:
        """Return each peer with whether it is gone; a NodePeer that came anew waits until the old one's traces are gone."""
        shown = {p.node_uid: p for p in self.inputs.peers.values() if p.name != self.name}
        for uid, peer in shown.items():
            names = {p.name for u, p in self.known.items() if u != uid}
            if peer.name not in names:
                self.known[uid] = peer
        found = []
        for uid, peer in sorted(self.known.items(), key=lambda i: i[1].name):
            truth = self.cluster.api.get(peer.name)
            gone = uid not in shown and (truth is None or truth.node_uid != uid)
            found.append((peer if uid in shown else replace(peer, sessions=()), gone))
        return found

    def _turn(self, own: NodePeer, peer: NodePeer, *, gone: bool) -> SimulatedPair:
        pair = Pair(own.end, peer.end)
        entries = self.tmpfs.ledger.get(peer.node_uid, {})
        numbers = {n: s.epoch.number for n, s in self.tmpfs.made.items()} | {s.number: s.epoch.number for s in own.sessions}
        known = observe.KnownGenerations(
            ledger={g: e.lanes for g, e in entries.items()},
            own_last=self.tmpfs.last,
            peer_last=max([peer.last_session, *(g.number(lo=not pair.own_is_lo) for g in entries)]),
            epochs=numbers,
        )
        inputs = PairInputs(
            own_is_lo=pair.own_is_lo,
            own_id=own.node_id,
            peer_id=peer.node_id,
            own_state=own.state,
            peer_state=peer.state,
            own_sessions=self.own_sessions(own),
            peer_sessions=peer.sessions,
            peer_boot_session=peer.boot_session,
            observed=self._observe(pair, known, entries),
            ledger=frozenset(entries),
            marked=peer.node_uid in self.disk,
            peer_gone=gone,
            peer_down=peer.name in self.cluster.down,
        )
        memory = probing.observe(self.memory.get(peer.node_uid, PairMemory()), inputs, self.cluster.now, TIMING)
        self.memory[peer.node_uid] = memory
        return SimulatedPair(peer, pair, known, inputs, pairs.decide(inputs, memory, self.cluster.now, TIMING))

    def _observe(self, pair: Pair, known: observe.KnownGenerations, entries: Mapping[Generation, Entry]) -> Observed:
        def right(generation: Generation, lane: int, sa: Sa) -> bool:
            entry = entries.get(generation)
            return entry is None or entry.prints.get((not sa.receives, lane)) == sa.key.fingerprint

        return observe.observe(pair, self.cluster.kernels[self.name].snapshot(), known, MARKS, right)

    def own_sessions(self, own: NodePeer) -> tuple[OfferedSession, ...]:
        """Return the own sessions as the core sees them."""
        listed = {(s.number, s.public) for s in own.sessions}
        newest = {s.epoch.number: s.number for s in own.sessions}
        found = []
        for number, session in sorted(self.tmpfs.made.items()):
            overtaken = number < newest.get(session.epoch.number, 0)
            out = (number, session.public) in listed or (overtaken and self.was_out(number))
            found.append(OfferedSession(session, out, number in self.tmpfs.alive))
        found += [OfferedSession(s, published=True, alive=False) for s in own.sessions if s.number not in self.tmpfs.made]
        return tuple(sorted(found, key=lambda o: o.session.number))

    def was_out(self, number: int) -> bool:
        """Return whether this boot's session of that number was ever published."""
        session = self.tmpfs.made[number]
        return (self.name, number, session.public) in self.cluster.ever_published

    def _make_sessions(self, own: NodePeer) -> bool:
        wanted = sessions.wanted_epochs(self.inputs.rotations)
        decisions = [t.decision for t in self.pair_views.values()]
        reasons = {self.cluster.epochs[d.target.epoch]: d.renew for d in decisions if d.renew and d.target}
        if self.wanted_renewal:
            self.wanted_renewal = False
            reasons |= dict.fromkeys(wanted[-1:], "asked for")
        held = [self.cluster.epochs[number] for number in self.cluster.keys_of(self.name)]
        needs = sessions.needs(self.own_sessions(own), wanted, held, reasons)
        for need in needs:
            number = sessions.next_number(self.tmpfs.last, self._residues())
            public = self.cluster.public(self.name)
            session = Session(number, need.epoch, public, self.lanes, Algorithm.AES_256_GCM)
            self.tmpfs.made[number] = session
            self.tmpfs.alive.add(number)
            self.tmpfs.last = number
            self.tmpfs.boot_session = self.tmpfs.boot_session or number
            self.cluster.note_session(self.name, number)
        return bool(needs)

    def _residues(self) -> set[int]:
        kernel = self.cluster.kernels[self.name].snapshot()
        return {
            spi.residue_lo if t.pair.own_is_lo else spi.residue_hi
            for t in self.pair_views.values()
            for _, spi in sas_of(t.pair, kernel)
        }

    def _desired(self, pair_view: SimulatedPair) -> diff.DesiredPair:
        decision, installed = pair_view.decision, pair_view.inputs.observed.installed
        lanes = {g: i.lanes for g, i in installed.items()}
        slots = {g: i.slot for g, i in installed.items() if i.slot >= 0}
        sas: tuple[Sa, ...] = ()
        known = pair_view.known
        if decision.install is not None:
            slot = states.free_slot(set(slots.values()))
            assert slot is not None, "nothing may be installed without a free slot"
            sas = self._states(pair_view, decision.install, slot)
            lanes[decision.install], slots[decision.install] = len(sas) // 2, slot
            known = replace(known, ledger={**known.ledger, decision.install: len(sas) // 2})
        wanted = policies.wanted(pair_view.pair, decision, policies.Senders(lanes, slots), LAYOUT)
        return diff.DesiredPair(pair_view.pair, decision, known, sas, tuple(wanted))

    def _states(self, pair_view: SimulatedPair, generation: Generation, slot: int) -> tuple[Sa, ...]:
        own = self.tmpfs.made[pair_view.inputs.own_number(generation)]
        number = pair_view.inputs.peer_number(generation)
        theirs = next(s for s in pair_view.peer.sessions if s.number == number)
        lanes = generations.lanes_of(generation, pair_view.inputs)
        secret = Derivation(pair_view.pair, generation, own.public, theirs.public)
        sas = tuple(
            states.states(
                pair_view.pair,
                generation,
                lanes=lanes,
                slot=slot,
                algorithm=Algorithm.AES_256_GCM,
                keys=secret.traffic,
                marks=MARKS,
                limits=SaLimits(),
            )
        )
        prints = {(not sa.receives, sa.spi & 0xF): sa.key.fingerprint for sa in sas}
        self.write_ledger(pair_view.peer.node_uid, generation, Entry(lanes, secret.control(), prints))
        return sas

    def write_ledger(self, uid: str, generation: Generation, entry: Entry) -> None:
        """List a generation, before its first SA."""
        self.tmpfs.ledger.setdefault(uid, {})[generation] = entry

    def _publish(self) -> None:
        own = self.cluster.api.get(self.name)
        if own is None:
            return
        mine = self.own_sessions(own)
        if not self.may_publish(mine):
            return
        listed = sessions.to_publish(mine)
        known = {s.number: s for s in own.sessions}
        if any(o.session.number <= own.last_session and known.get(o.session.number) != o.session for o in listed):
            overtaken = {o.session.number for o in mine if not o.published}
            self.tmpfs.alive -= overtaken
            return
        self.cluster.publish(self.name, self.boot_id, self.tmpfs.boot_session, tuple(o.session for o in listed))

    def may_publish(self, mine: tuple[OfferedSession, ...]) -> bool:
        """Return whether the newest sessions may be published."""
        return sessions.publishable(mine, [(t.inputs, t.decision) for t in self.pair_views.values()])

    def _tidy(self) -> None:
        own = self.cluster.api.get(self.name)
        mine = self.own_sessions(own) if own is not None else ()
        installed = [g for t in self.pair_views.values() for g in t.inputs.observed.installed]
        wanted = sessions.wanted_epochs(self.inputs.rotations)
        self.tmpfs.alive -= sessions.ended(mine, wanted, {g.epoch for g in installed})
        for pair_view in self.pair_views.values():
            self._tidy_pair(pair_view)
        self.cluster.report(self.name, self._ready(), cleaned=self._cleaned(own))

    def _tidy_pair(self, pair_view: SimulatedPair) -> None:
        uid = pair_view.peer.node_uid
        ledger = self.tmpfs.ledger.get(uid, {})
        lo = pair_view.pair.own_is_lo
        keep = {g for g in ledger if g.number(lo=lo) in self.tmpfs.alive or g in pair_view.inputs.observed.installed}
        self.tmpfs.ledger[uid] = {g: e for g, e in ledger.items() if g in keep or g == pair_view.decision.install}
        if pair_view.decision.remove_all and pair_view.inputs.observed.nothing:
            self.disk.discard(uid)
            if pair_view.inputs.peer_gone:
                for where in (self.known, self.memory, self.tmpfs.ledger):
                    where.pop(uid, None)

    def _ready(self) -> frozenset[str]:
        return frozenset(t.peer.node_uid for t in self.pair_views.values() if t.decision.ready)

    def _cleaned(self, own: NodePeer | None) -> bool:
        return (
            own is not None
            and self._own_state(own) is NodeState.LEAVING
            and all(t.inputs.observed.nothing and t.decision.remove_all for t in self.pair_views.values())
        )

    def prepare(self) -> None:
        """Block the pairs on disk, as the init container does after a boot."""
        own = self.cluster.ids[self.name]
        blocked = [Pair(own.end, p.end) for uid, p in self.known.items() if uid in self.disk]
        desired_pairs = [
            diff.DesiredPair(p, BLOCK_ALL, observe.KnownGenerations({}, 0, 0, {}), (), tuple(blocking(p))) for p in blocked
        ]
        kernel = self.cluster.kernels[self.name]
        entries = guard_entries.wanted(own.end, [(p, BLOCK_ALL) for p in blocked], [], [])
        for action in diff.plan(desired_pairs, entries, kernel.snapshot()):
            kernel.apply(action)
