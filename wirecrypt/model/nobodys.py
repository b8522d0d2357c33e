"""Ranges that are no machine's own: nobody claims what lies in them, and no configuration names it."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Final

from wirecrypt.model.xfrm import Network

NOBODYS: Final[tuple[Network, ...]] = tuple(
    ip_network(text)
    for text in (
        *("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3"),
        *("::/96", "::ffff:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "2001::/32", "2002::/16"),  # IPv4 by other names
        *("fe80::/10", "ff00::/8"),
    )
)
LOCAL: Final[tuple[Network, ...]] = tuple(map(ip_network, ("169.254.0.0/16", "224.0.0.0/4", "fe80::/10", "ff00::/8")))


def inside(network: Network, ranges: tuple[Network, ...]) -> Network | None:
    """Return the first of *ranges* that holds all of *network*, None when none does."""
    return next((r for r in ranges if r.overlaps(network) and r.prefixlen <= network.prefixlen), None)


def unfit_range(network: Network) -> str:
    """Return why *network* cannot be a range of pods, nodes or Services, empty when it can.

    One that holds link-local addresses or groups is none either: what neighbours say to each other would be dropped.
    """
    if whose := inside(network, NOBODYS):
        return f"{network} is in {whose}, which is no machine's own"
    held = next((local for local in LOCAL if inside(local, (network,))), None)
    return f"{network} holds {held}, by which neighbours speak to each other" if held else ""
