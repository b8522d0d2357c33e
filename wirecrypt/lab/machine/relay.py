"""Pass bytes between a listener outside the lab's network and an address inside it."""

from __future__ import annotations

import asyncio
import contextlib


async def relay(inward: tuple[str, int], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Connect to *inward* and pass bytes both ways until both sides have closed, or this task is cancelled."""
    try:
        with contextlib.suppress(OSError):
            inner_reader, inner_writer = await asyncio.open_connection(*inward)
            try:
                await asyncio.gather(_pump(reader, inner_writer), _pump(inner_reader, writer))
            finally:
                inner_writer.close()
    finally:
        writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while content := await reader.read(65536):
            writer.write(content)
            await writer.drain()
    with contextlib.suppress(OSError, RuntimeError):
        writer.write_eof()
