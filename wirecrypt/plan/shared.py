"""The policies of a node that belong to no pair: what must stay readable between nodes that encrypt all else.

Neighbour discovery finds the link address that ESP itself is sent to: encrypted, it would wait for itself. So solicitations and
advertisements (RFC 4861) pass, out only what no pod sent; the guard looks at what is in them. And what a node sends to a group
(VRRP, OSPF, mDNS) is for no node in particular, so no pair has a key for it: it is taken in clear, as it was sent.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network
from typing import Final

from wirecrypt.model.mark import MarkLayout
from wirecrypt.model.xfrm import PRIORITY_BAND, Direction, Policy, PolicyAction, Selector

PRIORITY_SHARED: Final = PRIORITY_BAND.start + 0x08
_ICMPV6: Final = 58
_NEIGHBOUR: Final = (135, 136)
_ANY4, _ANY6 = ip_network("0.0.0.0/0"), ip_network("::/0")
GROUPS: Final = (ip_network("224.0.0.0/4"), ip_network("255.255.255.255/32"), ip_network("ff00::/8"))


def shared(marks: MarkLayout) -> Iterator[Policy]:
    """Yield the policies that a node with any pair has."""
    for kind in _NEIGHBOUR:
        selector = Selector(_ANY6, _ANY6, _ICMPV6, kind)
        yield Policy(Direction.IN, selector, PRIORITY_SHARED)
        yield Policy(Direction.OUT, selector, PRIORITY_SHARED, mark=marks.unmarked())
    for group in GROUPS:
        yield Policy(Direction.IN, Selector(_ANY4 if group.version == 4 else _ANY6, group), PRIORITY_SHARED)  # noqa: PLR2004


def is_shared(policy: Policy) -> bool:
    """Return whether a policy is one of those: of their priority, and nothing is asked of what it lets pass."""
    return policy.priority == PRIORITY_SHARED and policy.verdict is PolicyAction.ALLOW and not policy.templates
