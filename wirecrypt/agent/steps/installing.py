"""From decisions to the kernel: the ledger first, then keys, then the plan, then the disk list of pairs to block."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from wirecrypt import logs
from wirecrypt.agent.components import Parts
from wirecrypt.agent.store.keyring import KeyRing
from wirecrypt.agent.view.cluster_view import end_of
from wirecrypt.agent.view.pair_view import Survey
from wirecrypt.agent.view.pass_state import Round, block
from wirecrypt.errors import SecretError
from wirecrypt.model.guard import GuardAction, GuardEntry
from wirecrypt.model.pair import End, Pair
from wirecrypt.model.secret import SecretBytes
from wirecrypt.model.session import Generation
from wirecrypt.model.xfrm import Algorithm, Limits, Network, Sa
from wirecrypt.pairs.decide import Decision, lanes_of
from wirecrypt.plan import guard_entries as guard_plan
from wirecrypt.plan.diff import Action, Wish, in_the_way, plan
from wirecrypt.plan.policies import Layout, Senders, wanted
from wirecrypt.plan.snapshot import KernelSnapshot, host
from wirecrypt.plan.states import free_slot, states
from wirecrypt.settings import Settings

log = logs.get(__name__)

Maker = Callable[[Round, Survey, Generation, int, Settings], tuple[Sa, ...]]


class Installer:
    """Write what a round decided."""

    def __init__(self, parts: Parts, ring: KeyRing) -> None:
        self._parts = parts
        self._ring = ring
        self.foreign: dict[str, str] = {}  # by peer node UID: a policy of others stands where ours must be

    def apply(self, turn: Round, settings: Settings) -> bool:
        """Bring kernel and disk to what was decided; say whether anything was written without an error: then look again."""
        marked = self._mark(turn)
        actions = self.actions(turn, settings)
        if not actions:
            return marked
        for action in actions:
            log.info("plan", action=action.step.name.lower(), object=_text(action), peer=action.peer, reason=action.why)
        failed = self._parts.datapath.apply(actions)
        names = {s.peer.name: uid for uid, s in turn.surveys.items()}
        for peer, error in failed.items():
            log.error("kernel refused", peer=peer, error=str(error))
            turn.failed[names.get(peer, "")] = str(error)
            turn.trouble.append(("KernelRefused", str(error)))
        return marked or not failed

    def actions(self, turn: Round, settings: Settings) -> list[Action]:
        """Return the plan of this round; generations to install are in the ledger when this returns."""
        wanted_now = wishes(turn, settings, self._states)
        self.foreign = _foreign(wanted_now, turn.kernel)
        entries = guard_wanted(turn, settings) if self._parts.datapath.has_guard() else {}  # no map, no entry
        return plan(wanted_now, entries, turn.kernel)

    def _states(self, turn: Round, survey: Survey, generation: Generation, slot: int, settings: Settings) -> tuple[Sa, ...]:
        """Return the SAs of a new generation; its ledger entry is written first ◆."""
        try:
            entry, derived = self._ring.derive(survey.pair, generation, turn.state, survey.peer)
        except SecretError as error:
            turn.failed[survey.peer.node_uid] = str(error)
            return ()
        self._parts.keeper.list_generation(survey.peer.node_uid, entry)

        def key(*, sending: bool, lane: int) -> SecretBytes:
            return derived.traffic_key(derived.own if sending else derived.peer, lane)

        return tuple(
            states(
                survey.pair,
                entry.generation,
                lanes=entry.lanes,
                slot=slot,
                algorithm=entry.algorithm,
                keys=key,
                marks=settings.mark.layout,
                limits=_limits(settings),
            )
        )

    def _mark(self, turn: Round) -> bool:
        """Put pairs on disk that a boot must block, and say whether one is new there; only then are they ready ◆.

        Behind no guard none is.
        """
        if not turn.guarded:
            return False
        disk = self._parts.pairs_on_disk
        wanted = [survey.peer for survey, decision in turn.pairs() if decision.mark and not decision.remove_all]
        missing = [peer.node_uid for peer in wanted if not disk.has(peer.node_uid)]
        for peer in wanted:
            disk.add(end_of(turn.own), end_of(peer))
        return any(disk.has(uid) for uid in missing)


def preview(turn: Round, settings: Settings) -> list[Action]:
    """Return the plan of this round for reading only: no key is derived, nothing is listed, and new SAs have no keys."""
    return plan(wishes(turn, settings, _keyless), guard_wanted(turn, settings), turn.kernel)


def wishes(turn: Round, settings: Settings, make: Maker) -> list[Wish]:
    """Return what each pair should have; *make* gives the SAs of a generation to install."""
    return [_wish(turn, survey, decision, settings, make) for survey, decision in turn.pairs()]


def guard_wanted(turn: Round, settings: Settings) -> dict[Network, GuardEntry]:
    """Return the guard entries that the node should have.

    A peer about which nothing could be decided is dropped if plaintext with it is over; else what there is of it stays, or
    it passes. Its Node is no plain one, and nor is that of a peer that vanished: until its deletion is confirmed ◆.
    """
    own = end_of(turn.own)
    undecided = [(peer, end) for peer in turn.undecided.values() for end in peer.ends]
    there = [s.pair.peer for s, _ in turn.pairs() if not s.view.peer_gone]
    ends = [own, *(end_of(p) for p in turn.world.peers), *there, *(end for _, end in undecided)]
    plain = guard_plan.plain_nodes(turn.world.nodes, ends)
    dropped = [(Pair(own, end), block("undecided")) for peer, end in undecided if peer.over]
    pairs = [*dropped, *((s.pair, d) for s, d in turn.pairs())]
    kept = {p: turn.kernel.guard.get(p, _passed(p)) for peer, end in undecided if not peer.over for p in _prefixes(end)}
    return kept | guard_plan.wanted(own, pairs, plain, settings.cluster_cidrs)


def nothing_new(_turn: Round, _survey: Survey, _generation: Generation, _slot: int, _settings: Settings) -> tuple[Sa, ...]:
    """Make no SA: for what should be there already."""
    return ()


def _wish(turn: Round, survey: Survey, decision: Decision, settings: Settings, make: Maker) -> Wish:
    sas: tuple[Sa, ...] = ()
    slots = {g: i.slot for g, i in survey.view.observed.installed.items() if i.slot >= 0}
    lanes = {g: i.lanes for g, i in survey.view.observed.installed.items()}
    slot = free_slot(set(slots.values()))
    if decision.install is not None and slot is not None:
        sas = make(turn, survey, decision.install, slot, settings)
        slots[decision.install], lanes[decision.install] = slot, len(sas) // 2
    layout = Layout(settings.mark.layout, settings.control_port)
    policies = wanted(survey.pair, decision, Senders(lanes, slots), layout)
    return Wish(survey.pair, decision, survey.known, sas, tuple(policies))


def _keyless(_turn: Round, survey: Survey, generation: Generation, slot: int, settings: Settings) -> tuple[Sa, ...]:
    """Return the SAs of a new generation without their keys."""
    found = states(
        survey.pair,
        generation,
        lanes=lanes_of(generation, survey.view),
        slot=slot,
        algorithm=Algorithm.AES_256_GCM,
        keys=_no_key,
        marks=settings.mark.layout,
        limits=_limits(settings),
    )
    return tuple(found)


def _no_key(*, sending: bool, lane: int) -> SecretBytes:  # noqa: ARG001 - the shape of a source of keys
    return SecretBytes(b"")


def _foreign(wished: Iterable[Wish], kernel: KernelSnapshot) -> dict[str, str]:
    """Return, by peer node UID, which foreign policy stands where one of ours must be."""
    found = {}
    for wish in wished:
        others = [words for policy in wish.policies if (words := in_the_way(policy, kernel))]
        if others:
            text = f"a foreign policy stands where ours must be ({others[0]}); remove it or move it to another selector"
            found[wish.pair.peer.node_uid] = text
    return found


def _passed(prefix: Network) -> GuardEntry:
    return GuardEntry(prefix, GuardAction.PASS, GuardAction.PASS)


def _prefixes(end: End) -> tuple[Network, ...]:
    return (*end.pod_cidrs, *map(host, end.endpoints))


def _limits(settings: Settings) -> Limits:
    s = settings.limits
    return Limits(s.soft_bytes, s.hard_bytes, s.soft_packets, s.hard_packets)


def _text(action: Action) -> str:
    thing = action.object
    return str(getattr(thing, "name", getattr(thing, "prefix", thing)))
