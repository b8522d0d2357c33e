"""Whether traffic between the addresses of two enabled nodes takes ESP: a small protocol beside that of the keys.

It is sealed unless an end exempts it: a Node with an API server, or `nodeToNode: off`, for the key update must not cross the
tunnel that it repairs. Whoever has ESP with a peer takes node→node both ways, ESP and plaintext, so sealing needs no question;
plaintext is refused only on the peer's word that it seals, a drain later, and sent again only to a peer that knows that this
end stopped sealing and says that it refuses nothing ◆R34. One end that exempts is enough: the other one learns it by its word.
"""

from __future__ import annotations

from dataclasses import dataclass

from wirecrypt.model.session import Announcement


@dataclass(frozen=True, slots=True)
class NodeTraffic:
    """What of node→node is sealed: this end *sends* nothing but ESP, and *requires* ESP of the peer."""

    sends: bool = False
    requires: bool = False


@dataclass(frozen=True, slots=True)
class GuardedOut:
    """Of which classes the guard drops cleartext on its way out: to the peer's *pods*, and all to its *nodes* addresses."""

    pods: bool = True
    nodes: bool = True


SEALED = NodeTraffic(sends=True, requires=True)
EXEMPT = NodeTraffic()


def sends_next(seen: NodeTraffic, heard: Announcement | None, *, exempt: bool, free: bool, confirmed: bool) -> bool:
    """Return whether this end sends nothing but ESP to the peer's addresses from now on.

    *free*: nothing can be lost by either, for no traffic takes ESP now. *confirmed*: the peer surely has our present word.
    """
    if not exempt:
        return seen.sends or free or heard is not None
    refused = heard is None or heard.requires_nodes or not confirmed
    return seen.sends and refused and not free


def requires_next(seen: NodeTraffic, *, exempt: bool, required: bool, sealed_long: bool) -> bool:
    """Return whether plaintext from the peer's addresses is refused from now on.

    *required*: it is refused for pods. *sealed_long*: the peer has said for a drain that it seals.
    """
    return required and not exempt and (seen.requires or sealed_long)
