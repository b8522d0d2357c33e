"""Netlink framing and errors."""

import logging
import struct

from wirecrypt.kernel.xfrm.netlink import messages
from wirecrypt.kernel.xfrm.wire import attribute, attributes


def test_datagram_is_split_into_messages() -> None:
    """Messages of one datagram come with type, flags, sequence number and payload; a cut one is left out."""
    one = struct.pack("=IHHII", 18, 20, 2, 7, 0) + b"ab" + bytes(2)
    two = struct.pack("=IHHII", 16, 3, 2, 8, 0)
    assert list(messages(one + two + b"\x10\0")) == [(20, 2, 7, b"ab"), (3, 2, 8, b"")]


def test_attributes_survive_padding() -> None:
    """Attributes of odd length are read back as written, whatever stands before them."""
    data = b"head" + attribute(5, b"abcde") + attribute(29, b"") + attribute(30, b"xyz!")
    assert attributes(data, 4) == {5: b"abcde", 29: b"", 30: b"xyz!"}


def test_truncated_attribute_ends_the_list() -> None:
    """A length of zero ends reading instead of reading forever."""
    assert attributes(bytes(64), 0) == {}


def test_pyroute2_never_logs_requests() -> None:
    """The logger of the netlink library is pinned above DEBUG, where it writes requests with their keys."""
    assert not logging.getLogger("pyroute2").isEnabledFor(logging.DEBUG)
    assert not logging.getLogger("pyroute2.netlink.core").isEnabledFor(logging.INFO)
