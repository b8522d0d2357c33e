"""Ways to take a rule out of the core, or out of the agent around it."""

# ruff: noqa: SLF001 - a rule is a private function of the core; to take it out is to name it

from __future__ import annotations

import inspect
import types
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.unit.pairs.simulated_agent import Agent
from tests.unit.pairs.simulated_state import Entry
from wirecrypt.model.objects import NodePeer, NodeState
from wirecrypt.model.session import Generation
from wirecrypt.model.xfrm import PolicyAction
from wirecrypt.pairs import decide, generations, sessions
from wirecrypt.pairs.decide import Decision
from wirecrypt.pairs.inputs import Out, PairInputs, Receive
from wirecrypt.pairs.memory import PairMemory
from wirecrypt.plan import policies

Patch = pytest.MonkeyPatch


def wrap_decide(change: Callable[[PairInputs, PairMemory, Decision], Decision]) -> Callable[[Patch], None]:
    def without(patch: Patch) -> None:
        true = decide.decide
        patch.setattr(decide, "decide", lambda v, m, now, t: change(v, m, true(v, m, now, t)))

    return without


def source(function: Callable[..., object], old: str, new: str) -> Callable[[Patch], None]:
    """Return what replaces a function of the core by one with another line."""

    def without(patch: Patch) -> None:
        text = inspect.getsource(function)
        assert text.count(old) == 1, f"the rule is not found in {function.__name__}"
        home = inspect.getmodule(function)
        assert home is not None
        names = dict(vars(home))
        exec(compile(text.replace(old, new), str(home.__file__), "exec"), names)  # noqa: S102 - our own source, one line changed
        changed = names[function.__name__]
        patch.setattr(home, function.__name__, rebound(changed, vars(home)))

    return without


def rebound(function: types.FunctionType, names: dict[str, object]) -> types.FunctionType:
    """Return the function with the module's own names, so that it sees other patches."""
    return types.FunctionType(function.__code__, names, function.__name__, function.__defaults__)


def no_ledger(patch: Patch) -> None:
    true = decide.decide
    patch.setattr(decide, "decide", lambda v, m, now, t: true(replace(v, ledger=frozenset()), m, now, t))


def ledger_late(patch: Patch) -> None:
    def late(agent: Agent, uid: str, generation: Generation, entry: Entry) -> None:
        if not agent.pending:  # never in time
            agent.tmpfs.ledger.setdefault(uid, {})

    patch.setattr(Agent, "write_ledger", late)


def create_again(patch: Patch) -> None:
    true = decide._install

    def install(
        v: PairInputs, aim: Generation | None, dead: frozenset[Generation], withdrawn: frozenset[Generation]
    ) -> tuple[Generation | None, str, bool]:
        found = true(v, aim, dead, withdrawn)
        return (aim, "", False) if found[1] else found

    patch.setattr(decide, "_install", install)


def unproved(patch: Patch) -> None:
    patch.setattr(PairMemory, "proved_lanes", lambda _m, _g: frozenset(range(16)))


def publish_early(patch: Patch) -> None:
    patch.setattr(sessions, "publishable", lambda mine, _pairs: not all(o.published for o in mine if o.alive))


def nobody_skips(patch: Patch) -> None:
    true = sessions.publishable
    patch.setattr(sessions, "publishable", lambda mine, pairs: true(mine, [(v, replace(d, full=False)) for v, d in pairs]))


def own_lanes(patch: Patch) -> None:
    def lanes(generation: Generation, v: PairInputs) -> int:
        return next(o.session.lanes for o in v.own_sessions if o.session.number == v.own_number(generation))

    patch.setattr(generations, "lanes_of", lanes)


def first_lane_only(patch: Patch) -> None:
    true = PairMemory.proved_lanes
    patch.setattr(PairMemory, "proved_lanes", lambda m, gen: frozenset(range(16)) if 0 in true(m, gen) else frozenset())


def newest_only(patch: Patch) -> None:
    true = generations.candidates
    patch.setattr(generations, "candidates", lambda v: true(v)[-1:])


