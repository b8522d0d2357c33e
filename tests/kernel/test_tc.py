"""Filters of ours stand at a fixed place, and those of others are left alone."""

import ctypes
import os
import platform
import struct
from collections.abc import Iterator

import pytest

from tests.kernel.conftest import Netns
from wirecrypt.errors import LinkError
from wirecrypt.kernel.bpf import tc
from wirecrypt.kernel.bpf.syscall import program_id
from wirecrypt.kernel.net.links import KernelLinks

PLACE = {"prio": 7, "handle": 1}


def load() -> int:
    """Load a classifier of two instructions (return 0) and return its descriptor."""
    code = ctypes.create_string_buffer(struct.pack("=BBhiBBhi", 0xB7, 0, 0, 0, 0x95, 0, 0, 0), 16)
    licence = ctypes.create_string_buffer(b"Apache-2.0")
    attr = struct.pack("=IIQQIIQII", 3, 2, ctypes.addressof(code), ctypes.addressof(licence), 0, 0, 0, 0, 0)
    number = {"x86_64": 321, "aarch64": 280}[platform.machine()]
    descriptor = ctypes.CDLL(None, use_errno=True).syscall(number, 5, ctypes.create_string_buffer(attr), len(attr))
    assert descriptor >= 0, os.strerror(ctypes.get_errno())
    return int(descriptor)


@pytest.fixture
def programs() -> Iterator[tuple[int, int]]:
    """Return the descriptors of two loaded programs."""
    found = load(), load()
    yield found
    for one in found:
        os.close(one)


@pytest.fixture
def link(netns: Netns) -> Iterator[int]:
    """Return the index of a link with clsact in a namespace that this thread is in."""
    netns.ip("link add x0 type dummy")
    with netns.entered():
        index = next(one.index for one in KernelLinks().links() if one.name == "x0")
        tc.ensure_clsact(index)
        yield index


def test_attaching_twice_makes_one_filter(link: int, programs: tuple[int, int]) -> None:
    """The same program at the same place is written once; another one replaces it, and there is one filter still."""
    first, second = programs
    made = [tc.attach(link, direction="ingress", fd=fd, name="wirecrypt_x", **PLACE) for fd in (first, first, second)]
    assert made == [True, False, True]
    assert tc.filters(link) == [tc.TcFilter("ingress", "wirecrypt_x", 7, 1, program_id(second))]


@pytest.mark.C3
def test_foreign_filter_is_left_alone(link: int, programs: tuple[int, int]) -> None:
    """A filter of another name at our place is neither replaced nor removed."""
    tc.attach(link, direction="egress", fd=programs[0], name="theirs", **PLACE)
    before = tc.filters(link)
    with pytest.raises(LinkError, match="'theirs' of somebody else") as caught:
        tc.attach(link, direction="egress", fd=programs[1], name="wirecrypt_x", **PLACE)
    assert caught.value.errno == 17
    assert tc.detach(link, "egress", 7, 1, "wirecrypt_x") is False
    assert tc.filters(link) == before


def test_detaching_removes_exactly_one(link: int, programs: tuple[int, int]) -> None:
    """Only the named filter of that direction goes, and going again changes nothing."""
    for direction in ("ingress", "egress"):
        tc.attach(link, direction=direction, fd=programs[0], name="wirecrypt_x", **PLACE)
    assert [tc.detach(link, "ingress", 7, 1, "wirecrypt_x"), tc.detach(link, "ingress", 7, 1, "wirecrypt_x")] == [True, False]
    assert [(f.direction, f.name) for f in tc.filters(link)] == [("egress", "wirecrypt_x")]
    assert tc.remove_clsact_if_empty(link) is False
