"""How many bytes stand before the network header of a frame on a link: the eBPF programs cannot see it themselves."""

from __future__ import annotations

import fcntl
import socket
import struct
from typing import Final

from wirecrypt.errors import LinkError

_SIOCGIFHWADDR: Final = 0x8927
_REQUEST: Final = struct.Struct("16sH14x8x")  # struct ifreq: name, then a sockaddr whose family is the ARPHRD_ type
_ETHERNET_HEADER: Final = 14
_ETHERNET_TYPES: Final = frozenset({1, 772})  # ARPHRD_ETHER, ARPHRD_LOOPBACK (include/uapi/linux/if_arp.h)


def header_length(link: str) -> int:
    """Return 14 for a link with Ethernet headers, else 0 (tunnels, WireGuard, PPP); raises `LinkError`."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as s:
        try:
            answer = fcntl.ioctl(s, _SIOCGIFHWADDR, _REQUEST.pack(link.encode(), 0))
        except OSError as error:
            hint = "see `ip link`"
            raise LinkError("ask a link's type", what=link, answer=str(error), hint=hint, errno=error.errno or 0) from error
    kind = int(_REQUEST.unpack(answer)[1])
    return _ETHERNET_HEADER if kind in _ETHERNET_TYPES else 0
