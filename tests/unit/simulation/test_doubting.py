"""What an agent takes from its last pass is doubted in every schedule; here it is wrong, and the doubt says so."""

from __future__ import annotations

from collections.abc import Callable
from weakref import WeakKeyDictionary

import pytest

from tests.fakes.kernel import Kernel
from tests.unit.simulation import doubting
from tests.unit.simulation.schedules import Profile, Step, play
from wirecrypt.agent.steps import deciding
from wirecrypt.agent.steps.guarding import GuardEntries
from wirecrypt.agent.view import standing
from wirecrypt.agent.view.standing import OwnFacts, StandingDecision
from wirecrypt.pairs.memory import PairMemory
from wirecrypt.plan.snapshot import KernelSnapshot

pytestmark = pytest.mark.simulation

TWO = Profile(names="ab", labelled="ab")


def whatever_the_kernel_has(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(standing, "of_pair", lambda *_: ())
    patch.setattr(deciding, "of_pair", lambda *_: ())


def whatever_objects_say(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(deciding, "facts", lambda *_: ())


def whatever_was_heard(patch: pytest.MonkeyPatch) -> None:
    def holds(self: StandingDecision, facts: standing.Facts, kernel: KernelSnapshot | None, _: object, now: float) -> bool:
        same = kernel is None or standing.of_pair(self.view.pair, kernel) == self.kernel
        return now < self.until and facts == self.facts and same

    patch.setattr(StandingDecision, "holds", holds)


def while_times_run(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(deciding, "stands_until", lambda *_: float("inf"))


def settled_once_for_all(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(standing, "_same", lambda uid, _, pass_state: uid in pass_state.pair_views)


def in_passing(*left_out: str) -> Callable[[pytest.MonkeyPatch], None]:
    """Have pairs taken over whatever these facts say."""

    def wrong(patch: pytest.MonkeyPatch) -> None:
        def rests(self: StandingDecision, own: OwnFacts, kernel: KernelSnapshot | None, memory: PairMemory, now: float) -> bool:
            known = self.own
            if known is None:
                return False
            same = {name: value == known[at] for at, (name, value) in enumerate(own._asdict().items())}
            there = kernel is None or standing.of_pair(self.view.pair, kernel) == self.kernel
            same |= {"memory": memory is self.memory, "until": now < self.until, "kernel": there}
            return all(holds for name, holds in same.items() if name not in left_out)

        patch.setattr(StandingDecision, "rests", rests)

    return wrong


def in_passing_whatever_the_own_side_is(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(doubting, "_alike_once", lambda _self, _pass_state, _settings, seen: not seen.vanished and not seen.succeeded)


def the_first_of(part: object, name: str) -> Callable[[pytest.MonkeyPatch], None]:
    """Have what this has worked out first stand for ever, but for who has worked out nothing yet."""

    def wrong(patch: pytest.MonkeyPatch) -> None:
        does, known = getattr(part, name), WeakKeyDictionary[object, object]()

        def first(self: object, *words: object) -> object:
            if self not in known or getattr(self, "_reports", known) == {}:
                known[self] = does(self, *words)
            return known[self]

        patch.setattr(part, name, first)

    return wrong


def whatever_others_do(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Kernel, "changes", lambda _: 0)


@pytest.mark.parametrize(
    ("wrong", "steps"),
    [
        (whatever_others_do, ((0.0, "wiped", "a", 0),)),
        (whatever_the_kernel_has, ((0.0, "wiped", "a", 0),)),
        (whatever_objects_say, ((0.0, "renewal", "b", 0),)),
        (whatever_was_heard, ((0.0, "reboot", "b", 0),)),
        (while_times_run, ((0.0, "rotate", "a", 0),)),
        (settled_once_for_all, ((0.0, "rotate", "a", 0),)),
        (in_passing("peer"), ((0.0, "renewal", "b", 0),)),
        (in_passing("memory"), ((0.0, "reboot", "b", 0),)),
        (in_passing("until"), ((0.0, "rotate", "a", 0),)),
        (in_passing("ledger", "memory", "peer"), ((0.0, "rotate", "a", 0),)),
        (in_passing("kernel"), ((0.0, "wiped", "a", 0),)),
        (in_passing_whatever_the_own_side_is, ((0.0, "renewal", "a", 0),)),
        (the_first_of(GuardEntries, "_pairs"), ()),
        (the_first_of(GuardEntries, "_plain_nodes"), ((0.0, "label_off", "b", 0),)),
        (the_first_of(doubting, "_peers_once"), ()),
        (the_first_of(doubting, "_by_address_once"), ()),
        (the_first_of(doubting, "_now_once"), ()),
    ],
)
def test_what_stands_though_it_does_not_is_noticed(
    wrong: Callable[[pytest.MonkeyPatch], None], steps: tuple[Step, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each fact that a decision rests on, left out of the comparison, makes one stand that would be another now."""
    wrong(monkeypatch)
    noticed = r"what was read of|what stands of|what . should have|is taken for settled|what is kept of"
    with pytest.raises(AssertionError, match=noticed):
        play(TWO, 1, steps)
