"""A network link of a node, and what arrives at the control port."""

from __future__ import annotations

from dataclasses import dataclass

from wirecrypt.model.xfrm import Address


@dataclass(frozen=True, slots=True)
class Link:
    """A network link: index, name, kind, MTU, master's name, whether its peer is in another network namespace, addresses.

    *leads*: a route of some table goes on by it, through a gateway or to more than one address; link-local ones do not count.
    """

    index: int
    name: str
    kind: str
    mtu: int
    up: bool
    master: str | None
    foreign_peer: bool
    addresses: tuple[Address, ...]
    leads: bool = False


@dataclass(frozen=True, slots=True)
class Arrived:
    """A control datagram as it came: the sender's address, the mark that its SA set, the bytes."""

    src: Address
    mark: int
    data: bytes
