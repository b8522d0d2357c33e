"""A kernel in memory whose control datagrams go from agent to agent, of whatever process, by the loopback of this machine."""

# ruff: noqa: ARG002, D102 - the ports say what their methods do
from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from ipaddress import ip_address
from typing import Final

from tests.fakes.kernel import Kernel
from wirecrypt.errors import KernelError
from wirecrypt.model.link import Arrived
from wirecrypt.model.mark import MarkLayout
from wirecrypt.model.xfrm import Address, Direction, Failure, Network, Policy, PolicyKey, SaKey, host

_SPI: Final = 4  # bytes before a datagram: which SA it came by, as ESP would have it
_BATCH: Final = 64  # as the kernel's channel
_MOST: Final = 65535


def place(address: Address) -> str:
    """Return the loopback address that stands for a node's, 127.1.2.3 for 10.1.2.3."""
    return f"127.{str(address).partition('.')[2]}"


class IndexedKernel(Kernel):
    """A kernel in memory that finds by mark and address by which SA a datagram leaves, however many policies there are."""

    def __init__(self) -> None:
        super().__init__()
        self._by_mark: dict[tuple[int, Network], int] = {}

    def set_policies(self, policies: Sequence[Policy]) -> Sequence[Failure]:
        for policy in policies:
            spi = next((t.spi for t in policy.templates), 0)
            if policy.mark and policy.direction is Direction.OUT and spi:
                self._by_mark[policy.mark.value, policy.selector.dst] = spi
        return super().set_policies(policies)

    def delete_policies(self, keys: Sequence[PolicyKey]) -> Sequence[Failure]:
        for policy in filter(None, map(self.policies.get, keys)):
            if policy.mark and policy.direction is Direction.OUT:
                self._by_mark.pop((policy.mark.value, policy.selector.dst), None)
        return super().delete_policies(keys)

    def spi(self, mark: int, dst: Address) -> int | None:
        """Return the SPI that a marked datagram to *dst* leaves by, None when there is no such SA."""
        spi = self._by_mark.get((mark, host(dst)))
        return spi if spi is not None and SaKey(dst, spi) in self.sas else None


class LoopbackChannel:
    """Implement `ports.ControlChannel` over UDP sockets of the loopback: a datagram takes an SA of *kernel*, or none."""

    def __init__(self, kernel: IndexedKernel) -> None:
        self._kernel = kernel
        self._sockets: dict[Address, socket.socket] = {}
        self._port = 0
        self._senders: frozenset[Address] = frozenset()

    def listen(self, addresses: Iterable[Address], port: int) -> Mapping[Address, KernelError]:
        self._port = port
        for address in {*addresses} - self._sockets.keys():
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
            sock.bind((place(address), port))
            self._sockets[address] = sock
        return {}

    def failed(self) -> Mapping[Address, KernelError]:
        return {}

    def admit(self, senders: Iterable[Address], marks: MarkLayout) -> None:
        self._senders = frozenset(senders)

    def unfiltered(self) -> str:
        return ""

    def files(self) -> Sequence[int]:
        return [sock.fileno() for sock in self._sockets.values()]

    def send(self, src: Address, dst: Address, mark: int, data: bytes) -> bool:
        spi = self._kernel.spi(mark, dst)
        if spi is None or src not in self._sockets:
            return False
        with suppress(BlockingIOError, ConnectionRefusedError):  # lost on its way
            self._sockets[src].sendto(spi.to_bytes(_SPI) + data, (place(dst), self._port))
        return True

    def receive(self) -> Sequence[Arrived]:
        return [arrived for address, sock in self._sockets.items() for arrived in self._drain(address, sock)]

    def close(self) -> None:
        for sock in self._sockets.values():
            sock.close()
        self._sockets = {}

    def _drain(self, address: Address, sock: socket.socket) -> Iterable[Arrived]:
        with suppress(BlockingIOError):
            for _ in range(_BATCH):
                data, (sender, _) = sock.recvfrom(_MOST)
                name = SaKey(address, int.from_bytes(data[:_SPI]))
                sa = self._kernel.sas.get(name)
                if sa is not None and sa.set_mark is not None and place(sa.src) == sender and sa.src in self._senders:
                    self._kernel.used.add(name)
                    yield Arrived(ip_address(sa.src), sa.set_mark.value, data[_SPI:])
