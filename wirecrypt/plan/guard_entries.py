"""The guard's entries that a node should have: what cleartext to and from which prefix means.

Deepest knowledge wins, as the maps match the longest prefix: peers and own pods by their claims, plain nodes by theirs,
and what is left of the cluster's ranges is unknown. What is said of an encrypted peer names its nodeID: only SAs by which
that node sends may carry packets from there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from wirecrypt.model.guard import GuardAction, GuardEntry
from wirecrypt.model.objects import LABEL_ENABLED, Node
from wirecrypt.model.pair import End, Pair
from wirecrypt.model.ranges import PrefixSet
from wirecrypt.model.xfrm import Address, Network, host
from wirecrypt.pairs.decide import Decision
from wirecrypt.pairs.inputs import Out, Receive

_NODES: Final = {False: GuardAction.NODE, True: GuardAction.SEALED}


def wanted(
    own: End,
    pairs: Iterable[tuple[Pair, Decision]],
    plain: Sequence[Node],
    ranges: Sequence[Network],
    api: Iterable[Address] = (),
) -> dict[Network, GuardEntry]:
    """Return the entries by prefix.

    *pairs*: peers that exist; one that left and is not gone yet is passed. *plain*: Nodes that take no part and overlap no
    claim. *ranges*: the cluster's. *api*: API servers, which pass wherever no claim speaks of them: a range that holds them
    would cut the node off for good.
    """
    found = of_node(own, plain, ranges, api)
    for pair, decision in pairs:
        found |= of_pair(pair, decision)
    return found


def of_node(
    own: End, plain: Sequence[Node], ranges: Sequence[Network], api: Iterable[Address] = ()
) -> dict[Network, GuardEntry]:
    """Return the entries that are about no peer, as `wanted` does."""
    found: dict[Network, GuardEntry] = {}
    for prefix in ranges:
        found[prefix] = GuardEntry(prefix, GuardAction.UNKNOWN, GuardAction.UNKNOWN)
    for prefix in map(host, api):
        found[prefix] = GuardEntry(prefix, GuardAction.PASS, GuardAction.PASS)
    for node in plain:
        for prefix in node.claims:
            found[prefix] = GuardEntry(prefix, GuardAction.PASS, GuardAction.PASS)
    for prefix in own.pod_cidrs:
        found[prefix] = GuardEntry(prefix, GuardAction.OWN, GuardAction.OWN)
    for address in own.endpoints:
        found[host(address)] = GuardEntry(host(address), GuardAction.PASS, GuardAction.PASS, own.node_id)
    for address in own.addresses:  # what goes there by an uplink is for one that moved away, and nobody was granted it yet
        found[host(address)] = GuardEntry(host(address), GuardAction.SEALED, GuardAction.SEALED, own.node_id)
    return found


def plain_nodes(nodes: Iterable[Node], participants: Sequence[End], former: Sequence[Network] = ()) -> list[Node]:
    """Return the Nodes without a part in encryption whose prefixes overlap no participant's claim.

    One with the label is in clear until it has joined, but not where it has a *former* claim of a peer that was encrypted:
    nothing is known of that until then.
    """
    claims, gone = PrefixSet(p for end in participants for p in end.claims), PrefixSet(former)
    names = {end.name for end in participants}
    taken = [n for n in nodes if n.name not in names and not any(map(claims.meets, n.claims))]
    return [n for n in taken if n.label != LABEL_ENABLED or not any(map(gone.meets, n.claims))]


def of_pair(pair: Pair, decision: Decision) -> dict[Network, GuardEntry]:
    """Return the entries about one peer."""
    sends = decision.out is not Out.PLAIN and decision.guarded.pods
    requires = decision.receive is Receive.REQUIRED
    owner = pair.peer.node_id
    found: dict[Network, GuardEntry] = {}
    for prefix in pair.peer.pod_cidrs:
        found[prefix] = _entry(prefix, (GuardAction.DROP, GuardAction.DROP), owner, sends=sends, requires=requires)
    nodes = decision.nodes
    actions = (_NODES[nodes.sends and decision.guarded.nodes], _NODES[nodes.requires])
    for prefix in pair.peer.host_prefixes:
        found[prefix] = _entry(prefix, actions, owner, sends=sends, requires=requires)
    return found


def _entry(prefix: Network, actions: tuple[GuardAction, GuardAction], owner: int, *, sends: bool, requires: bool) -> GuardEntry:
    egress, ingress = actions[0] if sends else GuardAction.PASS, actions[1] if requires else GuardAction.PASS
    return GuardEntry(prefix, egress, ingress, owner if sends or requires else 0)
