"""Read a BPF ring buffer without libbpf: one consumer, memory shared with the kernel (kernel/bpf/ringbuf.c).

The first page holds the consumer's position (ours to write), the next the producer's, then the data follow, mapped
twice in a row so that a record never wraps. A record is an 8-byte header (length with a busy and a discard bit), then
the payload, padded to 8 bytes. Positions only grow.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from typing import Final

from wirecrypt.errors import BpfError

_HEADER: Final = struct.Struct("=II")
_BUSY: Final = 1 << 31
_DISCARD: Final = 1 << 30


def take(fd: int, size: int, limit: int) -> list[bytes]:
    """Take up to *limit* records out of the ring of *size* data bytes, oldest first, without waiting.

    Raises `BpfError` when the ring cannot be mapped.
    """
    page = mmap.PAGESIZE
    try:
        with (
            mmap.mmap(fd, page, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE) as consumer,
            mmap.mmap(fd, page + 2 * size, mmap.MAP_SHARED, mmap.PROT_READ, offset=page) as producer,
            memoryview(consumer) as consumer_page,
            consumer_page.cast("Q") as position,
            memoryview(producer) as ring,
        ):
            return list(_records(position, ring, size, limit))
    except OSError as error:
        raise BpfError("map the ring of drop events", answer=str(error), hint="run as root", errno=error.errno or 0) from error


def _records(position: memoryview, ring: memoryview, size: int, limit: int) -> Iterator[bytes]:
    with ring[: mmap.PAGESIZE] as first, first.cast("Q") as produced:
        for _ in range(limit):
            at = position[0]
            if at >= produced[0]:
                return
            start = mmap.PAGESIZE + (at & (size - 1))
            length, _page = _HEADER.unpack_from(ring, start)
            if length & _BUSY:
                return
            payload = length & ~_DISCARD
            start += _HEADER.size
            record = None if length & _DISCARD else bytes(ring[start : start + payload])
            position[0] = at + -(-(payload + _HEADER.size) // 8) * 8
            if record is not None:
                yield record
