"""Whose concern a readable packet is, as the policies see it."""

from __future__ import annotations

from collections.abc import Iterable

from wirecrypt.agent.view.pair_view import PairView
from wirecrypt.model.ranges import PrefixMap
from wirecrypt.model.xfrm import Address


class Prefixes:
    """Finds the peer that packets from this node to an address should reach encrypted."""

    def __init__(self, pairs: Iterable[PairView]) -> None:
        ends = [(pair_view, pair_view.pair.peer) for pair_view in pairs]
        self._own = ends[0][0].pair.own.pod_cidrs if ends else ()
        self._pods = PrefixMap((prefix, peer.node_uid) for _, peer in ends for prefix in peer.pod_cidrs)
        self._nodes = {address: peer.node_uid for _, peer in ends for address in peer.hosts}
        self._sealed = {peer.node_uid for pair_view, peer in ends if pair_view.inputs.observed.nodes.sends}

    def peer(self, source: Address, target: Address) -> str | None:
        """Return the peer's node UID; None when cleartext between these two is nobody's concern here.

        As the policies: towards a peer's pods whatever the source, towards a peer's own address from own pods, and from any
        source where node→node is sealed. And what an error message quotes of a peer's pod that wrote to a pod of this node.
        """
        if (found := self._pod(target)) is not None:
            return found
        if self._is_own(source):
            return self._nodes.get(target)
        if self._is_own(target):
            return self._pod(source)
        found = self._nodes.get(target)
        return found if found in self._sealed else None

    def _pod(self, address: Address) -> str | None:
        return next(self._pods.holding(address), None)

    def _is_own(self, address: Address) -> bool:
        return any(address in prefix for prefix in self._own)
