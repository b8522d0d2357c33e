"""The control port in memory: the mark chooses the SA, and arrives as the mark that the receiving SA sets."""

# ruff: noqa: ARG002, D102 - the port says what the methods do

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from wirecrypt.errors import KernelError
from wirecrypt.model.link import Arrived
from wirecrypt.model.mark import MarkLayout
from wirecrypt.model.xfrm import Address


@dataclass
class Channel:
    """What has arrived, and who is heard. *post*: takes what is sent, and says whether it left."""

    post: Callable[[Address, Address, int, bytes], bool]
    inbox: list[Arrived] = field(default_factory=list)
    open: bool = False
    listens: tuple[Address, ...] = ()
    admitted: Mapping[Address, int] = field(default_factory=dict)

    def listen(self, addresses: Iterable[Address], port: int) -> Mapping[Address, KernelError]:
        self.open, self.listens = True, tuple(addresses)
        return {}

    def failed(self) -> Mapping[Address, KernelError]:
        return {}

    def admit(self, senders: Iterable[Address], marks: MarkLayout) -> None:
        self.admitted = dict.fromkeys(senders, marks.shift)

    def unfiltered(self) -> str:
        return ""

    def files(self) -> Sequence[int]:
        return ()

    def send(self, src: Address, dst: Address, mark: int, data: bytes) -> bool:
        return self.post(src, dst, mark, data)

    def arrive(self, datagram: Arrived) -> bool:
        """Take in a datagram that was decrypted; say whether somebody listens for it."""
        if not self.open or datagram.src not in self.admitted:
            return False
        self.inbox.append(datagram)
        return True

    def receive(self) -> Sequence[Arrived]:
        arrived, self.inbox = self.inbox, []
        return arrived

    def close(self) -> None:
        self.open, self.inbox = False, []
