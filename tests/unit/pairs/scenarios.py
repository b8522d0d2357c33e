"""Small stories about pairs in which a rule of the protocol matters; most come from counterexamples of the models.

Each raises AssertionError (a `Violation`, where the simulator finds it) when something is not as it must be.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tests.unit.pairs.schedules import PROFILES, drawn, play
from tests.unit.pairs.simulated_state import TIMING as SIMULATED
from tests.unit.pairs.simulated_state import Datagram
from tests.unit.pairs.simulator import World, steady
from tests.unit.pairs.views import (
    JOINING,
    LEAVING,
    NOW,
    TIMING,
    esp,
    g,
    heard,
    long_after,
    own,
    receiving,
    session,
    view,
    whole,
)
from wirecrypt.model.objects import Phase
from wirecrypt.model.session import Word
from wirecrypt.pairs import probing, sessions
from wirecrypt.pairs.decide import Observed, Out, Receive
from wirecrypt.pairs.memory import Memory
from wirecrypt.plan import policies


def renewal() -> None:
    """Renew one end of a protected pair: no datagram finds no SA, and all comes to rest on the new generation."""
    world = steady("ab")
    for name in "ab":
        world.agents[name].wanted_renewal = True
        world.run(name, 1.0)
        world.calm()
    assert world.unreceived == 0


def fewer_lanes() -> None:
    """Lower the number of lanes of one end from one session to the next."""
    world = steady("ab", lanes=(3, 3))
    world.agents["b"].lanes = 1
    world.agents["b"].wanted_renewal = True
    world.calm()


def flushed() -> None:
    """Flush the SAs of a pair at one end."""
    world = steady("ab")
    world.wipe("a", "b")
    world.calm()


def flushed_half() -> None:
    """Lose the sending SAs of a pair at one end."""
    world = steady("ab")
    kernel = world.kernels["a"]
    for key in [k for k, sa in kernel.sas.items() if sa.set_mark is None]:
        del kernel.sas[key]
        world.forgive("a", key)
    world.calm()


def numbers_wrap() -> None:
    """Take the next number when the one after the last has the residue of the one in use."""
    world = steady("ab")
    world.agents["a"].tmpfs.last = 64
    world.agents["a"].wanted_renewal = True
    world.calm()


def old_view_after_restart() -> None:
    """Restart an agent with a view that is older than the generation in use."""
    world = steady("ab")
    world.agents["b"].wanted_renewal = True
    old = len(world.history)
    world.calm()
    world.crash("a", stale=len(world.history) - old)
    for _ in range(4):
        world.agents["a"].run()
        world.check()
    world.calm()


def full_pair() -> None:
    """Renew a node three times while the agent of one peer hears but cannot answer: another peer gets every session."""
    world = steady("abc", lanes=(1, 1, 1))
    for _ in range(4):
        world.agents["a"].wanted_renewal = True
        world.run("ac", 2.0)
        world.kernels["a"].touched |= set(world.kernels["a"].sas)
    used = world.agents["c"].turns[world.ids["a"].node_uid].view.observed.in_use
    assert used is not None
    assert used.lo == world.agents["a"].tmpfs.last, "a peer waits for one that is down"
    world.calm()


def peer_down() -> None:
    """Renew a node four times while a peer that joined is down: it finds a generation in common when it comes back."""
    world = World("ab", lanes=(1, 1))
    world.rotate(1, Phase.COMPLETE)
    world.label("a")
    world.label("b")
    world.run("b", 0.5)
    for _ in range(5):
        world.agents["a"].wanted_renewal = True
        world.run("a", 1.0)
    world.calm()


def candidate_dropped(*, receiving_too: bool = False) -> None:
    """Take back a candidate's sending SAs just when the peer gets the answer that proves it."""
    world = steady("ab", lanes=(1, 1))
    world.agents["a"].wanted_renewal = True
    world.run("a", 0.5)
    world.run("b", 0.1)
    world.advance(2 * SIMULATED.patience)  # a is silent for so long that b probes without a sign
    world.agents["b"].run()
    for probe in [d for d in world.network if d.probe]:
        world.agents["a"].receive(probe)
    world.drop_candidate("a", receiving=receiving_too)
    for answer in [d for d in world.network if not d.probe]:
        world.agents["b"].receive(answer)
    world.agents["b"].run()
    used = next(iter(world.agents["b"].turns.values())).decision.in_use
    assert used == g(2, 1), "the scenario misses its moment"
    world.check()
    world.calm()


def waits_for_installation() -> None:
    """Hold an own session whose generation towards a published peer is not installed."""
    mine = (own(1), own(2, published=False))
    seen = view(esp(g(1, 1), {g(1, 1): whole()}), own_sessions=mine)
    assert not sessions.publishable(mine, [(seen, long_after(seen))])


