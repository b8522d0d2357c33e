"""Small stories about pairs in which a rule of the protocol matters; most come from counterexamples of the models.

Each raises AssertionError (a `Violation`, where the simulator finds it) when something is not as it must be.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tests.unit.pairs.schedules import PROFILES, drawn, play
from tests.unit.pairs.simulated_state import TIMING as SIMULATED
from tests.unit.pairs.simulated_state import Datagram
from tests.unit.pairs.simulator import SimulatedCluster, steady
from tests.unit.pairs.views import (
    JOINING,
    LEAVING,
    NOW,
    TIMING,
    complete,
    esp,
    g,
    heard,
    inputs,
    long_after,
    own,
    receiving,
    session,
)
from wirecrypt.model.mark import SLOTS
from wirecrypt.model.objects import Phase
from wirecrypt.model.session import Announcement
from wirecrypt.pairs import probing, sessions
from wirecrypt.pairs.inputs import Observed, Out, Receive
from wirecrypt.pairs.memory import PairMemory
from wirecrypt.plan import policies


def renewal() -> None:
    """Renew one end of a protected pair: no datagram finds no SA, and all comes to rest on the new generation."""
    cluster = steady("ab")
    for name in "ab":
        cluster.agents[name].wanted_renewal = True
        cluster.run(name, 1.0)
        cluster.calm()
    assert cluster.unreceived == 0


def fewer_lanes() -> None:
    """Lower the number of lanes of one end from one session to the next."""
    cluster = steady("ab", lanes=(3, 3))
    cluster.agents["b"].lanes = 1
    cluster.agents["b"].wanted_renewal = True
    cluster.calm()


def flushed() -> None:
    """Flush the SAs of a pair at one end."""
    cluster = steady("ab")
    cluster.wipe("a", "b")
    cluster.calm()


def flushed_again_and_again() -> None:
    """Delete one end's receiving SAs whenever the peer has heard over the new ones, until the peer has no room left."""
    cluster = steady("ab", lanes=(1, 1))
    kernel = cluster.kernels["a"]
    for _ in range(4):
        for key in [k for k, sa in kernel.sas.items() if sa.receives]:
            del kernel.sas[key]
            cluster.forgive("a", key)
        cluster.check()
        for _ in range(8):
            for name in "ab":
                cluster.sync(name)
                cluster.agents[name].run()
                cluster.network = [datagram for datagram in cluster.network if datagram.receiver == "b"]
                while cluster.network:
                    cluster.deliver(0)
                cluster.check()
            cluster.advance(0.02)
    assert len(cluster.agents["b"].pair_views[cluster.ids["a"].node_uid].inputs.observed.installed) == SLOTS
    cluster.calm(120)


def flushed_half() -> None:
    """Lose the sending SAs of a pair at one end."""
    cluster = steady("ab")
    kernel = cluster.kernels["a"]
    for key in [k for k, sa in kernel.sas.items() if not sa.receives]:
        del kernel.sas[key]
        cluster.forgive("a", key)
    cluster.calm()


def numbers_wrap() -> None:
    """Take the next number when the one after the last has the residue of the one in use."""
    cluster = steady("ab")
    cluster.agents["a"].tmpfs.last = 64
    cluster.agents["a"].wanted_renewal = True
    cluster.calm()


def old_view_after_restart() -> None:
    """Restart an agent with a view that is older than the generation in use."""
    cluster = steady("ab")
    cluster.agents["b"].wanted_renewal = True
    old = len(cluster.history)
    cluster.calm()
    cluster.crash("a", stale=len(cluster.history) - old)
    for _ in range(4):
        cluster.agents["a"].run()
        cluster.check()
    cluster.calm()


def full_pair() -> None:
    """Renew a node three times while the agent of one peer hears but cannot answer: another peer gets every session."""
    cluster = steady("abc", lanes=(1, 1, 1))
    for _ in range(4):
        cluster.agents["a"].wanted_renewal = True
        cluster.run("ac", 0.6)  # shorter than a silence that says something
        cluster.kernels["a"].touched |= set(cluster.kernels["a"].sas)
    used = cluster.agents["c"].pair_views[cluster.ids["a"].node_uid].inputs.observed.in_use
    assert used is not None
    assert used.lo == cluster.agents["a"].tmpfs.last, "a peer waits for one that is down"
    cluster.calm()


