"""Every rule that concerns pairs, sessions, joining, leaving and epochs is needed.

Each `Mutant` takes one rule out of the core (or out of the agent around it) and has a scenario, most of them taken from the
counterexamples of the models. The scenario passes with the rule and finds a violation without it.
"""

# ruff: noqa: SLF001 - a rule is a private function of the core; to take it out is to name it

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from tests.unit.pairs import mutations, scenarios
from tests.unit.pairs.simulator import steady
from wirecrypt.model.objects import NodeState
from wirecrypt.pairs import decide, generations, sessions
from wirecrypt.pairs.inputs import Out
from wirecrypt.plan import observe

pytestmark = pytest.mark.simulation


@dataclass(frozen=True, slots=True)
class Mutant:
    """A rule, by its sentence in the protocol; *without* takes it out; *scenario* must then find a violation."""

    name: str
    rule: str
    without: Callable[[pytest.MonkeyPatch], None]
    scenario: Callable[[], None]


MUTANTS = (
    Mutant(
        "stale-lanes",
        "◆R1: Lane count and algorithm are part of the published session",
        mutations.own_lanes,
        scenarios.fewer_lanes,
    ),
    Mutant(
        "number-in-kernel",
        "◆R2: skipping those whose residue mod 64 is carried by an SA in the own kernel",
        lambda patch: patch.setattr(sessions, "next_number", lambda last, _residues: last + 1),
        scenarios.numbers_wrap,
    ),
    Mutant(
        "x-kept",
        "◆R4: an older `x` is destroyed when the newer is published",
        lambda patch: patch.setattr(sessions, "ended", lambda *_: frozenset()),
        scenarios.renewal,
    ),
    Mutant(
        "orphans-kept",
        "◆R5: An own session below the newest that was never published is deleted with its SAs at once",
        lambda patch: patch.setattr(generations, "dead", lambda gen, v: v.peer_number(gen) < v.peer_boot_session),
        scenarios.never_published,
    ),
    Mutant(
        "orphans-of-any-epoch",
        "◆R5: (an own session below the newest, of its epoch: two epochs live while a rotation switches)",
        mutations.any_epoch_overtakes,
        scenarios.both_epochs_at_once,
    ),
    Mutant(
        "full-pair-waits",
        "◆R6: a full pair skips a session and nobody waits for it",
        mutations.nobody_skips,
        scenarios.full_pair,
    ),
    Mutant(
        "full-pair-keeps-untouched",
        "◆R7: (a full pair gives up candidates over which nothing ever came)",
        lambda patch: patch.setattr(decide, "_withdrawn", lambda _v, _m, _aim, _now, _t: frozenset()),
        scenarios.peer_down,
    ),
    Mutant(
        "full-pair-keeps-silent",
        "◆R7: a full pair gives up what nothing was heard over for long",
        mutations.source(decide._withdrawn, "i.untouched or memory.silent(g, now, quiet)", "i.untouched"),
        scenarios.flushed_again_and_again,
    ),
    Mutant(
        "withdraw",
        "◆R13: delete a generation only on the peer's word (WITHDRAW)",
        mutations.withdraw_any,
        scenarios.withdrawing_schedules,
    ),
    Mutant(
        "ledger-ignored",
        "◆R8: What is listed is only adopted, never created (NOLEDGER)",
        mutations.no_ledger,
        scenarios.flushed,
    ),
    Mutant(
        "ledger-late",
        "◆R8: the agent lists every generation it ever installed with that `x`, written before the first SA",
        mutations.ledger_late,
        scenarios.flushed,
    ),
    Mutant(
        "half-repaired",
        "◆R8: if one of its SAs is missing while it is the target, a new session is made (FIXHALF)",
        mutations.create_again,
        scenarios.flushed_half,
    ),
    Mutant(
        "publish-early",
        "◆R9: An agent installs for every peer already published before it publishes its own session",
        mutations.publish_early,
        scenarios.waits_for_installation,
    ),
    Mutant(
        "publication-permits-sending",
        "◆R10: publication only permits probing, never sending",
        mutations.unproved,
        scenarios.renewal,
    ),
    Mutant(
        "no-control-block",
        "◆R12: The same selector without that mark is a block policy, or a probe would fall to another SA",
        mutations.no_control_block,
        scenarios.unmarked_control_blocked,
    ),
    Mutant(
        "one-lane-proved",
        "◆R11: probe every lane (ONEPROBE)",
        mutations.first_lane_only,
        scenarios.every_lane_proved,
    ),
    Mutant(
        "newest-probed",
        "◆R11: probe every installed generation newer than the one in use (PROBETOP)",
        mutations.newest_only,
        scenarios.every_candidate_probed,
    ),
    Mutant(
        "not-listed-is-gone",
        "◆R13: not listed, and older than the newest listed or with a sender's number below its newest (NOTBELOW)",
        mutations.source(
            generations.gone,
            "if i.rx and (g.lo, g.hi) not in listed and ((newest is not None and g < newest) or _overtaken(g, inputs, heard))",
            "if i.rx and (g.lo, g.hi) not in listed",
        ),
        scenarios.not_listed_but_newer,
    ),
    Mutant(
        "below-only",
        "◆R13: or with a sender's number below its newest (BELOWONLY)",
        lambda patch: patch.setattr(generations, "_overtaken", lambda *_: False),
        scenarios.overtaken_by_the_peer,
    ),
    Mutant(
        "own-target-dropped",
        "◆R13: Never that of the own target",
        mutations.source(decide._kept, "g in dropped and g != aim and", "g in dropped and"),
        scenarios.own_target_stays,
    ),
    Mutant(
        "newest-in-use",
        "◆R14: in use, after a restart: the oldest generation that any policy points at (TAKELANE0)",
        mutations.source(observe._in_use, "min(pointed", "max(pointed"),
        scenarios.oldest_in_use,
    ),
    Mutant(
        "absence",
        "◆R15: nothing missing from the API view removes anything (DIFFREMOVE)",
        mutations.absent_is_gone,
        scenarios.old_view_after_restart,
    ),
    Mutant(
        "no-boot",
        "◆R23: a published session of a newer boot: generations with its older sessions are dead at once",
        mutations.source(generations.dead, "if inputs.peer_number(generation) < inputs.peer_boot_session:", "if False:"),
        scenarios.old_boot_dead,
    ),
    Mutant(
        "recompute",
        "◆R21: A pair never returns to plaintext, by restart (RECOMPUTE)",
        mutations.wrap_decide(mutations.back_to_plain),
        scenarios.joining(until="esp", then=scenarios.restart),
    ),
    Mutant(
        "fallback",
        "◆R21: … or by either end's reboot (FALLBACK)",
        mutations.wrap_decide(mutations.fall_back),
        scenarios.joining(until="esp", then=scenarios.reboot_peer),
    ),
    Mutant(
        "stale-word",
        "◆R23: words of an older boot do not count (STALEWORD)",
        mutations.old_boot_counts,
        scenarios.old_boot_said_esp,
    ),
    Mutant(
        "stale-word-number-reused",
        "◆R23: words of an older boot do not count (its last number was never published and came again)",
        mutations.old_boot_forgotten_by_number,
        scenarios.old_boot_said_esp,
    ),
    Mutant(
        "require-on-own-proof",
        "◆R22: and requires it from the other only when the other's word says that it sends on it (NOWORD)",
        mutations.wrap_decide(mutations.require_on_own_proof),
        scenarios.on_the_peers_word,
    ),
    Mutant(
        "no-drain",
        "◆R22: and a drain later (NODRAIN)",
        mutations.source(decide._receiving, 'memory.held("esp", None, now, timing)', '("esp", None) in memory.since'),
        scenarios.on_the_peers_word,
    ),
    Mutant(
        "mark-at-the-switch",
        "◆R24: An end that sends ESP and requires it writes the pair to disk (a boot blocks exactly these pairs) (MARKSWITCH)",
        mutations.wrap_decide(mutations.mark_at_the_switch),
        scenarios.reboot_before_the_word,
    ),
    Mutant(
        "ready-when-proved",
        "◆R25: then reports `ready` for it (REPPROVED)",
        mutations.wrap_decide(mutations.ready_when_proved),
        scenarios.on_the_peers_word,
    ),
    Mutant(
        "ready-when-sending",
        "◆R25: then reports `ready` for it: when it requires (REPSWITCH)",
        mutations.wrap_decide(mutations.ready_when_sending),
        scenarios.ready_before_it_requires,
    ),
    Mutant(
        "ready-without-mark",
        "◆R25: then reports `ready` for it: when it is on disk (REPNOMARK)",
        mutations.ready_without_mark,
        scenarios.ready_before_it_is_on_disk,
    ),
    Mutant(
        "leave-at-once",
        "◆R26: each end's word says accepts plaintext; on the peer's it stops encrypting (LIT)",
        mutations.wrap_decide(mutations.leave_at_once),
        scenarios.leaves,
    ),
    Mutant(
        "leave-without-word",
        "◆R26: the leaver removes its SAs after it has the peer's sends plaintext, the peer has its, and the drain (LITHALF)",
        lambda patch: patch.setattr(decide, "_left", mutations.leaves_when_plain),
        scenarios.leaves_with_schedules,
    ),
    Mutant(
        "leave-unknown-to-the-peer",
        "◆R26: … the peer has its own (the answer shows it)",
        mutations.leave_unknown_to_the_peer,
        scenarios.peer_may_not_know,
    ),
    Mutant(
        "leave-without-drain",
        "◆R26: … and the drain",
        mutations.source(decide._left, "now >= memory.left(timing)", "memory.plain_known_since is not None"),
        scenarios.leaves,
    ),
    Mutant(
        "leave-waits-for-the-dead",
        "◆R28: No word is waited for from a peer that is down and silent",
        mutations.source(decide._left, 'memory.held("away", None, now, timing)', "False"),
        scenarios.leaver_with_a_dead_peer,
    ),
    Mutant(
        "secret-decides",
        "◆R39: the phase decides, not the Secret (NEWEST)",
        mutations.secret_decides,
        scenarios.phase_decides,
    ),
)