def joining(*, until: str, then: Callable[[World], None]) -> Callable[[], None]:
    """Return: two nodes join without a controller until node a's traffic is as said; then something happens."""

    def scenario() -> None:
        world = World("ab", lanes=(1, 1))
        world.rotate(1, Phase.COMPLETE)
        world.label("a")
        world.label("b")
        controller = world.control
        world.control = lambda: None  # type: ignore[method-assign]  # nobody becomes Active before the fault
        for _ in range(200):
            world.round()
            world.advance(0.02)
            turn = next(iter(world.agents["a"].turns.values()), None)
            if turn is not None and until in (turn.view.observed.out.value, turn.view.observed.receive.value):
                break
        then(world)
        for _ in range(5):
            world.round()
            world.advance(0.02)
        world.control = controller  # type: ignore[method-assign]  # as it was
        world.calm()

    return scenario


def joins() -> None:
    """Join two nodes, a third, with every step of every agent visible to all others."""
    for seed in range(6):
        play(PROFILES["joining"], drawn(PROFILES["joining"], seed))


def restart(world: World) -> None:
    """Restart node a's agent."""
    world.crash("a")


def reboot_peer(world: World) -> None:
    """Reboot node b."""
    world.reboot("b")


def reboot_before_the_word() -> None:
    """Reboot a node that sends ESP already while its peer still sends plaintext."""
    world = World("ab", lanes=(1, 1))
    world.rotate(1, Phase.COMPLETE)
    world.label("a")
    world.label("b")
    for _ in range(400):
        world.round("ab")
        world.network.clear()
        out = {n: t.view.observed.out for n in "ab" for t in world.agents[n].turns.values()}
        if out.get("a") is Out.ESP:
            break
        for datagram in _probes_of_a(world):
            world.agents["b"].receive(datagram)
            for answer in [d for d in world.network if d.receiver == "a"]:
                world.agents["a"].receive(answer)
        world.network.clear()
        world.advance(0.02)
    world.agents["a"].run()
    world.agents["a"].run()
    world.reboot("a")
    world.check()
    world.calm()


def _probes_of_a(world: World) -> list[Datagram]:
    world.agents["a"].run()
    return [d for d in world.network if d.receiver == "b" and d.probe]


def leaves() -> None:
    """Unlabel one node of a protected pair, then label it again."""
    world = steady("ab", lanes=(1, 1))
    world.unlabel("a")
    world.calm()
    world.label("a")
    world.calm()


def leaves_with_schedules() -> None:
    """Leave under random schedules."""
    for seed in range(12):
        play(PROFILES["leaving"], drawn(PROFILES["leaving"], seed))


def phase_decides() -> None:
    """Reboot a node while a rotation distributes keys: its Secret has the new one already, its peer's does not."""
    world = steady("ab", lanes=(1, 1))
    world.secrets.add(2)
    world.late.add("b")
    world.rotate(2, Phase.DISTRIBUTING)
    world.reboot("a")
    world.calm()


def rotates() -> None:
    """Rotate to a new epoch."""
    world = steady("ab", lanes=(1, 1))
    world.rotate(2)
    world.calm()


def both_epochs_at_once() -> None:
    """Hold an unpublished session of each of two epochs: the older one is the newest of its epoch."""
    seen = view(
        Observed({g(2, 1): whole()}, Out.BLOCK, None, Receive.REQUIRED),
        own_sessions=(own(2, published=False), own(3, 2, published=False)),
    )
    assert g(2, 1) in long_after(seen).keep


def never_published() -> None:
    """Hold SAs of an own session that was overtaken before it was published."""
    seen = view(
        esp(g(1, 1), {g(1, 1): whole(), g(2, 1): whole(1)}),
        own_sessions=(own(1), own(2, published=False), own(3, published=False)),
    )
    assert set(long_after(seen).keep) == {g(1, 1), g(3, 1)}


def not_listed_but_newer() -> None:
    """Hear a word of a peer that has not installed a candidate yet, and may still do so."""
    seen = view(
        esp(g(1, 1), {g(1, 1): whole(), g(2, 1): whole(1)}),
        own_sessions=(own(1), own(2), own(3, published=False)),
        peer_sessions=(session(1),),
    )
    decision = long_after(seen, Memory(word=heard(g(1, 1), in_use=g(1, 1))))
    assert g(2, 1) in decision.keep


def overtaken_by_the_peer() -> None:
    """Hear a word of a peer that skipped a candidate: no newer generation is listed, its own number went on."""
    seen = view(esp(g(1, 1), {g(1, 1): whole(), g(1, 2): whole(1)}), peer_sessions=(session(3),))
    decision = long_after(seen, Memory(word=heard(g(1, 1), in_use=g(1, 1), newest=3)))
    assert g(1, 2) not in decision.keep


