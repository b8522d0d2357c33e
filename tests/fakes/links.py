"""Links in memory."""

# ruff: noqa: D102 - the port says what the methods do

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wirecrypt.model.link import Link
from wirecrypt.model.xfrm import Address


@dataclass
class Uplink:
    """One link with the node's addresses."""

    addresses: tuple[Address, ...]

    def links(self) -> Sequence[Link]:
        return [Link(2, "upl", "", 1500, up=True, master=None, foreign_peer=False, addresses=self.addresses)]
