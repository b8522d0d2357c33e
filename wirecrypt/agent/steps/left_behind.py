"""What is left in the kernel from tunnels of before, and when it may go: a peer that moves later still sends by it."""

from __future__ import annotations

from collections.abc import Mapping

from wirecrypt.agent.view.pass_state import PassState
from wirecrypt.errors import ObjectError
from wirecrypt.model.spi import Spi
from wirecrypt.plan.strays import Ends, Strays, strays
from wirecrypt.settings import Settings


def left_behind(pass_state: PassState, settings: Settings, seen: Mapping[Ends, Strays] | None = None) -> Mapping[Ends, Strays]:
    """Return what no pair explains any more, by the two addresses it is between; nothing while a pair has no tunnel to tell.

    *seen*: what was left at the look before.
    """
    try:
        return strays(pass_state.known_pairs(), pass_state.own.node_id, pass_state.kernel, settings.mark.layout, seen)
    except ObjectError:
        return {}


def of_predecessors(pass_state: PassState, settings: Settings) -> list[Strays]:
    """Return what no pair has of nodes in whose place another one is: of peers the receiving SAs, of this one the sending.

    All else between the two addresses is the pair's that is there now. A receiving SA tells whose the sending one next to it
    is, so it goes after that ◆.
    """
    own, mark = pass_state.own, settings.mark.layout.unmarked()
    sas = [(sa, spi) for sa in pass_state.kernel.sas.values() if sa.reqid == sa.spi and (spi := Spi.decode(sa.spi))]
    former = [sa for sa, spi in sas if sa.src in own.endpoints and sa.set_mark == mark and spi.sender != own.node_id]
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


class LeftBehind:
    """Remembers since when what is left behind was seen: it goes a drain later."""

    def __init__(self) -> None:
        self._since: dict[Ends, float] = {}
        self._seen: Mapping[Ends, Strays] = {}

    def due(self, pass_state: PassState, settings: Settings) -> list[Strays]:
        """Return what has been left behind for a drain."""
        self._seen = found = left_behind(pass_state, settings, self._seen)
        self._since = {ends: self._since.get(ends, pass_state.now) for ends in found}
        return [stray for ends, stray in found.items() if pass_state.now - self._since[ends] >= settings.drain]
