"""Whose concern a readable packet is, as the policies see it."""

from __future__ import annotations

from collections.abc import Iterable

from wirecrypt.agent.view.pair_view import PairView
from wirecrypt.model.xfrm import Address, Network


class Prefixes:
    """Finds the peer that packets from this node to an address should reach encrypted."""

    def __init__(self, pairs: Iterable[PairView]) -> None:
        self._own: list[Network] = []
        self._pods: dict[tuple[int, int], dict[int, str]] = {}
        self._nodes: dict[Address, str] = {}
        self._sealed: set[str] = set()
        for pair_view in pairs:
            pair, uid = pair_view.pair, pair_view.pair.peer.node_uid
            self._own = list(pair.own.pod_cidrs)
            for prefix in pair.peer.pod_cidrs:
                known = self._pods.setdefault((prefix.version, prefix.prefixlen), {})
                known[_bits(prefix.network_address, prefix.prefixlen)] = uid
            self._nodes |= dict.fromkeys(pair.peer.hosts, uid)
            if pair_view.inputs.observed.nodes.sends:
                self._sealed.add(uid)

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
        for (version, length), known in self._pods.items():
            if version == address.version and (found := known.get(_bits(address, length))) is not None:
                return found
        return None

    def _is_own(self, address: Address) -> bool:
        return any(address in prefix for prefix in self._own if prefix.version == address.version)


def _bits(address: Address, length: int) -> int:
    return int(address) >> (address.max_prefixlen - length)
