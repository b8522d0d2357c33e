"""What an agent takes from its last pass is doubted in every schedule; here it is wrong, and the doubt says so."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.fakes.kernel import Kernel
from tests.unit.simulation.schedules import Profile, Step, play
from wirecrypt.agent.steps import deciding
from wirecrypt.agent.view import standing
from wirecrypt.agent.view.standing import StandingDecision
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
    ],
)
def test_what_stands_though_it_does_not_is_noticed(
    wrong: Callable[[pytest.MonkeyPatch], None], steps: tuple[Step, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each fact that a decision rests on, left out of the comparison, makes one stand that would be another now."""
    wrong(monkeypatch)
    with pytest.raises(AssertionError, match=r"what was read of|what stands of|what . should have|is taken for settled"):
        play(TWO, 1, steps)
