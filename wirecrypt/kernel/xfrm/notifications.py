"""What the kernel tells by itself: expired states, changes by others, changed links.

Each source is a socket to `select` on and read in the thread that made it; reading never waits. Messages are a reason to
look again, never the truth: *lost* counts overflows, after which everything is to be looked at again. A soft limit is told of
once in the life of a state, and may be told to nobody: which states reached one is seen from their counters in each pass.
"""

from __future__ import annotations

import errno
import select
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Self

from pyroute2.netlink.nlsocket import NetlinkSocket

from wirecrypt.errors import KernelError, LinkError, XfrmError
from wirecrypt.kernel.xfrm import sa
from wirecrypt.kernel.xfrm.adapter import NETLINK_XFRM
from wirecrypt.kernel.xfrm.netlink import OWN_PORT, RECEIVE, messages, senders
from wirecrypt.kernel.xfrm.wire import Message
from wirecrypt.model.xfrm import SaKey

NETLINK_ROUTE: Final = 0
_XFRMGRP_EXPIRE: Final = 2
_XFRMGRP_CHANGES: Final = 4 | 8  # states and policies
_RTMGRP: Final = 0x1 | 0x10 | 0x40 | 0x100 | 0x400  # links, and addresses and routes of IPv4 and IPv6


@dataclass(frozen=True, slots=True)
class Expired:
    """A limit of a state was reached: soft is a reason to look at its counters, after a hard one the state is gone."""

    key: SaKey
    hard: bool


class _Source:
    """A subscribed socket whose messages are read without waiting."""

    def __init__(self, protocol: int, groups: int, error: type[KernelError]) -> None:
        self.lost = 0
        self._error = error
        try:
            self._socket: Any = NetlinkSocket(family=protocol)
            self._socket.bind(groups=groups)
        except OSError as e:
            raise self._failed("subscribe to the kernel's events", e) from e

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def fileno(self) -> int:
        """Return the file descriptor that becomes readable when there is something to read."""
        return int(self._socket.fileno())

    def close(self) -> None:
        """Unsubscribe."""
        self._socket.close()

    def _messages(self) -> Iterator[tuple[int, bytes]]:
        """Yield (type, payload) of all that is waiting."""
        for data in self._datagrams():
            yield from ((kind, payload) for kind, _, _, payload in messages(data))

    def _datagrams(self) -> Iterator[bytes]:
        poll = select.poll()
        poll.register(self.fileno(), select.POLLIN)
        while poll.poll(0):
            try:
                yield self._socket.recv(RECEIVE)
            except OSError as e:
                if e.errno != errno.ENOBUFS:
                    raise self._failed("read the kernel's events", e) from e
                self.lost += 1

    def _failed(self, tried: str, e: OSError) -> KernelError:
        hint = "`wirecrypt doctor` says what this kernel lacks"
        return self._error(tried, answer=e.strerror or str(e), hint=hint, errno=e.errno or 0)


class ExpireEvents(_Source):
    """Soft and hard expiry of ESP states."""

    def __init__(self) -> None:
        super().__init__(NETLINK_XFRM, _XFRMGRP_EXPIRE, XfrmError)

    def read(self) -> list[Expired]:
        """Return what expired since the last read."""
        found = (sa.decode_expire(payload) for kind, payload in self._messages() if kind == Message.EXPIRE)
        return [Expired(*one) for one in found if one]


class ChangeEvents(_Source):
    """States and policies that somebody else made, changed, deleted or flushed; what this process did is left out."""

    def __init__(self) -> None:
        super().__init__(NETLINK_XFRM, _XFRMGRP_CHANGES, XfrmError)
        self._told = self._before = 0

    def count(self) -> int:
        """Return how many changes were told of since the start, and how often some were lost; all that waits is read first."""
        self._told += sum(port != OWN_PORT for data in self._datagrams() for port in senders(data))
        return self._told + self.lost

    def read(self) -> bool:
        """Return whether anything was changed since the last read, whoever counted it meanwhile."""
        before, self._before = self._before, self.count()
        return self._before != before


class LinkEvents(_Source):
    """Changes of links, addresses and routes."""

    def __init__(self) -> None:
        super().__init__(NETLINK_ROUTE, _RTMGRP, LinkError)

    def read(self) -> bool:
        """Return whether anything changed since the last read."""
        before = self.lost
        seen = sum(1 for _ in self._messages())
        return bool(seen) or self.lost != before