def own_target_stays() -> None:
    """Hear that the peer has something newer than the own target, which an old view of the API gave."""
    installed = {g(1, 1): whole(), g(1, 2): whole(1)}
    seen = view(esp(g(1, 1), installed), own_is_lo=False, own_id=17, peer_id=16, own_sessions=(own(1), own(2)))
    decision = long_after(seen, Memory(word=heard(g(1, 1), g(2, 1), in_use=g(1, 1), newest=2)))
    assert decision.target == g(1, 2)
    assert decision.keep.get(g(1, 2)) == (True, True)


def every_lane_proved() -> None:
    """Get answers on one of two lanes."""
    seen = view(esp(g(1, 1), {g(1, 1): whole(lanes=2), g(2, 1): whole(1, lanes=2)}), own_sessions=(own(1), own(2)))
    decision = long_after(seen, Memory(proved={g(2, 1): frozenset({0})}))
    assert decision.in_use == g(1, 1)


def every_candidate_probed() -> None:
    """Have two candidates: the peer may have only the older one."""
    installed = {g(1, 1): whole(), g(2, 1): whole(1), g(3, 1): whole(2)}
    seen = view(esp(g(1, 1), installed), own_sessions=(own(1), own(2), own(3)))
    due = probing.schedule(seen, Memory(), NOW, TIMING)
    assert {d.generation for d in due if d.need is probing.Need.PROVE} == {g(2, 1), g(3, 1)}


def old_boot_dead() -> None:
    """See the peer's session of a newer boot."""
    seen = view(esp(g(1, 1), {g(1, 1): whole()}), peer_sessions=(session(2),), peer_boot_session=2)
    decision = long_after(seen)
    assert decision.out is Out.BLOCK
    assert g(1, 1) not in decision.keep


def old_boot_said_esp() -> None:
    """Hear from an older boot that it sends ESP; the rebooted peer, which was not on disk, sends plaintext."""
    optional = Observed({g(1, 2): whole()}, Out.BLOCK, None, Receive.OPTIONAL)
    seen = view(optional, own_state=JOINING, peer_state=JOINING, peer_sessions=(session(2),), peer_boot_session=2)
    for newest in (1, 2):  # 2: made and never published by the older boot, then made again
        said = heard(g(1, 1), in_use=g(1, 1), newest=newest)
        assert long_after(seen, Memory(word=said)).receive is Receive.OPTIONAL


def oldest_in_use() -> None:
    """Die in the middle of a switch: one lane's policy points at the new generation, the others at the old."""
    world = steady("ab", lanes=(2, 2))
    kernel = world.kernels["a"]
    lane = next(p for p in kernel.policies.values() if p.priority == policies.PRIORITY_LANE)
    spi = g(2, 1).spi(world.ids["a"].node_id, 1)
    kernel.policies[lane.name] = replace(lane, templates=(replace(lane.templates[0], spi=spi, reqid=spi),))
    world.agents["a"].begin()
    assert next(iter(world.agents["a"].turns.values())).view.observed.in_use == g(1, 1)


def unmarked_control_blocked() -> None:
    """Send a control datagram whose policy is missing: it must not leave over another SA, nor in plaintext."""
    world = steady("ab")
    kernel = world.kernels["a"]
    control = [n for n, p in kernel.policies.items() if p.priority == policies.PRIORITY_CONTROL and p.mark is not None]
    for name in control:
        del kernel.policies[name]
    kernel.version += 1
    assert control
    world.expect_control_blocked("a", "b")


def on_the_peers_word() -> None:
    """Require ESP before the peer said that it sends it."""
    for seed in range(12):
        play(PROFILES["joining"], drawn(PROFILES["joining"], seed))


def ready_before_it_requires() -> None:
    """Send ESP, be on disk, and not require yet: not ready."""
    ready_needs(Observed({g(1, 1): whole()}, Out.ESP, g(1, 1), Receive.OPTIONAL), marked=True)


def ready_before_it_is_on_disk() -> None:
    """Send ESP and require it, and not be on disk yet: not ready."""
    ready_needs(esp(g(1, 1), {g(1, 1): whole()}), marked=False)


def withdrawing_schedules() -> None:
    """Renew again and again, with messages lost and late."""
    for seed in (55, 78, 100, 103):
        play(PROFILES["renewals"], drawn(PROFILES["renewals"], seed), lanes=(1, 1))


def ready_needs(observed: Observed, *, marked: bool) -> None:
    """Assert that an end in this state does not report itself ready."""
    seen = view(observed, own_state=JOINING, peer_state=JOINING, marked=marked)
    assert not long_after(seen).ready


def peer_may_not_know() -> None:
    """Hear that the peer sends plaintext while it may not know yet that this end does."""
    seen = view(Observed({g(1, 1): receiving()}, Out.PLAIN, None, Receive.OPTIONAL), own_state=LEAVING)
    said = Word(frozenset({g(1, 1)}), None, 1, accepts_plain=True, sends_plain=True)
    assert not long_after(seen, Memory(word=said)).remove_all
