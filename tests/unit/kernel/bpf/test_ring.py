"""The reader of the ring buffer, on a file laid out as the kernel lays out its memory (kernel/bpf/ringbuf.c)."""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from wirecrypt.errors import BpfError
from wirecrypt.kernel.bpf.ring import take

SIZE = mmap.PAGESIZE
BUSY, DISCARD = 1 << 31, 1 << 30


class Ring:
    """Plays the producer. The data are in the file twice, where the kernel maps the same pages twice."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.position = 0
        os.truncate(fd, 2 * mmap.PAGESIZE + 2 * SIZE)

    def produce(self, payload: bytes, *, flags: int = 0) -> None:
        """Append a record, byte by byte into both copies, and publish it."""
        record = struct.pack("=II", len(payload) | flags, 0) + payload
        record += bytes(-len(record) % 8)
        for offset, byte in enumerate(record):
            at = (self.position + offset) % SIZE
            for copy in (at, at + SIZE):
                os.pwrite(self.fd, bytes([byte]), 2 * mmap.PAGESIZE + copy)
        self.position += len(record)
        os.pwrite(self.fd, struct.pack("=Q", self.position), mmap.PAGESIZE)

    def take(self, limit: int = 64) -> list[bytes]:
        """Read as the agent does."""
        return take(self.fd, SIZE, limit)


@pytest.fixture
def ring(tmp_path: Path) -> Iterator[Ring]:
    fd = os.open(tmp_path / "ring", os.O_RDWR | os.O_CREAT)
    yield Ring(fd)
    os.close(fd)


def test_records_come_in_order_and_once(ring: Ring) -> None:
    """What was produced is taken oldest first, up to the limit, and never again."""
    for word in (b"one", b"two", b"three"):
        ring.produce(word)
    assert (ring.take(2), ring.take(), ring.take()) == ([b"one", b"two"], [b"three"], [])


def test_a_record_across_the_end_is_whole(ring: Ring) -> None:
    """Positions grow past the size many times, and a record that crosses the end is read in one piece."""
    taken = []
    for number in range(400):
        ring.produce(b"%040d" % number)
        taken += ring.take()
    assert taken == [b"%040d" % number for number in range(400)]


def test_a_discarded_record_is_skipped_and_a_busy_one_ends_the_reading(ring: Ring) -> None:
    """Discarded records are passed over; one that is still being written is left, with all behind it."""
    ring.produce(b"first")
    ring.produce(b"thrown away", flags=DISCARD)
    ring.produce(b"second")
    ring.produce(b"in the making", flags=BUSY)
    ring.produce(b"behind")
    assert (ring.take(), ring.take()) == ([b"first", b"second"], [])


def test_memory_that_cannot_be_mapped_is_an_error_of_ours() -> None:
    """A descriptor that cannot be mapped is reported as the ring, chained to the system's word."""
    reading, writing = os.pipe()
    try:
        with pytest.raises(BpfError, match="ring of drop events") as refused:
            take(reading, SIZE, 1)
    finally:
        os.close(reading)
        os.close(writing)
    assert isinstance(refused.value.__cause__, OSError)
