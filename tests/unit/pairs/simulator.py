"""Nodes, their kernels, an API, a network and a clock in memory, and all that may happen to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_address, ip_network

from tests.unit.pairs.simulated_agent import Agent
from tests.unit.pairs.simulated_end import unfinished
from tests.unit.pairs.simulated_kernel import Flow
from tests.unit.pairs.simulated_state import PORT, TIMING, Datagram, Snapshot, Tmpfs
from tests.unit.pairs.simulated_traffic import FLUSH, Traffic, Violation
from wirecrypt.model.objects import KeyRotation, NodePeer, NodeState, Phase
from wirecrypt.model.pair import Pair
from wirecrypt.model.session import Epoch, Session
from wirecrypt.model.xfrm import SaKey
from wirecrypt.pairs.inputs import Out

IN_FLIGHT = 0.9 * TIMING.drain
MOST_ROUNDS = 800


class SimulatedCluster(Traffic):
    """Everything. *names* become nodes with nodeIDs 16, 17, …; *lanes* is each node's number of lanes."""

    def __init__(self, names: str = "ab", *, lanes: Sequence[int] = (2, 2, 2, 2)) -> None:
        super().__init__(list(names))
        self.rotations: tuple[KeyRotation, ...] = ()
        self.epochs = {n: Epoch(n, f"{n:032x}") for n in range(1, 9)}
        self.secrets = {1}
        self.late: set[str] = set()  # nodes whose Secret has not the newest epoch yet
        self.history: list[Snapshot] = []
        self.network: list[Datagram] = []
        self.agents = {n: Agent(self, n, lanes[i]) for i, n in enumerate(self.names)}
        self.ready: dict[str, frozenset[str]] = {}
        self.cleaned: set[str] = set()
        self.down: set[str] = set()  # nodes that are off, and known to be
        self.ever_published: set[tuple[str, int, bytes]] = set()
        self._ids = iter(range(16, 65536))
        self._counter = iter(range(1, 1 << 30))

    # ---- what agents use

    def keys_of(self, name: str) -> set[int]:
        """Return the epochs that a node's Secret has keys of."""
        return self.secrets - {max(self.secrets)} if name in self.late else set(self.secrets)

    def nonce(self) -> bytes:
        """Return a nonce that never comes again."""
        return next(self._counter).to_bytes(16, "big")

    def public(self, name: str) -> bytes:
        """Return the public key of a new session."""
        return f"{name}{next(self._counter)}".encode().ljust(32, b".")

    def control_route(self, name: str, pair: Pair, mark: int) -> tuple[SaKey | None, str]:
        """Return the SA that a control datagram with *mark* leaves by and its key's fingerprint, None when it cannot leave."""
        own, peer = pair.outer()
        kernel = self.kernels[name]
        route = kernel.route(Flow(own, peer, mark, 17, PORT))
        if isinstance(route, str) or route not in kernel.sas:
            return None, ""
        return route, kernel.sas[route].key.fingerprint

    def post(self, datagram: Datagram) -> None:
        """Put a datagram on the wire; the wire forgets the oldest when it is full."""
        self.network = [*self.network[-40:], datagram]

    def publish(self, name: str, boot_id: str, boot_session: int, listed: tuple[Session, ...]) -> None:
        """Write a status by compare-and-swap; the API refuses numbers that go back and sessions that change."""
        before = self.api[name]
        known = {s.number: s for s in before.sessions}
        assert max(s.number for s in listed) >= before.last_session, "a number goes back"
        assert all(known.get(s.number, s) == s for s in listed), "a published session changes"
        last = max(before.last_session, *(s.number for s in listed))
        self.ever_published |= {(name, s.number, s.public) for s in listed}
        self.set_api(replace(before, boot_id=boot_id, boot_session=boot_session, last_session=last, sessions=listed))

    def report(self, name: str, ready: frozenset[str], *, cleaned: bool) -> None:
        """Write the status of the EncryptedNode."""
        self.ready[name] = ready
        self.cleaned = self.cleaned | {name} if cleaned else self.cleaned - {name}

    # ---- the API and the controller

    def set_api(self, peer: NodePeer) -> None:
        """Write a NodePeer."""
        self.api[peer.name] = self.ids[peer.name] = peer
        self.remember()

    def remember(self) -> None:
        """Add the API's present content to the snapshots that an agent may still see."""
        self.history = [*self.history[-30:], Snapshot(dict(self.api), self.rotations)]

    def label(self, name: str, *, state: NodeState = NodeState.JOINING) -> None:
        """Make the objects of a node that is labelled."""
        node_id, at = next(self._ids), self.names.index(name) + 1
        self.cleaned.discard(name)
        self.ready.pop(name, None)
        self._secured = {s for s in self._secured if s[0] != name}
        self.set_api(
            NodePeer(
                name=name,
                uid=f"np-{name}-{node_id}",
                node_id=node_id,
                node_uid=f"uid-{name}-{node_id}",
                endpoints=(ip_address(f"192.0.2.{at}"), ip_address(f"2001:db8::{at}")),
                pod_cidrs=(ip_network(f"10.{at}.0.0/16"), ip_network(f"fd00:{at}::/64")),
                state=state,
                created=datetime(2024, 1, 1, tzinfo=UTC),
            )
        )

    def unlabel(self, name: str) -> None:
        """Set a node's state to Leaving."""
        if name in self.api:
            self.set_api(replace(self.api[name], state=NodeState.LEAVING))

    def rotate(self, to: int, phase: Phase = Phase.SWITCHING) -> None:
        """Put a rotation to epoch *to* into a phase."""
        self.secrets.add(to)
        made = datetime(2024, 1, 1, tzinfo=UTC)
        fresh = KeyRotation(
            name=f"r{to}",
            uid=f"r{to}",
            reason="test",
            created=made,
            phase=phase,
            from_epoch=to - 1,
            to_epoch=to,
            to_epoch_id=self.epochs[to].id,
        )
        self.rotations = (*[r for r in self.rotations if r.to_epoch != to], fresh)
        self.remember()

    def control(self) -> None:
        """Let the controller do what is due: Active, deletion of what is cleaned, the next phase of a rotation."""
        for name, node in list(self.api.items()):
            if node.state is NodeState.JOINING and self._all_ready(name):
                self.set_api(replace(node, state=NodeState.ACTIVE))
            elif node.state is NodeState.LEAVING and name in self.cleaned:
                del self.api[name]
                self.remember()
        for rotation in self.rotations:
            if rotation.phase is Phase.SWITCHING and self._all_send(rotation.to_epoch):
                self.rotate(rotation.to_epoch, Phase.RETIRING)
            elif rotation.phase is Phase.RETIRING and self._none_has(rotation.from_epoch):
                self.rotate(rotation.to_epoch, Phase.COMPLETE)

    def _all_ready(self, name: str) -> bool:
        node = self.api[name]
        others = [o for o in self.api.values() if o.name != name and o.state is not NodeState.LEAVING]
        return all(
            o.node_uid in self.ready.get(name, frozenset()) and node.node_uid in self.ready.get(o.name, frozenset())
            for o in others
        )

    def _all_send(self, epoch: int) -> bool:
        pair_views = [t for n in self.api for t in self.agents[n].pair_views.values() if not t.decision.remove_all]
        return all(t.inputs.observed.in_use and t.inputs.observed.in_use.epoch >= epoch for t in pair_views)

    def _none_has(self, epoch: int) -> bool:
        agents = [self.agents[n] for n in self.api]
        held = {g.epoch for a in agents for t in a.pair_views.values() for g in t.inputs.observed.installed}
        return epoch not in held | {a.tmpfs.made[n].epoch.number for a in agents for n in a.tmpfs.alive}

    # ---- things that happen

    def sync(self, name: str) -> None:
        """Bring an agent's view up to date."""
        self.agents[name].inputs = Snapshot(dict(self.api), self.rotations)

    def advance(self, seconds: float) -> None:
        """Let time pass; packets go on being sent as they were."""
        self.now += seconds
        for packets in self._flying.values():
            for packet, at in list(packets.items()):
                if at == float("inf"):
                    continue
                if self.now - at > IN_FLIGHT:
                    del packets[packet]

    def deliver(self, index: int, *, keep: bool = False) -> None:
        """Deliver a datagram; with *keep* it may come again. An agent in the middle of a pass reads it later."""
        if index >= len(self.network):
            return
        datagram = self.network[index]
        agent = self.agents[datagram.receiver]
        if agent.in_pass:
            return
        if not keep:
            del self.network[index]
        agent.receive(datagram)

    def crash(self, name: str, *, lose: bool = False, stale: int | None = None) -> None:
        """Kill an agent and start it again, with or without its tmpfs, with the present or an older view."""
        agent = self.agents[name]
        agent.pending, agent.in_pass, agent.memory, agent.pair_views = [], False, {}, {}
        if lose:
            agent.tmpfs = Tmpfs(agent.boot_id)
        if stale is None:
            self.sync(name)
        else:
            agent.inputs = self.history[-1 - stale % len(self.history)]

    def reboot(self, name: str) -> None:
        """Reboot a node: kernel and tmpfs are empty, pairs on disk are blocked before the agent starts."""
        agent = self.agents[name]
        self.disturb(name, [n for n in self.names if n != name], name)
        self.kernels[name].clear()
        for pair in self._flying:
            if pair[0] == name:
                self._flying[pair] = {}
        agent.boot += 1
        self.crash(name, lose=True)
        if name in self.ids:
            agent.prepare()

    def power_off(self, name: str) -> None:
        """Turn a node off; its Node is not Ready. Its kernel is as at the next boot: it sends nothing."""
        self.down.add(name)
        self.reboot(name)

    def power_on(self, name: str) -> None:
        """Boot a node that was off."""
        self.down.discard(name)
        self.slept |= {(name, other) for other in self.names if other not in self.api}
        self.reboot(name)

    def wipe(self, name: str, peer: str, *, policies: bool = False) -> None:
        """Flush a pair's SAs (and policies) behind the agent's back."""
        kernel, other = self.kernels[name], self.ids[peer]
        gone = [k for k, sa in kernel.sas.items() if k not in kernel.foreign and {sa.src, sa.dst} & set(other.endpoints)]
        for key in gone:
            self._wiped.add((name, key))
            del kernel.sas[key]
        if policies:
            self.disturb(name, [peer], FLUSH)
            ours = [k for k, p in kernel.policies.items() if k not in kernel.foreign and _towards(p, other)]
            for policy in ours:
                del kernel.policies[policy]
        kernel.version += 1
        self.agents[name].disturbed = True

    def drop_candidate(self, name: str, *, receiving: bool = False) -> None:
        """Abort: take back the sending SAs (and, wrongly, the receiving ones) of candidates."""
        agent, kernel = self.agents[name], self.kernels[name]
        if agent.in_pass:
            return
        agent.begin()
        agent.pending, agent.in_pass = [], False
        for pair_view in agent.pair_views.values():
            aim, seen = pair_view.decision.target, pair_view.inputs.observed
            if aim is None or aim not in seen.installed or seen.out is not Out.ESP or seen.in_use is None or aim <= seen.in_use:
                continue
            ends = [pair_view.pair.own, pair_view.pair.peer] if receiving else [pair_view.pair.own]
            for key in [SaKey(d, aim.spi(e.node_id, lane)) for e in ends for lane in range(16) for d in pair_view.pair.outer()]:
                if kernel.sas.pop(key, None) is not None:
                    kernel.version += 1

    # ---- the end of faults

    def calm(self, seconds: float = 60.0) -> None:
        """Let everything get through until all pairs are where they should be; Violation when that never happens."""
        end = self.now + seconds
        for agent in self.agents.values():
            while agent.in_pass:
                agent.step()
                self.check()
        for _ in range(MOST_ROUNDS):
            if self.now >= end:
                break
            busy = self.round()
            self.advance(0.02 if busy else 0.2)
            if not busy and not unfinished(self):
                return
        raise Violation(f"not finished: {'; '.join(unfinished(self))}")

    def run(self, names: str, seconds: float) -> None:
        """Let only these agents work for a while; what is sent to the others is lost."""
        end = self.now + seconds
        while self.now < end:
            busy = self.round(names)
            self.advance(0.02 if busy else 0.1)

    def round(self, names: str = "") -> bool:
        """Let everybody (or only *names*) do everything once; say whether anything changed."""
        busy = bool(self.network)
        for name in names or self.names:
            self.sync(name)
            self.agents[name].begin()
            busy |= bool(self.agents[name].pending)
            while self.agents[name].in_pass:
                self.agents[name].step()
                self.check()
        while self.network:
            arriving, self.network = self.network, []
            for datagram in arriving:
                if not names or datagram.receiver in names:
                    self.agents[datagram.receiver].receive(datagram)
        before = len(self.history), self.history[-1] if self.history else None
        self.control()
        self.check()
        return busy or before != (len(self.history), self.history[-1] if self.history else None)


def _towards(policy: object, peer: NodePeer) -> bool:
    text = str(getattr(policy, "selector", ""))
    return any(str(prefix) in text for prefix in (*peer.pod_cidrs, *peer.endpoints))


def steady(names: str = "ab", *, lanes: Sequence[int] = (2, 2, 2, 2)) -> SimulatedCluster:
    """Return a world whose nodes are all Active and protected."""
    cluster = SimulatedCluster(names, lanes=lanes)
    cluster.rotate(1, Phase.COMPLETE)
    for name in names:
        cluster.label(name)
    cluster.calm()
    return cluster