SCENARIOS = {m.name: m for m in MUTANTS}


@pytest.mark.parametrize("name", SCENARIOS)
def test_rule_holds(name: str) -> None:
    """With the rule, the scenario finds nothing wrong."""
    SCENARIOS[name].scenario()


@pytest.mark.parametrize("name", SCENARIOS)
def test_rule_is_needed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the rule, the same scenario finds a violation."""
    SCENARIOS[name].without(monkeypatch)
    with pytest.raises(AssertionError):
        SCENARIOS[name].scenario()


def test_a_candidate_may_lose_its_sending_sas() -> None:
    """An abort takes back only the sending SA of a candidate ◆R13: without the receiving one, what the peer sends is lost."""
    scenarios.candidate_dropped()
    with pytest.raises(AssertionError, match="cannot receive"):
        scenarios.candidate_dropped(receiving_too=True)


def test_relabelling_makes_new_objects() -> None:
    """Leaving is not recanted ◆R27: the same object made Active again loses packets, new objects after the end do not."""
    scenarios.leaves()
    cluster = steady("ab", lanes=(1, 1))
    cluster.unlabel("a")
    while next(iter(cluster.agents["a"].pair_views.values())).inputs.observed.out is not Out.PLAIN:
        cluster.run("ab", 0.02)
    cluster.set_api(replace(cluster.api["a"], state=NodeState.ACTIVE))
    with pytest.raises(AssertionError, match=r"plaintext|blocks"):
        cluster.calm()
