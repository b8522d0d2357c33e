"""What is left in the kernel from tunnels of before, and when it may go: a peer that moves later still sends by it."""

from __future__ import annotations

from collections.abc import Mapping

from wirecrypt.agent.view.pass_state import PassState
from wirecrypt.errors import ObjectError
from wirecrypt.model.spi import Spi
from wirecrypt.plan.snapshot import KernelSnapshot, policies_of
from wirecrypt.plan.strays import Ends, Strays, strays
from wirecrypt.settings import Settings


def left_behind(pass_state: PassState, seen: Mapping[Ends, Strays] | None = None) -> Mapping[Ends, Strays]:
    """Return what no pair explains any more, by the two addresses it is between; nothing while a pair has no tunnel to tell.

    *seen*: what was left at the look before.
    """
    try:
        return strays(pass_state.known_pairs(), pass_state.own.node_id, pass_state.kernel, pass_state.marks, seen)
    except ObjectError:
        return {}


def of_predecessors(pass_state: PassState) -> list[Strays]:
    """Return what no pair has of nodes in whose place another one is: of peers the receiving SAs, of this one the sending.

    All else between the two addresses is the pair's that is there now. A receiving SA tells whose the sending one next to it
    is, so it goes after that; but where this node is another one than before, the sending one tells, and goes last ◆R32.
    """
    own, mark = pass_state.own, pass_state.marks.unmarked()
    sas = [(sa, spi) for sa in pass_state.kernel.sas.values() if sa.reqid == sa.spi and (spi := Spi.decode(sa.spi))]
    receiving = {(spi.residue_lo, spi.residue_hi, sa.src) for sa, spi in sas if sa.receives}
    former = [
        sa
        for sa, spi in sas
        if sa.src in own.endpoints and sa.set_mark == mark and spi.sender != own.node_id
        if (spi.residue_lo, spi.residue_hi, sa.dst) not in receiving
    ]
    found = {own.name: former} if former else {}
    sending = {(spi.residue_lo, spi.residue_hi, sa.dst) for sa, spi in sas if spi.sender == own.node_id}
    names = {(address, old.node_id): old.name for old in pass_state.succeeded.values() for address in old.endpoints}
    places = {view.pair.outer()[1]: view.peer for view in pass_state.pair_views.values()}
    for sa, spi in sas:
        there = places.get(sa.src)
        other = there is not None and sa.dst in own.endpoints and spi.sender not in (own.node_id, there.node_id)
        name = names.get((sa.src, spi.sender)) or (there.name if there and other else "")
        if sa.receives and name and (spi.residue_lo, spi.residue_hi, sa.src) not in sending:
            found.setdefault(name, []).append(sa)
    return [Strays(name, tuple(those), ()) for name, those in found.items()]


def of_removed(pass_state: PassState) -> list[Strays]:
    """Return the policies of peers that are to be removed that are for another address of this node than it has now.

    A boot blocks pairs as they are on disk, and a node may boot with other addresses than it had. An address that is also
    another peer's says nothing.
    """
    if not any(decision.remove_all for decision in pass_state.decisions.values()):
        return []
    there = {a for view, decision in pass_state.pairs() if not decision.remove_all for a in view.peer.endpoints}
    there |= {a for peer in pass_state.undecided.values() for end in peer.ends for a in end.endpoints}
    found = []
    for view, decision in pass_state.pairs():
        if decision.remove_all:
            own, theirs = set(policies_of(view.pair, pass_state.kernel)), {*view.peer.endpoints} - there
            ours = (p for p in pass_state.kernel.policies.values() if p.ours and p not in own)
            policies = tuple(p for p in ours if any(theirs & {t.src, t.dst} for t in p.templates))
            found.append(Strays(view.peer.name, (), policies))
    return found


class LeftBehind:
    """Remembers since when what is left behind was seen: it goes a drain later. What was compared once is not, again."""

    def __init__(self) -> None:
        self._since: dict[Ends, float] = {}
        self._seen: Mapping[Ends, Strays] = {}
        self._kernel: KernelSnapshot | None = None  # in which all of this was found, with these facts
        self._facts: tuple[object, ...] = ()
        self._others: list[Strays] = []

    def due(self, pass_state: PassState, settings: Settings) -> list[Strays]:
        """Return what has been left behind for a drain, and what no pair has of nodes in whose place another one is."""
        uids = tuple(pass_state.pair_views)
        facts = (pass_state.own, pass_state.marks, pass_state.succeeded, uids, pass_state.known_pairs())
        if pass_state.kernel is not self._kernel or facts != self._facts:
            self._seen, self._others = left_behind(pass_state, self._seen), of_predecessors(pass_state)
            self._kernel, self._facts = pass_state.kernel, facts
        self._since = {ends: self._since.get(ends, pass_state.now) for ends in self._seen}
        late = [stray for ends, stray in self._seen.items() if pass_state.now - self._since[ends] >= settings.drain]
        return [*late, *self._others]