def peer_down() -> None:
    """Renew a node four times while a peer that joined is down: it finds a generation in common when it comes back."""
    cluster = SimulatedCluster("ab", lanes=(1, 1))
    cluster.rotate(1, Phase.COMPLETE)
    cluster.label("a")
    cluster.label("b")
    cluster.run("b", 0.5)
    for _ in range(5):
        cluster.agents["a"].wanted_renewal = True
        cluster.run("a", 1.0)
    cluster.calm()


def leaver_with_a_dead_peer() -> None:
    """Let a node leave while one of its peers is off: it finishes without it, and the one that comes back holds no pair."""
    cluster = steady("abc", lanes=(1, 1, 1))
    cluster.power_off("c")
    cluster.unlabel("b")
    cluster.run("ab", 60.0)
    assert "b" not in cluster.api, "it waits for a peer that is off"
    cluster.power_on("c")
    cluster.calm()
    cluster.slept.clear()
    for name in "abc":
        cluster.kernels[name].version += 1
    cluster.check()


def candidate_dropped(*, receiving_too: bool = False) -> None:
    """Take back a candidate's sending SAs just when the peer gets the answer that proves it."""
    cluster = steady("ab", lanes=(1, 1))
    cluster.agents["a"].wanted_renewal = True
    cluster.run("a", 0.5)
    cluster.run("b", 0.1)
    cluster.advance(2 * SIMULATED.patience)  # a is silent for so long that b probes without a sign
    cluster.agents["b"].run()
    for probe in [d for d in cluster.network if d.probe]:
        cluster.agents["a"].receive(probe)
    cluster.drop_candidate("a", receiving=receiving_too)
    for answer in [d for d in cluster.network if not d.probe]:
        cluster.agents["b"].receive(answer)
    cluster.agents["b"].run()
    used = next(iter(cluster.agents["b"].pair_views.values())).decision.in_use
    assert used == g(2, 1), "the scenario misses its moment"
    cluster.check()
    cluster.calm()


def waits_for_installation() -> None:
    """Hold an own session whose generation towards a published peer is not installed."""
    mine = (own(1), own(2, published=False))
    seen = inputs(esp(g(1, 1), {g(1, 1): complete()}), own_sessions=mine)
    assert not sessions.publishable(mine, [(seen, long_after(seen))])


def joining(*, until: str, then: Callable[[SimulatedCluster], None]) -> Callable[[], None]:
    """Return: two nodes join without a controller until node a's traffic is as said; then something happens."""

    def scenario() -> None:
        cluster = SimulatedCluster("ab", lanes=(1, 1))
        cluster.rotate(1, Phase.COMPLETE)
        cluster.label("a")
        cluster.label("b")
        controller = cluster.control
        cluster.control = lambda: None  # type: ignore[method-assign]  # nobody becomes Active before the fault
        for _ in range(200):
            cluster.round()
            cluster.advance(0.02)
            pair_view = next(iter(cluster.agents["a"].pair_views.values()), None)
            if pair_view is not None and until in (
                pair_view.inputs.observed.out.value,
                pair_view.inputs.observed.receive.value,
            ):
                break
        then(cluster)
        for _ in range(5):
            cluster.round()
            cluster.advance(0.02)
        cluster.control = controller  # type: ignore[method-assign]  # as it was
        cluster.calm()

    return scenario


def joins() -> None:
    """Join two nodes, a third, with every step of every agent visible to all others."""
    for seed in range(6):
        play(PROFILES["joining"], drawn(PROFILES["joining"], seed))


def restart(cluster: SimulatedCluster) -> None:
    """Restart node a's agent."""
    cluster.crash("a")


def reboot_peer(cluster: SimulatedCluster) -> None:
    """Reboot node b."""
    cluster.reboot("b")


