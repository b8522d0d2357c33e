"""The control protocol's datagrams as the agent sees them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from wirecrypt.errors import KernelError
from wirecrypt.model.link import Arrived
from wirecrypt.model.mark import MarkLayout
from wirecrypt.model.xfrm import Address


class ControlChannel(Protocol):
    """UDP between node addresses on the control port; which SA a datagram takes is chosen by its mark."""

    def listen(self, addresses: Iterable[Address], port: int) -> Mapping[Address, KernelError]:
        """Have UDP *port* for the node's own *addresses*: nobody else gets it, and what is sent to other addresses is not read.

        Return those that could not be listened on, with the error; the next call tries them again.
        """

    def failed(self) -> Mapping[Address, KernelError]:
        """Return what the last `listen` returned."""

    def admit(self, senders: Iterable[Address], marks: MarkLayout) -> None:
        """Read what an SA of one of these *senders* brought, by its mark, and nobody else's datagrams."""

    def unfiltered(self) -> str:
        """Return why everybody's datagrams are read all the same, empty when they are not."""

    def files(self) -> Sequence[int]:
        """Return the descriptors to wait on."""

    def send(self, src: Address, dst: Address, mark: int, data: bytes) -> bool:
        """Send one datagram; False when the kernel refused it (a block policy, no SA, no route): an answer, not an error."""

    def receive(self) -> Sequence[Arrived]:
        """Return all datagrams that have arrived, without waiting."""

    def close(self) -> None:
        """Close all sockets."""
