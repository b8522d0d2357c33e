"""Links, addresses and routes of the calling thread's network namespace: the port `Links`, on pyroute2.

Each call opens its own socket, so any thread may call (not from inside a running event loop). Changes are told by
`wirecrypt.kernel.xfrm.notifications.LinkEvents`.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_address, ip_network
from types import TracebackType
from typing import Any, Final

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from wirecrypt.errors import LinkError
from wirecrypt.model.link import Link
from wirecrypt.model.xfrm import Address

_SIOCGIFHWADDR: Final = 0x8927
_REQUEST: Final = struct.Struct("16sH14x8x")  # struct ifreq: name, then a sockaddr whose family is the ARPHRD_ type
_ETHERNET_HEADER: Final = 14
_ETHERNET_TYPES: Final = frozenset({1, 772})  # ARPHRD_ETHER, ARPHRD_LOOPBACK (include/uapi/linux/if_arp.h)
_IFF_UP: Final = 1
_UNICAST: Final = 1  # RTN_UNICAST
_FAMILIES: Final = {4: socket.AF_INET, 6: socket.AF_INET6}
_GATEWAYS: Final = ("RTA_GATEWAY", "RTA_VIA")


class KernelLinks:
    """Implement `wirecrypt.ports.Links`."""

    def links(self) -> Sequence[Link]:
        with RouteSocket("list links") as ip:
            messages = list(ip.get_links())
            addresses = _addresses(ip)
            leading = _leading(ip)
        names = {m["index"]: m.get("IFLA_IFNAME") for m in messages}
        return sorted((_link(m, names, addresses, leading) for m in messages), key=lambda link: link.index)


def header_length(link: str) -> int:
    """Return how many bytes stand before the network header on a link, which the eBPF programs cannot see themselves.

    14 with Ethernet headers, else 0 (tunnels, WireGuard, PPP); raises `LinkError`.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as s:
        try:
            answer = fcntl.ioctl(s, _SIOCGIFHWADDR, _REQUEST.pack(link.encode(), 0))
        except OSError as error:
            hint = "see `ip link`"
            raise LinkError("ask a link's type", what=link, answer=str(error), hint=hint, errno=error.errno or 0) from error
    kind = int(_REQUEST.unpack(answer)[1])
    return _ETHERNET_HEADER if kind in _ETHERNET_TYPES else 0


def _leading(ip: Any) -> frozenset[int]:  # noqa: ANN401 - IPRoute is untyped
    """Return the indexes of links by which a route of any table goes on, every next hop included."""
    routes = [m for family in _FAMILIES.values() for m in ip.get_routes(family=family) if _goes_on(m)]
    return frozenset(index for message in routes for index in _out_links(message))


def _goes_on(message: Any) -> bool:  # noqa: ANN401 - a message of pyroute2, untyped
    """Return whether a route leads further than to one neighbour."""
    if message["type"] != _UNICAST:
        return False
    if message["dst_len"] == 0 or any(message.get(name) for name in _GATEWAYS) or message.get("RTA_MULTIPATH"):
        return True
    target = ip_network(f"{message.get('RTA_DST')}/{message['dst_len']}")
    return target.num_addresses > 1 and not target.is_link_local and not target.is_multicast


def _link(
    message: Any,  # noqa: ANN401 - a message of pyroute2, untyped
    names: Mapping[int, str],
    addresses: Mapping[int, list[Address]],
    leading: frozenset[int],
) -> Link:
    index, kind = message["index"], _kind(message)
    return Link(
        index=index,
        name=message.get("IFLA_IFNAME"),
        kind=kind,
        mtu=message.get("IFLA_MTU") or 0,
        up=bool(message["flags"] & _IFF_UP),
        master=names.get(message.get("IFLA_MASTER") or 0),
        foreign_peer=kind == "veth" and message.get("IFLA_LINK_NETNSID") is not None,
        addresses=tuple(sorted(addresses.get(index, ()), key=lambda a: (a.version, int(a)))),
        leads=index in leading,
    )


def _kind(message: Any) -> str:  # noqa: ANN401 - a message of pyroute2, untyped
    """Return the kind (veth, bridge, vxlan, …), empty for hardware and loopback."""
    info = message.get("IFLA_LINKINFO")
    return (info.get("IFLA_INFO_KIND") or "") if info else ""


def _addresses(ip: Any) -> Mapping[int, list[Address]]:  # noqa: ANN401 - IPRoute is untyped
    """Return own addresses by link index: IFA_LOCAL where it differs from IFA_ADDRESS, the far end of a pair."""
    found: dict[int, list[Address]] = defaultdict(list)
    for message in ip.get_addr():
        found[message["index"]].append(ip_address(message.get("IFA_LOCAL") or message.get("IFA_ADDRESS")))
    return found


def _out_links(message: Any) -> Iterator[int]:  # noqa: ANN401 - a message of pyroute2, untyped
    """Yield the index of the link of each next hop of a route."""
    hops = [hop["oif"] for hop in message.get("RTA_MULTIPATH") or ()]
    yield from (index for index in hops or [message.get("RTA_OIF")] if index)


class RouteSocket:
    """A route socket for one request; an errno in *quiet* ends the block in silence, any other becomes a `LinkError`."""

    def __init__(self, tried: str, what: str = "", *, quiet: frozenset[int] = frozenset()) -> None:
        self._tried, self._what, self._quiet = tried, what, quiet

    def __enter__(self) -> Any:  # noqa: ANN401 - IPRoute is untyped
        try:
            self._ip = IPRoute()
        except OSError as error:
            raise self._refused(error.errno or 0) from error
        return self._ip

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> bool:
        self._ip.close()
        if not isinstance(error, NetlinkError | OSError):
            return False
        code = error.code if isinstance(error, NetlinkError) else error.errno or 0
        if code in self._quiet:
            return True
        raise self._refused(code) from error

    def _refused(self, code: int) -> LinkError:
        hint = "`wirecrypt doctor` says what this kernel lacks"
        return LinkError(self._tried, what=self._what, answer=os.strerror(code), hint=hint, errno=code)