def reboot_before_the_word() -> None:
    """Reboot a node that sends ESP already while its peer still sends plaintext."""
    cluster = SimulatedCluster("ab", lanes=(1, 1))
    cluster.rotate(1, Phase.COMPLETE)
    cluster.label("a")
    cluster.label("b")
    for _ in range(400):
        cluster.round("ab")
        cluster.network.clear()
        out = {n: t.inputs.observed.out for n in "ab" for t in cluster.agents[n].pair_views.values()}
        if out.get("a") is Out.ESP:
            break
        for datagram in _probes_of_a(cluster):
            cluster.agents["b"].receive(datagram)
            for answer in [d for d in cluster.network if d.receiver == "a"]:
                cluster.agents["a"].receive(answer)
        cluster.network.clear()
        cluster.advance(0.02)
    cluster.agents["a"].run()
    cluster.agents["a"].run()
    cluster.reboot("a")
    cluster.check()
    cluster.calm()


def _probes_of_a(cluster: SimulatedCluster) -> list[Datagram]:
    cluster.agents["a"].run()
    return [d for d in cluster.network if d.receiver == "b" and d.probe]


def leaves() -> None:
    """Unlabel one node of a protected pair, then label it again."""
    cluster = steady("ab", lanes=(1, 1))
    cluster.unlabel("a")
    cluster.calm()
    cluster.label("a")
    cluster.calm()


def leaves_with_schedules() -> None:
    """Leave under random schedules."""
    for seed in range(12):
        play(PROFILES["leaving"], drawn(PROFILES["leaving"], seed))


def phase_decides() -> None:
    """Reboot a node while a rotation distributes keys: its Secret has the new one already, its peer's does not."""
    cluster = steady("ab", lanes=(1, 1))
    cluster.secrets.add(2)
    cluster.late.add("b")
    cluster.rotate(2, Phase.DISTRIBUTING)
    cluster.reboot("a")
    cluster.calm()


def rotates() -> None:
    """Rotate to a new epoch."""
    cluster = steady("ab", lanes=(1, 1))
    cluster.rotate(2)
    cluster.calm()


def both_epochs_at_once() -> None:
    """Hold an unpublished session of each of two epochs: the older one is the newest of its epoch."""
    seen = inputs(
        Observed({g(2, 1): complete()}, Out.BLOCK, None, Receive.REQUIRED),
        own_sessions=(own(2, published=False), own(3, 2, published=False)),
    )
    assert g(2, 1) in long_after(seen).keep


def never_published() -> None:
    """Hold SAs of an own session that was overtaken before it was published."""
    seen = inputs(
        esp(g(1, 1), {g(1, 1): complete(), g(2, 1): complete(1)}),
        own_sessions=(own(1), own(2, published=False), own(3, published=False)),
    )
    assert set(long_after(seen).keep) == {g(1, 1), g(3, 1)}


def not_listed_but_newer() -> None:
    """Hear a word of a peer that has not installed a candidate yet, and may still do so."""
    seen = inputs(
        esp(g(1, 1), {g(1, 1): complete(), g(2, 1): complete(1)}),
        own_sessions=(own(1), own(2), own(3, published=False)),
        peer_sessions=(session(1),),
    )
    decision = long_after(seen, PairMemory(announcement=heard(g(1, 1), in_use=g(1, 1))))
    assert g(2, 1) in decision.keep


def overtaken_by_the_peer() -> None:
    """Hear a word of a peer that skipped a candidate: no newer generation is listed, its own number went on."""
    seen = inputs(esp(g(1, 1), {g(1, 1): complete(), g(1, 2): complete(1)}), peer_sessions=(session(3),))
    decision = long_after(seen, PairMemory(announcement=heard(g(1, 1), in_use=g(1, 1), newest=3)))
    assert g(1, 2) not in decision.keep


def own_target_stays() -> None:
    """Hear that the peer has something newer than the own target, which an old view of the API gave."""
    installed = {g(1, 1): complete(), g(1, 2): complete(1)}
    seen = inputs(esp(g(1, 1), installed), own_is_lo=False, own_id=17, peer_id=16, own_sessions=(own(1), own(2)))
    decision = long_after(seen, PairMemory(announcement=heard(g(1, 1), g(2, 1), in_use=g(1, 1), newest=2)))
    assert decision.target == g(1, 2)
    assert decision.keep.get(g(1, 2)) == (True, True)


def every_lane_proved() -> None:
    """Get answers on one of two lanes."""
    seen = inputs(esp(g(1, 1), {g(1, 1): complete(lanes=2), g(2, 1): complete(1, lanes=2)}), own_sessions=(own(1), own(2)))
    decision = long_after(seen, PairMemory(proved={g(2, 1): frozenset({0})}))
    assert decision.in_use == g(1, 1)


