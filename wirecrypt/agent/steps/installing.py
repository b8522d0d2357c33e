"""From decisions to the kernel: the ledger first, then keys, then the plan, then the disk list of pairs to block."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from wirecrypt import logs
from wirecrypt.agent.components import Components
from wirecrypt.agent.steps.left_behind import LeftBehind, left_behind, of_predecessors
from wirecrypt.agent.store.keyring import KeyRing
from wirecrypt.agent.view.cluster_view import end_of
from wirecrypt.agent.view.pair_view import PairView
from wirecrypt.agent.view.pass_state import PassState, block
from wirecrypt.errors import SecretError
from wirecrypt.model.guard import GuardAction, GuardEntry
from wirecrypt.model.pair import End, Pair
from wirecrypt.model.secret import SecretBytes
from wirecrypt.model.session import Generation
from wirecrypt.model.xfrm import Algorithm, Network, Sa, SaLimits
from wirecrypt.pairs.decide import Decision, lanes_of
from wirecrypt.plan import guard_entries as guard_plan
from wirecrypt.plan.diff import Action, DesiredPair, in_the_way, plan
from wirecrypt.plan.policies import Layout, Senders, wanted
from wirecrypt.plan.shared import shared
from wirecrypt.plan.snapshot import KernelSnapshot, host
from wirecrypt.plan.states import free_slot, states
from wirecrypt.settings import Settings

log = logs.get(__name__)

Maker = Callable[[PassState, PairView, Generation, int, Settings], tuple[Sa, ...]]


class Installer:
    """Write what a round decided."""

    def __init__(self, components: Components, ring: KeyRing) -> None:
        self._components = components
        self._ring = ring
        self._left = LeftBehind()
        self.foreign: dict[str, str] = {}  # by peer node UID: a policy of others stands where ours must be

    def apply(self, pass_state: PassState, settings: Settings) -> bool:
        """Bring kernel and disk to what was decided; say whether anything was written without an error: then look again."""
        marked = self._mark(pass_state)
        actions = self.actions(pass_state, settings)
        if not actions:
            return marked
        for action in actions:
            log.info("plan", action=action.step.name.lower(), object=_text(action), peer=action.peer, reason=action.why)
        failed = self._components.datapath.apply(actions)
        names = {s.peer.name: uid for uid, s in pass_state.pair_views.items()}
        for peer, error in failed.items():
            log.error("kernel refused", peer=peer, error=str(error))
            pass_state.failed[names.get(peer, "")] = str(error)
            pass_state.trouble.append(("KernelRefused", str(error)))
        return marked or not failed

    def actions(self, pass_state: PassState, settings: Settings) -> list[Action]:
        """Return the plan of this round; generations to install are in the ledger when this returns."""
        wanted_now = desired_pairs(pass_state, settings, self._states)
        self.foreign = _foreign(wanted_now, pass_state.kernel)
        entries = guard_wanted(pass_state, settings) if self._components.datapath.has_guard() else {}  # no map, no entry
        left = [*self._left.due(pass_state, settings), *of_predecessors(pass_state, settings)]
        return plan(wanted_now, entries, pass_state.kernel, shared=tuple(shared(settings.mark.layout)), strays=left)

    def _states(
        self, pass_state: PassState, pair_view: PairView, generation: Generation, slot: int, settings: Settings
    ) -> tuple[Sa, ...]:
        """Return the SAs of a new generation; its ledger entry is written first ◆."""
        try:
            entry, derived = self._ring.derive(pair_view.pair, generation, pass_state.state, pair_view.peer)
        except SecretError as error:
            pass_state.failed[pair_view.peer.node_uid] = str(error)
            return ()
        self._components.session_keeper.list_generation(pair_view.peer.node_uid, entry)

        def key(*, sending: bool, lane: int) -> SecretBytes:
            return derived.traffic_key(derived.own if sending else derived.peer, lane)

        return tuple(
            states(
                pair_view.pair,
                entry.generation,
                lanes=entry.lanes,
                slot=slot,
                algorithm=entry.algorithm,
                keys=key,
                marks=settings.mark.layout,
                limits=_limits(settings),
            )
        )

    def _mark(self, pass_state: PassState) -> bool:
        """Put pairs on disk that a boot must block, and say whether one is new there; only then are they ready ◆.

        Behind no guard none is.
        """
        if not pass_state.guarded:
            return False
        disk = self._components.pairs_on_disk
        wanted = [(v.peer, not d.nodes.sends) for v, d in pass_state.pairs() if d.mark and not d.remove_all]
        missing = [peer.node_uid for peer, _ in wanted if not disk.has(peer.node_uid)]
        for peer, exempt in wanted:
            disk.add(end_of(pass_state.own), end_of(peer), exempt=exempt)
        return any(disk.has(uid) for uid in missing)


def preview(pass_state: PassState, settings: Settings) -> list[Action]:
    """Return the plan of this round for reading only: no key is derived, nothing is listed, and new SAs have no keys."""
    return plan(
        desired_pairs(pass_state, settings, _keyless),
        guard_wanted(pass_state, settings),
        pass_state.kernel,
        shared=tuple(shared(settings.mark.layout)),
        strays=[*left_behind(pass_state, settings).values(), *of_predecessors(pass_state, settings)],
    )


def desired_pairs(pass_state: PassState, settings: Settings, make: Maker) -> list[DesiredPair]:
    """Return what each pair should have; *make* gives the SAs of a generation to install."""
    return [_desired(pass_state, pair_view, decision, settings, make) for pair_view, decision in pass_state.pairs()]


def guard_wanted(pass_state: PassState, settings: Settings) -> dict[Network, GuardEntry]:
    """Return the guard entries that the node should have.

    A peer about which nothing could be decided is dropped if plaintext with it is over; else what there is of it stays, or
    it passes. Its Node is no plain one, and nor is that of a peer that vanished: until its deletion is confirmed ◆.
    """
    own = end_of(pass_state.own)
    undecided = [(peer, end) for peer in pass_state.undecided.values() for end in peer.ends]
    there = [s.pair.peer for s, _ in pass_state.pairs() if not s.inputs.peer_gone]
    ends = [own, *(end_of(p) for p in pass_state.cluster_view.peers), *there, *(end for _, end in undecided)]
    plain = guard_plan.plain_nodes(pass_state.cluster_view.nodes, ends, pass_state.former)
    dropped = [(Pair(own, end), block("undecided", exempt=peer.exempt)) for peer, end in undecided if peer.ended]
    pairs = [*dropped, *((s.pair, d) for s, d in pass_state.pairs() if not s.inputs.peer_gone)]
    kept = {p: pass_state.kernel.guard.get(p, _passed(p)) for peer, end in undecided if not peer.ended for p in _prefixes(end)}
    api = {*settings.api_servers, *pass_state.connected}
    return kept | guard_plan.wanted(own, pairs, plain, settings.cluster_cidrs, api)


def nothing_new(
    _pass_state: PassState, _pair_view: PairView, _generation: Generation, _slot: int, _settings: Settings
) -> tuple[Sa, ...]:
    """Make no SA: for what should be there already."""
    return ()


def _desired(pass_state: PassState, pair_view: PairView, decision: Decision, settings: Settings, make: Maker) -> DesiredPair:
    sas: tuple[Sa, ...] = ()
    slots = {g: i.slot for g, i in pair_view.inputs.observed.installed.items() if i.slot >= 0}
    lanes = {g: i.lanes for g, i in pair_view.inputs.observed.installed.items()}
    slot = free_slot(set(slots.values()))
    if decision.install is not None and slot is not None:
        sas = make(pass_state, pair_view, decision.install, slot, settings)
        slots[decision.install], lanes[decision.install] = slot, len(sas) // 2
    layout = Layout(settings.mark.layout, settings.control_port)
    policies = wanted(pair_view.pair, decision, Senders(lanes, slots), layout)
    return DesiredPair(pair_view.pair, decision, pair_view.known, sas, tuple(policies))


def _keyless(
    _pass_state: PassState, pair_view: PairView, generation: Generation, slot: int, settings: Settings
) -> tuple[Sa, ...]:
    """Return the SAs of a new generation without their keys."""
    found = states(
        pair_view.pair,
        generation,
        lanes=lanes_of(generation, pair_view.inputs),
        slot=slot,
        algorithm=Algorithm.AES_256_GCM,
        keys=_no_key,
        marks=settings.mark.layout,
        limits=_limits(settings),
    )
    return tuple(found)


def _no_key(*, sending: bool, lane: int) -> SecretBytes:  # noqa: ARG001 - the shape of a source of keys
    return SecretBytes(b"")


def _foreign(desired_pairs: Iterable[DesiredPair], kernel: KernelSnapshot) -> dict[str, str]:
    """Return, by peer node UID, which foreign policy stands where one of ours must be."""
    found = {}
    for desired in desired_pairs:
        others = [words for policy in desired.policies if (words := in_the_way(policy, kernel))]
        if others:
            text = f"a foreign policy stands where ours must be ({others[0]}); remove it or move it to another selector"
            found[desired.pair.peer.node_uid] = text
    return found


def _passed(prefix: Network) -> GuardEntry:
    return GuardEntry(prefix, GuardAction.PASS, GuardAction.PASS)


def _prefixes(end: End) -> tuple[Network, ...]:
    return (*end.pod_cidrs, *map(host, end.hosts))


def _limits(settings: Settings) -> SaLimits:
    s = settings.limits
    return SaLimits(s.soft_bytes, s.hard_bytes, s.soft_packets, s.hard_packets)


def _text(action: Action) -> str:
    thing = action.object
    return str(getattr(thing, "name", getattr(thing, "prefix", thing)))
