"""Links, addresses and routes of the calling thread's network namespace: the port `Links`, on pyroute2.

Each call opens its own socket, so any thread may call (not from inside a running event loop). Changes are told by
`wirecrypt.kernel.xfrm.notifications.LinkEvents`.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from ipaddress import ip_address
from typing import Any, Final

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from wirecrypt.errors import LinkError
from wirecrypt.kernel.xfrm.adapter import KernelXfrm
from wirecrypt.model.link import Link
from wirecrypt.model.xfrm import Address

_SIOCGIFHWADDR: Final = 0x8927
_REQUEST: Final = struct.Struct("16sH14x8x")  # struct ifreq: name, then a sockaddr whose family is the ARPHRD_ type
_ETHERNET_HEADER: Final = 14
_ETHERNET_TYPES: Final = frozenset({1, 772})  # ARPHRD_ETHER, ARPHRD_LOOPBACK (include/uapi/linux/if_arp.h)
_IFF_UP: Final = 1
_MAIN_TABLE: Final = 254
_UNICAST: Final = 1  # RTN_UNICAST
_FIB_MATCH: Final = 0x2000  # RTM_F_FIB_MATCH
_FAMILIES: Final = {4: socket.AF_INET, 6: socket.AF_INET6}
# what the kernel answers where there is no route, or one that leads nowhere (blackhole, prohibit, unreachable)
_NO_ROUTE: Final = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EINVAL, errno.EACCES, errno.EAFNOSUPPORT})


class KernelLinks:
    """Implement `wirecrypt.ports.Links`."""

    def links(self) -> Sequence[Link]:
        """Return all links, sorted by index."""
        with _route("list links") as ip:
            messages = list(ip.get_links())
            addresses = _addresses(ip)
        names = {m["index"]: m.get("IFLA_IFNAME") for m in messages}
        return sorted((_link(m, names, addresses) for m in messages), key=lambda link: link.index)

    def route_links(self, destinations: Iterable[Address]) -> Sequence[str]:
        """Return names of the links that packets to any of *destinations* may leave by, sorted; own addresses have none.

        It is the kernel's own lookup, rules included, for a packet without mark or source, but asks for the route that fits
        instead of the next hop that was chosen (RTM_F_FIB_MATCH, net/ipv4/route.c, inet_rtm_getroute).
        """
        found: set[str] = set()
        with _route("look up routes") as ip:
            for dst in destinations:
                found.update(_out_links(m for m in _matches(ip, dst) if m["type"] == _UNICAST))
        return sorted(found)

    def default_links(self) -> Sequence[str]:
        """Return names of links with a default route of the main table, sorted."""
        with _route("list default routes") as ip:
            routes = [m for family in _FAMILIES.values() for m in ip.get_routes(family=family, table=_MAIN_TABLE)]
        return sorted(set(_out_links(m for m in routes if m["dst_len"] == 0 and m["type"] == _UNICAST)))

    def threshold(self) -> tuple[int, int, int, int]:
        """Return XFRM hash thresholds (IPv4 local, remote, IPv6 local, remote); raises `XfrmError`."""
        with KernelXfrm() as xfrm:
            return xfrm.thresholds()


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


def _matches(ip: Any, dst: Address) -> Sequence[Any]:  # noqa: ANN401 - IPRoute is untyped
    """Return the route that fits *dst*, nothing where there is none."""
    try:
        return list(ip.route("get", dst=str(dst), family=_FAMILIES[dst.version], flags=_FIB_MATCH))
    except NetlinkError as e:
        if e.code in _NO_ROUTE:
            return ()
        raise


def _link(message: Any, names: Mapping[int, str], addresses: Mapping[int, list[Address]]) -> Link:  # noqa: ANN401
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
        lower=names.get(_lower(message)),
    )


def _lower(message: Any) -> int:  # noqa: ANN401 - a message of pyroute2, untyped
    """Return the index of the link below in the same namespace, 0 without one; VXLAN tells it among its own options."""
    if message.get("IFLA_LINK_NETNSID") is not None:
        return 0
    info = message.get("IFLA_LINKINFO")
    data = info.get("IFLA_INFO_DATA") if info and info.get("IFLA_INFO_KIND") == "vxlan" else None
    return int((data.get("IFLA_VXLAN_LINK") if data else message.get("IFLA_LINK")) or 0)


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


def _out_links(routes: Iterator[Any]) -> Iterator[str]:
    """Yield the names of the links of each route's next hops; a link that vanished meanwhile is left out."""
    for message in routes:
        hops = [hop["oif"] for hop in message.get("RTA_MULTIPATH") or ()]
        for index in hops or [message.get("RTA_OIF")]:
            name = _name(index)
            if name is not None:
                yield name


def _name(index: int | None) -> str | None:
    try:
        return socket.if_indextoname(index) if index else None
    except OSError:
        return None


@contextmanager
def _route(tried: str) -> Iterator[Any]:
    """Open a route socket; turn the kernel's refusals into `LinkError`."""
    try:
        with IPRoute() as ip:
            yield ip
    except (NetlinkError, OSError) as e:
        code = e.code if isinstance(e, NetlinkError) else e.errno or 0
        hint = "`wirecrypt doctor` says what this kernel lacks"
        raise LinkError(tried, answer=os.strerror(code), hint=hint, errno=code) from e
