"""What each counter of the guard means and what to do about it: the words of `doctor` and the docs.

The names are those of enum wc_reason in bpf/wirecrypt.h, in lower case and without the prefix.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from wirecrypt.model.conditions import Meaning

_FINE: Final = "nothing to do"
_PEER: Final = "run `wirecrypt verify`: the IPsec policy of this peer is missing or bypassed"
_SPOOF: Final = "find who sends it (the drop event has the five-tuple); if it is the peer, run `wirecrypt verify` there"
_CLAIM: Final = "find the node that holds the address: its claim is missing, or the cluster's ranges are set too wide"
_POD_NODE: Final = "run `wirecrypt verify`: the policies between pods and node addresses are missing or bypassed"
_CONTROL: Final = "run `wirecrypt doctor`: the block policies of the control port are missing"
_NODE: Final = "run `wirecrypt verify`: the policies between the addresses of the two nodes are missing or bypassed"
_READ: Final = "list the tunnel's UDP port in the configuration, or move the traffic off the addresses of enabled nodes"
_SENDER: Final = "drain the node whose SA it came by, for it claims what another owns (the drop event has the five-tuple)"
_OWN: Final = "look at the routes of this node's pod prefix: its pods are reached without an uplink"

REASONS: Final[Mapping[str, Meaning]] = MappingProxyType(
    {
        "passed": Meaning("No entry speaks of the remote address: traffic that leaves or enters the cluster.", _FINE),
        "passed_plain": Meaning("The remote end is in clear by decision: a plain or a joining node.", _FINE),
        "node_to_node": Meaning(
            "Cleartext between two enabled nodes' addresses that are exempt: a Node with an API server, or `nodeToNode: off`.",
            "nothing to do if one of the two runs an API server; else see `nodeToNode` in the configuration",
        ),
        "passed_esp": Meaning("ESP of a pair of enabled nodes, and ESP (also in UDP) that concerns no enabled node.", _FINE),
        "passed_decrypted": Meaning("Packets that a receiving SA of this node has decrypted.", _FINE),
        "passed_neighbour": Meaning("IPv6 neighbour discovery on the link itself.", _FINE),
        "passed_not_ip": Meaning("Frames that are neither IPv4 nor IPv6, such as ARP.", _FINE),
        "passed_unreadable": Meaning(
            "Packets that cannot be read to the end (later fragments, unknown tunnels), not between enabled nodes.", _FINE
        ),
        "marked": Meaning("Packets of pods that got the mark of encryption and a lane.", _FINE),
        "egress_peer_cleartext": Meaning("Cleartext to a pod of an encrypted peer was about to leave.", _PEER),
        "egress_pod_node": Meaning("Cleartext of a pod to an encrypted peer's node address was about to leave.", _POD_NODE),
        "egress_unknown": Meaning("A packet to an address inside the cluster's ranges that no node claims.", _CLAIM),
        "egress_own_prefix": Meaning("A packet to this node's own pod prefix was about to leave by an uplink.", _OWN),
        "egress_control": Meaning("A control datagram was about to leave without ESP.", _CONTROL),
        "egress_unreadable": Meaning(
            "A packet to an enabled node that cannot be read: malformed, an unknown tunnel, a fragment of one.", _READ
        ),
        "egress_node_cleartext": Meaning(
            "Cleartext, or ESP that is not of this pair, to the address of an encrypted peer was about to leave.", _NODE
        ),
        "ingress_peer_cleartext": Meaning("Cleartext from the wire that claims to come from an encrypted peer's pod.", _SPOOF),
        "ingress_pod_node": Meaning(
            "Cleartext from the wire that claims to come from an encrypted peer's node address, for a pod.", _SPOOF
        ),
        "ingress_unknown": Meaning(
            "A packet from the wire whose source is inside the cluster's ranges and that no node claims.", _CLAIM
        ),
        "ingress_own_prefix": Meaning("A packet from the wire that claims to come from this node's own pods.", _OWN),
        "ingress_control": Meaning("A control datagram that came without ESP.", _SPOOF),
        "ingress_unreadable": Meaning(
            "A packet from an enabled node that cannot be read: malformed, an unknown tunnel, a fragment of one.", _READ
        ),
        "ingress_node_cleartext": Meaning(
            "Cleartext, or ESP that is not of this pair, that claims to come from the address of an encrypted peer.", _SPOOF
        ),
        "ingress_wrong_sender": Meaning(
            "A packet that an SA of one node carried under an address that another encrypted node owns.", _SENDER
        ),
        "events_lost": Meaning(
            "Drop events that were not recorded because there were too many in one second; every packet is counted.",
            "read the counters instead of the events",
        ),
    }
)
