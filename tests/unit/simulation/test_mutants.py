"""Each rule about what is absent, who may speak for whom, one bad node, and the order within a pass is needed.

Without it a schedule goes wrong that passes with the rule. What the judge sees is so shown to be seen. The passes are those of
the real agents and the real controller, so what is done too early or too late there is found here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
import structlog

from tests.unit.simulation import mutations
from tests.unit.simulation.schedules import Profile, Step, play

pytestmark = pytest.mark.simulation

SEED = 1
TWO, THREE = Profile(names="ab", labelled="ab"), Profile()
ONE_MUTE, ONE_PLAIN = Profile(mute="c"), Profile(labelled="ab")


@dataclass(frozen=True, slots=True)
class Mutant:
    """*without* takes a rule out; then the schedule of *steps* goes wrong, in these words."""

    without: Callable[[pytest.MonkeyPatch], None]
    wrong: str
    profile: Profile
    steps: tuple[Step, ...] = ()


MUTANTS = {
    "entry-gone-ends-claim": Mutant(mutations.entry_gone_ends_claim, "a blocks", TWO, ((0.0, "entry_gone", "b", 2),)),
    "deleted-object-is-a-farewell": Mutant(
        mutations.deleted_object_is_a_farewell, "guard lets", TWO, ((0.0, "peer_deleted", "b", 1),)
    ),
    "missing-object-is-a-farewell": Mutant(
        mutations.missing_object_is_a_farewell,
        "a blocks",
        TWO,
        ((0.0, "controller_away", "a", 25), (0.0, "peer_deleted", "b", 0), (12.0, "restart", "a", 1)),
    ),
    "vanished-node-is-a-farewell": Mutant(
        mutations.vanished_node_is_a_farewell, "guard lets", TWO, ((0.0, "removed", "b", 1),)
    ),
    "removed-is-passed": Mutant(
        mutations.removed_is_passed,
        "in clear again",
        THREE,
        ((0.0, "removed", "b", 0), (70.0, "controller_away", "a", 5), (0.0, "born", "b", 1)),
    ),
    "identity-by-address": Mutant(
        mutations.identity_by_address, "not finished", TWO, ((0.0, "recycled", "b", 1), (8.0, "restart", "b", 1))
    ),
    "numbers-begin-again": Mutant(
        mutations.numbers_begin_again,
        "not finished with what is down: a → b",
        TWO,
        ((0.0, "renewal", "b", 0), (8.0, "reboot", "b", 1), (0.03, "peer_deleted", "b", 1)),
    ),
    "numbers-are-enough": Mutant(
        mutations.numbers_are_enough,
        "c is Joining",
        ONE_PLAIN,
        ((0.0, "label_set", "c", 0), (0.7, "reboot", "c", 1), (0.03, "peer_deleted", "c", 1)),
    ),
    "any-copy-tells": Mutant(
        mutations.any_copy_tells,
        "by which c sends to it",
        ONE_PLAIN,
        ((0.0, "label_set", "c", 0), (0.7, "reboot", "c", 1), (0.03, "peer_deleted", "c", 1), (4.0, "restart", "a", 0)),
    ),
    "a-name-is-a-word": Mutant(  # ◆R46
        mutations.a_name_is_a_word, "in clear again", TWO, ((0.0, "recycled", "b", 526), (2.0, "restart", "a", 0))
    ),
    "leave-waits-for-who-is-cut-off": Mutant(
        mutations.leave_waits_for_who_is_cut_off,
        "b is Leaving",
        THREE,
        ((0.0, "hostile", "c", 1), (0.0, "rotate_without", "c", 0), (40.0, "label_off", "b", 0)),
    ),
    "lost-is-left": Mutant(
        mutations.lost_is_left, "a → b: ", TWO, ((0.0, "label_off", "b", 0), (0.0, "kinds_replaced", "b", 2))
    ),
    "plain-entry-gone-ends-claim": Mutant(
        mutations.plain_entry_gone_ends_claim, "a blocks", ONE_PLAIN, ((0.0, "lists_gone", "c", 2),)
    ),
    "plain-entry-gone-is-free": Mutant(
        mutations.plain_entry_gone_is_free,
        "sent in clear by d",
        Profile(names="abcd", labelled="abc"),
        ((0.03, "entry_gone", "d", 704), (0.2, "hostile", "c", 675)),
    ),
    "boot-blocks-of-another-address-stay": Mutant(
        mutations.boot_blocks_of_another_address_stay,
        "not finished with what is down: a → b",
        TWO,
        ((3.0, "label_off", "a", 0), (1.1, "recycled", "b", 2)),
    ),
    "former-self-kept": Mutant(
        mutations.former_self_kept, "not finished", TWO, ((0.0, "reboot", "a", 0), (10.0, "recycled", "a", 929))
    ),
    "hostile-number-followed": Mutant(
        mutations.hostile_number_followed, "rotation .* is Phase.PENDING", THREE, ((0.0, "hostile", "c", 1),)
    ),
    "leave-waits-for-the-dead": Mutant(
        mutations.leave_waits_for_the_dead, "b is Leaving", THREE, ((0.0, "off", "c", 1), (0.0, "label_off", "b", 0))
    ),
    "silent-peer-holds-active": Mutant(mutations.silent_peer_holds_active, "a is Joining", ONE_MUTE),
    "exclusion-becomes-plaintext": Mutant(
        mutations.exclusion_becomes_plaintext,
        "guard lets",
        TWO,
        ((0.0, "hostile", "b", 1), (0.0, "rotate_without", "b", 0), (40.0, "restart", "a", 1)),
    ),
    "laggards-hold-everything-up": Mutant(
        mutations.laggards_hold_everything_up,
        "rotation .* is Phase.SWITCHING: waits for b",
        THREE,
        ((0.0, "off", "b", 0), (0.0, "rotate", "a", 0)),
    ),
    "lost-words-are-consent": Mutant(
        mutations.lost_words_are_consent,
        "of epoch 1 when asked-3 is complete",
        TWO,
        ((0.0, "cut_off", "a", 0), (0.0, "cut_off", "b", 0), (0.0, "kinds_replaced", "a", 0), (1.0, "rotate", "a", 0)),
    ),
    "made-again-without-its-claims": Mutant(
        mutations.made_again_without_its_claims,
        "b does not get",
        TWO,
        ((0.0, "entry_gone", "b", 0), (7.0, "peer_deleted", "b", 1)),
    ),
    "former-of-who-left": Mutant(
        mutations.former_of_who_left,
        "a blocks",
        TWO,
        ((0.0, "label_off", "b", 0), (20.0, "controller_away", "a", 0), (0.0, "label_set", "b", 0), (3.0, "restart", "b", 1)),
    ),
    "guard-last": Mutant(mutations.guard_last, "a blocks", TWO, ((0.0, "label_off", "a", 0),)),
    "policies-go-before-the-guard-opens": Mutant(
        mutations.policies_go_before_the_guard_opens, "a blocks", TWO, ((0.0, "label_off", "a", 0),)
    ),
    "sas-go-before-policies": Mutant(
        mutations.sas_go_before_policies,
        "which its policies point at",
        TWO,
        ((0.0, "reboot", "a", 0), (0.0, "renewal", "a", 0)),
    ),
    "listed-once-installed": Mutant(
        mutations.listed_once_installed,
        "with the same key twice",
        TWO,
        ((0.0, "crash", "a", 1), (0.0, "renewal", "a", 0), (0.02, "wiped", "a", 0)),
    ),
    "former-for-ever": Mutant(
        mutations.former_for_ever,
        "a blocks",
        THREE,
        ((0.0, "off", "c", 1), (0.4, "label_off", "b", 0), (14.0, "reboot", "a", 1)),
    ),
}


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Log nothing: what is told of a schedule is its story."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    yield
    structlog.configure(**before)


@pytest.mark.parametrize("name", MUTANTS)
def test_with_the_rule_all_comes_right(name: str) -> None:
    """The schedule passes."""
    play(MUTANTS[name].profile, SEED, MUTANTS[name].steps)


@pytest.mark.parametrize("name", MUTANTS)
def test_without_the_rule_it_goes_wrong(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same schedule does not, and the judge says what is wrong."""
    mutant = MUTANTS[name]
    mutant.without(monkeypatch)
    with pytest.raises(AssertionError, match=mutant.wrong):
        play(mutant.profile, SEED, mutant.steps)
