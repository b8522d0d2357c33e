"""What an init container does before the agent: after a boot, block exactly the pairs that are on disk ◆.

Pods may run before the agent knows any key. A pair that still has policies was not lost (no reboot) and is left as it is.
Then the eBPF programs are compiled, so that a node that is labelled later has only to load them.
"""

from __future__ import annotations

from collections.abc import Callable

from wirecrypt import logs
from wirecrypt.agent.datapath import Datapath
from wirecrypt.agent.guarding import GuardKeeper
from wirecrypt.agent.statefile import Blocklist
from wirecrypt.errors import KernelError
from wirecrypt.model.session import Word
from wirecrypt.plan.diff import Wish, plan
from wirecrypt.plan.guard import wanted as guard_entries
from wirecrypt.plan.observe import Known
from wirecrypt.plan.policies import Layout, Senders, wanted
from wirecrypt.plan.snapshot import policies_of, sas_of
from wirecrypt.rotation.pair import Decision, Out, Receive
from wirecrypt.settings import Settings

log = logs.get(__name__)


def prepare(blocklist: Blocklist | None, datapath: Datapath, guarding: GuardKeeper, settings: Settings) -> int:
    """Block the pairs of *blocklist* that the kernel has nothing of; return how many. Raises `KernelError`."""
    if blocklist is None or not blocklist.peers:
        return 0
    kernel = datapath.snapshot()
    lost = [p for p in blocklist.pairs() if not policies_of(p, kernel) and not sas_of(p, kernel)]
    if not lost:
        return 0
    guarding.attach(blocklist.own.endpoints, (), settings, lanes=settings.lanes or 1)
    kernel = datapath.snapshot()
    layout = Layout(settings.mark.layout, settings.control_port)
    wishes = [Wish(p, _block(), Known({}, 0, 0, {}), (), tuple(wanted(p, _block(), Senders({}, {}), layout))) for p in lost]
    entries = dict(kernel.guard) | guard_entries(blocklist.own, [(p, _block()) for p in lost], (), ())
    for error in datapath.apply(plan(wishes, entries, kernel)).values():
        raise error
    for pair in lost:
        log.info("pair blocked until it is proved", peer=pair.peer.name)
    return len(lost)


def compile_ahead(compile_programs: Callable[[], bool]) -> None:
    """Compile what a label will need; a failure is told and nothing else, for the label will tell it again."""
    try:
        if compile_programs():
            log.info("programs compiled")
    except KernelError as error:
        log.warning("programs not compiled", error=str(error))


def _block() -> Decision:
    return Decision(
        out=Out.BLOCK,
        in_use=None,
        receive=Receive.REQUIRED,
        keep={},
        install=None,
        target=None,
        word=Word(frozenset(), None, 0),
        why="on disk as a pair to block at boot",
    )