def absent_is_gone(patch: Patch) -> None:
    true = generations.dead
    patch.setattr(
        generations, "dead", lambda gen, v: true(gen, v) or v.peer_number(gen) not in {s.number for s in v.peer_sessions}
    )


def withdraw_any(patch: Patch) -> None:
    def withdrawn(v: PairInputs, _m: PairMemory, aim: Generation | None, *_when: object) -> frozenset[Generation]:
        used = v.observed.in_use
        return frozenset(x for x in v.observed.installed if aim is not None and used is not None and used < x < aim)

    patch.setattr(decide, "_withdrawn", withdrawn)


def back_to_plain(v: PairInputs, m: PairMemory, d: Decision) -> Decision:
    """RECOMPUTE: without a proof in memory the pair is as if it were new."""
    if v.both_active or v.leaving or v.observed.in_use is None or m.proved_lanes(v.observed.in_use):
        return d
    return replace(d, out=Out.PLAIN, in_use=None)


def fall_back(v: PairInputs, _m: PairMemory, d: Decision) -> Decision:
    """FALLBACK: a newer boot of a joining peer starts the pair anew."""
    if d.out is Out.BLOCK and not v.both_active:
        return replace(d, out=Out.PLAIN, receive=Receive.OPTIONAL)
    return d


def require_on_own_proof(v: PairInputs, _m: PairMemory, d: Decision) -> Decision:
    return replace(d, receive=Receive.REQUIRED) if v.observed.out is Out.ESP and not v.leaving else d


def mark_at_the_switch(v: PairInputs, _m: PairMemory, d: Decision) -> Decision:
    return replace(d, mark=d.mark or v.observed.out is Out.ESP)


def ready_when_proved(v: PairInputs, m: PairMemory, d: Decision) -> Decision:
    return replace(d, ready=any(m.proved_lanes(x) for x in v.observed.installed))


def ready_when_sending(v: PairInputs, _m: PairMemory, d: Decision) -> Decision:
    return replace(d, ready=v.observed.out is Out.ESP)


def ready_without_mark(patch: Patch) -> None:
    source(decide.decide, "ready=secure and inputs.marked", "ready=secure")(patch)


def leave_at_once(v: PairInputs, _m: PairMemory, d: Decision) -> Decision:
    return replace(d, out=Out.PLAIN, in_use=None) if v.leaving and d.out is Out.ESP else d


def leaves_when_plain(v: PairInputs, *_: object) -> bool:
    return v.own_state is NodeState.LEAVING and v.observed.out is Out.PLAIN


def old_boot_counts(patch: Patch) -> None:
    patch.setattr(decide, "sends_esp", lambda _v, announcement: announcement.in_use is not None)
    patch.setattr(PairMemory, "forget_words_before", lambda m, _n: m)


def old_boot_forgotten_by_number(patch: Patch) -> None:
    patch.setattr(decide, "sends_esp", lambda _v, announcement: announcement.in_use is not None)


def no_control_block(patch: Patch) -> None:
    true = policies._control
    patch.setattr(policies, "_control", lambda *a: (p for p in true(*a) if p.verdict is not PolicyAction.BLOCK))


def secret_decides(patch: Patch) -> None:
    true = Agent._make_sessions

    def make(agent: Agent, mine: NodePeer) -> bool:
        patch.setattr(
            sessions, "wanted_epochs", lambda _rotations: (agent.cluster.epochs[max(agent.cluster.keys_of(agent.name))],)
        )
        return true(agent, mine)

    patch.setattr(Agent, "_make_sessions", make)


def any_epoch_overtakes(patch: Patch) -> None:
    def dead(generation: Generation, v: PairInputs) -> bool:
        newest = max(o.session.number for o in v.own_sessions)
        waiting = {o.session.number for o in v.own_sessions if not o.published and o.session.number < newest}
        return v.peer_number(generation) < v.peer_boot_session or v.own_number(generation) in waiting

    patch.setattr(generations, "dead", dead)


def leave_unknown_to_the_peer(patch: Patch) -> None:
    source(
        decide._left,
        "and now >= memory.left(timing)",
        "",
    )(patch)