def every_candidate_probed() -> None:
    """Have two candidates: the peer may have only the older one."""
    installed = {g(1, 1): complete(), g(2, 1): complete(1), g(3, 1): complete(2)}
    seen = inputs(esp(g(1, 1), installed), own_sessions=(own(1), own(2), own(3)))
    due = probing.schedule(seen, PairMemory(), NOW, TIMING)
    assert {d.generation for d in due if d.need is probing.ProbeReason.PROVE} == {g(2, 1), g(3, 1)}


def old_boot_dead() -> None:
    """See the peer's session of a newer boot."""
    seen = inputs(esp(g(1, 1), {g(1, 1): complete()}), peer_sessions=(session(2),), peer_boot_session=2)
    decision = long_after(seen)
    assert decision.out is Out.BLOCK
    assert g(1, 1) not in decision.keep


def old_boot_said_esp() -> None:
    """Hear from an older boot that it sends ESP; the rebooted peer, which was not on disk, sends plaintext."""
    optional = Observed({g(1, 2): complete()}, Out.BLOCK, None, Receive.OPTIONAL)
    seen = inputs(optional, own_state=JOINING, peer_state=JOINING, peer_sessions=(session(2),), peer_boot_session=2)
    for newest in (1, 2):  # 2: made and never published by the older boot, then made again
        said = heard(g(1, 1), in_use=g(1, 1), newest=newest)
        assert long_after(seen, PairMemory(announcement=said)).receive is Receive.OPTIONAL


def oldest_in_use() -> None:
    """Die in the middle of a switch: one lane's policy points at the new generation, the others at the old."""
    cluster = steady("ab", lanes=(2, 2))
    kernel = cluster.kernels["a"]
    lane = next(p for p in kernel.policies.values() if p.priority == policies.PRIORITY_LANE)
    spi = g(2, 1).spi(cluster.ids["a"].node_id, 1)
    kernel.policies[lane.name] = replace(lane, templates=(replace(lane.templates[0], spi=spi, reqid=spi),))
    cluster.agents["a"].begin()
    assert next(iter(cluster.agents["a"].pair_views.values())).inputs.observed.in_use == g(1, 1)


def unmarked_control_blocked() -> None:
    """Send a control datagram whose policy is missing: it must not leave over another SA, nor in plaintext."""
    cluster = steady("ab")
    kernel = cluster.kernels["a"]
    control = [n for n, p in kernel.policies.items() if p.priority == policies.PRIORITY_CONTROL and p.mark is not None]
    for name in control:
        del kernel.policies[name]
    kernel.version += 1
    assert control
    cluster.expect_control_blocked("a", "b")


def on_the_peers_word() -> None:
    """Require ESP before the peer said that it sends it."""
    for seed in range(12):
        play(PROFILES["joining"], drawn(PROFILES["joining"], seed))


def ready_before_it_requires() -> None:
    """Send ESP, be on disk, and not require yet: not ready."""
    ready_needs(Observed({g(1, 1): complete()}, Out.ESP, g(1, 1), Receive.OPTIONAL), marked=True)


def ready_before_it_is_on_disk() -> None:
    """Send ESP and require it, and not be on disk yet: not ready."""
    ready_needs(esp(g(1, 1), {g(1, 1): complete()}), marked=False)


def withdrawing_schedules() -> None:
    """Renew again and again, with messages lost and late."""
    for seed in (55, 78, 100, 103):
        play(PROFILES["renewals"], drawn(PROFILES["renewals"], seed), lanes=(1, 1))


def ready_needs(observed: Observed, *, marked: bool) -> None:
    """Assert that an end in this state does not report itself ready."""
    seen = inputs(observed, own_state=JOINING, peer_state=JOINING, marked=marked)
    assert not long_after(seen).ready


def peer_may_not_know() -> None:
    """Hear that the peer sends plaintext while it may not know yet that this end does."""
    seen = inputs(Observed({g(1, 1): receiving()}, Out.PLAIN, None, Receive.OPTIONAL), own_state=LEAVING)
    said = Announcement(frozenset({g(1, 1)}), None, 1, accepts_plain=True, sends_plain=True)
    assert not long_after(seen, PairMemory(announcement=said)).remove_all
