"""What an init container does before the agent: after a boot, block exactly the pairs that are on disk ◆R24.

Pods may run before the agent knows any key. The policies come first, within milliseconds; the guard, whose programs may have
to be compiled, is the second line. Without it the container fails, and is started again, while the policies block. A pair
that still has policies was not lost (no reboot) and is left as it is. Then the eBPF programs are compiled, so that a node
that is labelled later has only to load them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final

from wirecrypt import logs
from wirecrypt.agent.datapath.guard_attachment import GuardAttachment, guard_settings
from wirecrypt.agent.datapath.writes import Datapath
from wirecrypt.agent.store.blocklist import Blocklist
from wirecrypt.agent.view.pass_state import block
from wirecrypt.errors import KernelError, ObjectError
from wirecrypt.model.pair import Pair
from wirecrypt.pairs.decide import Decision
from wirecrypt.plan.diff import DesiredPair, in_the_way, plan
from wirecrypt.plan.guard_entries import wanted as guard_entries
from wirecrypt.plan.marks import esp_keeps_mark
from wirecrypt.plan.observe import KnownGenerations
from wirecrypt.plan.policies import Layout, Senders, wanted
from wirecrypt.plan.shared import shared
from wirecrypt.plan.snapshot import KernelSnapshot, policies_of, sas_of
from wirecrypt.ports import Guard, Links, Xfrm
from wirecrypt.settings import Settings

log = logs.get(__name__)
_WHY: Final = "on disk as a pair to block at boot"


def prepare(blocklist: Blocklist | None, xfrm: Xfrm, guard: Guard, links: Links, settings: Settings) -> int:
    """Block the pairs of *blocklist* that the kernel has nothing of; return how many.

    Raises `KernelError` when anything was refused, after all that could be done was done.
    """
    if blocklist is None or not blocklist.peers:
        return 0
    datapath = Datapath(xfrm, guard)
    lost, failed = _block_lost(blocklist, xfrm, datapath, Layout(settings.mark.layout, settings.control_port))
    _guard(blocklist, lost, datapath, GuardAttachment(guard, links), settings)
    for error in failed:
        raise error
    return len(lost)


def _block_lost(
    blocklist: Blocklist, xfrm: Xfrm, datapath: Datapath, layout: Layout
) -> tuple[list[Pair], Collection[KernelError]]:
    """Set the block policies of each pair that has nothing; return these pairs and what the kernel refused."""
    policies, others = xfrm.list_all_policies()
    kernel = KernelSnapshot.of([e.sa for e in xfrm.list_sas()], policies, (), foreign=others)
    lost = [p for p in blocklist.pairs() if _lost(p, kernel)]
    desired_pairs = [_blocked(pair, _block(blocklist, pair), layout) for pair in lost]
    for desired in desired_pairs:
        for foreign in filter(None, (in_the_way(policy, kernel) for policy in desired.policies)):
            log.error("a foreign policy stands where ours must be", peer=desired.pair.peer.name, object=foreign)
    failed = datapath.apply(plan(desired_pairs, {}, kernel, shared=tuple(shared(layout.marks))))
    for pair in lost:
        if pair.peer.name in failed:
            log.error("kernel refused", peer=pair.peer.name, error=str(failed[pair.peer.name]))
        else:
            log.info("pair blocked until it is proved", peer=pair.peer.name)
    return lost, failed.values()


def _block(blocklist: Blocklist, pair: Pair) -> Decision:
    return block(_WHY, exempt=pair.peer.node_uid in blocklist.exempt)


def _blocked(pair: Pair, decision: Decision, layout: Layout) -> DesiredPair:
    policies = tuple(wanted(pair, decision, Senders({}, {}), layout))
    return DesiredPair(pair, decision, KnownGenerations({}, 0, 0, {}), (), policies)


def _lost(pair: Pair, kernel: KernelSnapshot) -> bool:
    """Return whether the kernel has nothing of *pair*; one whose ends cannot be joined by a tunnel is left to the guard."""
    try:
        return not policies_of(pair, kernel) and not sas_of(pair, kernel)
    except ObjectError as error:
        log.error("pair left to the guard", peer=pair.peer.name, error=str(error))  # noqa: TRY400 - the message says all
        return False


def _guard(
    blocklist: Blocklist, lost: Collection[Pair], datapath: Datapath, guard_attachment: GuardAttachment, settings: Settings
) -> None:
    """Have the guard on the uplinks, with an entry for each lost pair and each that has none.

    One that is there already was not lost, and has the settings that the SAs next to it were made with: it keeps them.
    """
    kernel = datapath.snapshot()
    bare = [p for p in blocklist.pairs() if p in lost or not kernel.guard.keys() & set(p.peer.pod_cidrs)]
    if not bare:
        return
    if not guard_attachment.attached():
        keeps = esp_keeps_mark(kernel.sas.values())
        own, marks = blocklist.own, settings.mark.layout
        guard_attachment.attach(own, settings, guard_settings(own, settings, marks=marks, esp_keeps_mark=keeps))
    kernel = datapath.snapshot()
    entries = dict(kernel.guard) | guard_entries(blocklist.own, [(p, _block(blocklist, p)) for p in bare], (), ())
    for error in datapath.apply(plan((), entries, kernel)).values():
        raise error


def compile_ahead(compile_programs: Callable[[], bool]) -> None:
    """Compile what a label will need; a failure is told and nothing else, for the label will tell it again."""
    try:
        if compile_programs():
            log.info("programs compiled")
    except KernelError as error:
        log.warning("programs not compiled", error=str(error))
