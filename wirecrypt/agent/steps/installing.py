"""From decisions to the kernel: the ledger first, then keys, then the plan, then the disk list of pairs to block."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable
from functools import partial
from typing import Final

from wirecrypt import logs
from wirecrypt.agent.components import Components
from wirecrypt.agent.steps.guarding import GuardEntries
from wirecrypt.agent.steps.left_behind import LeftBehind, left_behind, of_predecessors, of_removed
from wirecrypt.agent.store.keyring import KeyRing
from wirecrypt.agent.store.state import LedgerEntry
from wirecrypt.agent.view.pair_view import PairView
from wirecrypt.agent.view.pass_state import PassState
from wirecrypt.agent.view.standing import SettledPairs
from wirecrypt.errors import SecretError
from wirecrypt.model.conditions import Reason
from wirecrypt.model.secret import SecretBytes
from wirecrypt.model.session import Generation
from wirecrypt.model.xfrm import Algorithm, Sa, SaLimits
from wirecrypt.pairs.decide import Decision
from wirecrypt.pairs.generations import lanes_of
from wirecrypt.plan.diff import Action, DesiredPair, in_the_way, plan
from wirecrypt.plan.policies import Layout, Senders, wanted
from wirecrypt.plan.shared import shared
from wirecrypt.plan.snapshot import KernelSnapshot
from wirecrypt.plan.states import free_slot, states
from wirecrypt.settings import Settings

log = logs.get(__name__)
_REASONS: Final = 3  # that a line about a plan names

Maker = Callable[[PassState, PairView, Generation, int, Settings], tuple[Sa, ...]]


class Installer:
    """Write what a round decided."""

    def __init__(self, components: Components, ring: KeyRing) -> None:
        self._components = components
        self._ring = ring
        self._left = LeftBehind()
        self._entries = GuardEntries()
        self._settled = SettledPairs()
        self.foreign: dict[str, str] = {}  # by peer node UID: a policy of others stands where ours must be

    def apply(self, pass_state: PassState, settings: Settings) -> bool:
        """Bring kernel and disk to what was decided; say whether to look again: something was written, or is to be.

        Nothing is written by what was read in an earlier pass: what is to be written is decided by what the kernel has now.
        """
        marked = self._mark(pass_state)
        actions = self.actions(pass_state, settings)
        if actions is None:
            return True
        if not actions:
            return marked
        _log(actions)
        failed = self._components.datapath.apply(actions)
        names = {s.peer.name: uid for uid, s in pass_state.pair_views.items()}
        for peer, error in failed.items():
            log.error("kernel refused", peer=peer, error=str(error))
            pass_state.failed[names.get(peer, "")] = str(error)
            pass_state.trouble.append((Reason.KERNEL_REFUSED, str(error)))
        return marked or not failed

    def actions(self, pass_state: PassState, settings: Settings) -> list[Action] | None:
        """Return the plan of this round, None where there is to be one by what the kernel has now.

        Generations to install are in the ledger when this returns.
        """
        listed: list[tuple[str, LedgerEntry]] = []
        datapath = self._components.datapath
        settled = self._settled.still(pass_state, settings)
        make = partial(self._states, listed) if datapath.fresh else nothing_new
        wanted_now = desired_pairs(pass_state, settings, make, without=settled.keys())
        self._components.session_keeper.list_generations(listed)
        self.foreign = _foreign(wanted_now, pass_state.kernel)
        entries = self._entries.wanted(pass_state, settings) if datapath.has_guard() else {}  # no map, no entry
        left = [*self._left.due(pass_state, settings), *of_removed(pass_state)]
        others = tuple(shared(pass_state.marks))
        found = plan(wanted_now, entries, pass_state.kernel, shared=others, strays=left, settled=settled.values())
        if (found or any(desired.decision.install for desired in wanted_now)) and datapath.stale():
            return None
        changing = {action.peer for action in found}
        self._settled.note((desired for desired in wanted_now if desired.pair.peer.name not in changing), pass_state)
        return found

    def _states(  # noqa: PLR0913 - a `Maker` with a list to fill
        self,
        listed: list[tuple[str, LedgerEntry]],
        pass_state: PassState,
        pair_view: PairView,
        generation: Generation,
        slot: int,
        settings: Settings,
    ) -> tuple[Sa, ...]:
        """Return the SAs of a new generation, and have its entry *listed*: that is written before they are added ◆R8."""
        try:
            entry, derived = self._ring.derive(pair_view.pair, generation, pass_state.state, pair_view.peer)
        except SecretError as error:
            pass_state.failed[pair_view.peer.node_uid] = str(error)
            return ()
        listed.append((pair_view.peer.node_uid, entry))

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
                marks=pass_state.marks,
                limits=_limits(settings),
            )
        )

    def _mark(self, pass_state: PassState) -> bool:
        """Put pairs on disk that a boot must block, and say whether one is new there; only then are they ready ◆R24 ◆R25.

        Behind no guard none is.
        """
        if not pass_state.guarded:
            return False
        disk = self._components.pairs_on_disk
        wanted = [(v.peer.end, not d.nodes.sends) for v, d in pass_state.pairs() if d.mark and not d.remove_all]
        missing = [peer.node_uid for peer, _ in wanted if not disk.has(peer.node_uid)]
        disk.add(pass_state.own.end, wanted)
        return any(disk.has(uid) for uid in missing)


def preview(pass_state: PassState, settings: Settings) -> list[Action]:
    """Return the plan of this round for reading only: no key is derived, nothing is listed, and new SAs have no keys."""
    return plan(
        desired_pairs(pass_state, settings, _keyless),
        GuardEntries().wanted(pass_state, settings),
        pass_state.kernel,
        shared=tuple(shared(pass_state.marks)),
        strays=[*left_behind(pass_state).values(), *of_predecessors(pass_state), *of_removed(pass_state)],
    )


def desired_pairs(
    pass_state: PassState, settings: Settings, make: Maker, *, without: Collection[str] = ()
) -> list[DesiredPair]:
    """Return what each pair should have; *make* gives the SAs of a generation to install. *without*: node UIDs of peers."""
    there = ((view, decision) for view, decision in pass_state.pairs() if view.peer.node_uid not in without)
    return [_desired(pass_state, pair_view, decision, settings, make) for pair_view, decision in there]


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
    layout = Layout(pass_state.marks, settings.control_port)
    policies = wanted(pair_view.pair, decision, Senders(lanes, slots), layout)
    return DesiredPair(pair_view.pair, decision, pair_view.known, sas, tuple(policies))


def _keyless(
    pass_state: PassState, pair_view: PairView, generation: Generation, slot: int, settings: Settings
) -> tuple[Sa, ...]:
    """Return the SAs of a new generation without their keys."""
    found = states(
        pair_view.pair,
        generation,
        lanes=lanes_of(generation, pair_view.inputs),
        slot=slot,
        algorithm=Algorithm.AES_256_GCM,
        keys=_no_key,
        marks=pass_state.marks,
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


def _log(actions: Iterable[Action]) -> None:
    """Log a plan: a line a peer, and each action for whoever wants to know."""
    by_peer: defaultdict[str, list[Action]] = defaultdict(list)
    for action in actions:
        by_peer[action.peer].append(action)
        log.debug("action", action=action.step.name.lower(), object=_text(action), peer=action.peer, reason=action.why)
    for peer, those in by_peer.items():
        steps = Counter(action.step.name.lower() for action in those)
        why = list(dict.fromkeys(action.why for action in those))
        more = f"; and {len(why) - _REASONS} more" if len(why) > _REASONS else ""
        done = ", ".join(f"{number} {step}" for step, number in steps.items())
        log.info("plan", action=done, peer=peer, reason="; ".join(why[:_REASONS]) + more)


def _limits(settings: Settings) -> SaLimits:
    s = settings.limits
    return SaLimits(s.soft_bytes, s.hard_bytes, s.soft_packets, s.hard_packets)


def _text(action: Action) -> str:
    thing = action.object
    return str(getattr(thing, "name", getattr(thing, "prefix", thing)))
