"""A pair, its generations and its kernel objects, made short. The own end is nodeID 16 (`lo`), the peer 17."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any

from wirecrypt.model.guard import GuardEntry
from wirecrypt.model.mark import MarkLayout
from wirecrypt.model.pair import End, Pair
from wirecrypt.model.secret import SecretBytes
from wirecrypt.model.session import Announcement, Generation
from wirecrypt.model.xfrm import Algorithm, Policy, Sa, SaLimits
from wirecrypt.pairs.decide import Decision
from wirecrypt.pairs.inputs import Out, Receive
from wirecrypt.pairs.node_traffic import NodeTraffic
from wirecrypt.plan import diff, policies, states
from wirecrypt.plan.observe import KnownGenerations
from wirecrypt.plan.snapshot import KernelSnapshot

MARKS = MarkLayout()
PORT = 4900
LAYOUT = policies.Layout(MARKS, PORT)


def end(name: str, node_id: int, at: int, *, v6: bool = True) -> End:
    """Return a node with addresses and pod prefixes of both families, or of IPv4 alone."""
    addresses = [f"192.0.2.{at}", *([f"2001:db8::{at}"] if v6 else [])]
    prefixes = [f"10.{at}.0.0/16", *([f"fd00:{at}::/64"] if v6 else [])]
    return End(name, node_id, f"uid-{name}", tuple(map(ip_address, addresses)), tuple(map(ip_network, prefixes)))


A, B, C = end("a", 16, 1), end("b", 17, 2), end("c", 18, 3)
AB, AC = Pair(A, B), Pair(A, C)


def g(own: int, peer: int, epoch: int = 1) -> Generation:
    """Return the generation of these session numbers, the own end being `lo`."""
    return Generation(epoch, own, peer)


def sas(generation: Generation, *, pair: Pair = AB, slot: int = 0, lanes: int = 1, key: str = "") -> tuple[Sa, ...]:
    """Return the SAs of a generation; the key is a function of everything that tells two SAs apart."""

    def traffic(*, sending: bool, lane: int) -> SecretBytes:
        text = f"{key} {generation} {pair.own.name} {pair.peer.name} {sending} {lane}"
        return SecretBytes(hashlib.sha256(text.encode()).digest() + bytes(4))

    return tuple(
        states.states(
            pair,
            generation,
            lanes=lanes,
            slot=slot,
            algorithm=Algorithm.AES_256_GCM,
            keys=traffic,
            marks=MARKS,
            limits=SaLimits(soft_packets=1000),
        )
    )


def decision(out: Out = Out.ESP, in_use: Generation | None = None, **more: Any) -> Decision:  # noqa: ANN401 - fields of Decision
    """Return a decision; by default ESP is sent over *in_use* and required, its SAs stay, and node→node is as pods are."""
    plain = Decision(
        out=out,
        in_use=in_use,
        receive=Receive.REQUIRED,
        keep={in_use: (True, True)} if in_use else {},
        install=None,
        target=in_use,
        announcement=Announcement(frozenset(), in_use, 1),
        why="test",
    )
    made = replace(plain, **more)
    sealed = NodeTraffic(made.out is not Out.PLAIN, made.receive is Receive.REQUIRED)
    return made if "nodes" in more else replace(made, nodes=sealed)


def desired(  # noqa: PLR0913 - the parts of a Wish, each with a usual value
    wanted: Decision,
    *,
    pair: Pair = AB,
    lanes: Mapping[Generation, int] | None = None,
    slots: Mapping[Generation, int] | None = None,
    install: tuple[Sa, ...] = (),
    known: KnownGenerations | None = None,
) -> diff.DesiredPair:
    """Return what a pair should have; generations take slots in their order and have one lane, unless said."""
    order = sorted(wanted.keep)
    senders = policies.Senders(lanes or dict.fromkeys(order, 1), slots or {x: n for n, x in enumerate(order)})
    return diff.DesiredPair(pair, wanted, known or KNOWN, install, tuple(policies.wanted(pair, wanted, senders, LAYOUT)))


KNOWN = KnownGenerations(ledger={}, own_last=3, peer_last=3, epochs={1: 1, 2: 1, 3: 1})


def kernel(*groups: Iterable[Sa | Policy]) -> KernelSnapshot:
    """Return a kernel with these states and policies and no guard entry."""
    flat = [thing for group in groups for thing in group]
    return KernelSnapshot.of([t for t in flat if isinstance(t, Sa)], [t for t in flat if isinstance(t, Policy)], [])


def after(actions: Iterable[diff.Action], before: KernelSnapshot) -> KernelSnapshot:
    """Return the kernel after *actions*."""
    states_, policies_, entries = dict(before.sas), dict(before.policies), dict(before.guard)
    for action in actions:
        thing = action.object
        if isinstance(thing, Sa):
            states_[thing.name] = thing
        elif isinstance(thing, Policy):
            policies_[thing.name] = thing
        elif isinstance(thing, GuardEntry):
            entries[thing.prefix] = thing
        else:
            states_ = {k: v for k, v in states_.items() if k != thing}
            policies_ = {k: v for k, v in policies_.items() if k != thing}
            entries = {k: v for k, v in entries.items() if k != thing}
    return KernelSnapshot(states_, policies_, entries)
