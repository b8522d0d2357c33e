"""Record every frame on the wire between nodes to a file, with proof that none is missing.

tcpdump listens on the bridge in the guest, which sees each forwarded frame once. A marker frame that no program sends
otherwise opens and closes the recording: tcpdump is ended only after the closing marker is in the file, so everything before it
is there too. tcpdump writes each frame at once (`-U`). It could be asked to do so by SIGUSR2 instead, but flushes within the
signal handler then (tcpdump.c, flushpcap): when that falls into a write, the file is damaged from there on.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import shutil
import signal
from typing import TYPE_CHECKING, Protocol, Self

from wirecrypt.errors import LabError, WirecryptError
from wirecrypt.lab.machine.channel import Command
from wirecrypt.lab.waiting import DEADLINE, until
from wirecrypt.lab.wire import observer

if TYPE_CHECKING:
    from pathlib import Path

    from wirecrypt.lab.machine.channel import Channel, Process

MARKER_TYPE = 0x88B5  # Ethernet type for local experiments
BUFFER = 65536  # kilobytes that the kernel holds for tcpdump
_SOURCE = bytes.fromhex("027763ffff01")
_DROPPED = re.compile(r"^(\d+) packets? dropped by kernel", re.MULTILINE)


class Place(Protocol):
    """A lab, seen from its own process (`Lab`) or from another one (`commands.Running`)."""

    @property
    def channel(self) -> Channel:
        """The door into its guest."""

    @property
    def folder(self) -> Path:
        """Its state folder."""


class Capture:
    """A recording in progress; leave the `with` block, or call `stop`, and *target* is complete."""

    def __init__(self, channel: Channel, process: Process, draft: Path, target: Path) -> None:
        self._channel = channel
        self._process = process
        self._draft = draft
        self._target = target
        self._stopped = False

    @classmethod
    def start(cls, lab: Place, target: Path, expression: str = "") -> Self:
        """Start recording to *target*, only frames that fit the pcap *expression* when one is given.

        A start that fails or is interrupted leaves no tcpdump and no draft.
        """
        channel = lab.channel
        draft = lab.folder / f"capture-{secrets.token_hex(4)}.pcap"
        filters = [f"ether proto {MARKER_TYPE:#x} or ({expression})"] if expression else []
        argv = ["tcpdump", "-i", "wire", "-n", "-s", "0", "-U", "-B", str(BUFFER), "-Z", "root", "-w", str(draft), *filters]
        capture = cls(channel, channel.spawn("guest", Command(argv)), draft, target)
        try:
            until(capture._listening, what="tcpdump listens on the wire", seconds=DEADLINE)
            capture.mark()
        except BaseException:
            capture.abandon()
            raise
        return capture

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Stop; where the block has failed already, its error is the one to tell."""
        try:
            self.stop()
        except BaseException as error:
            self.abandon()
            if kind is None or not isinstance(error, WirecryptError):
                raise

    def mark(self) -> None:
        """Send a marker and wait until it is in the file: everything on the wire before this call is there then."""
        token = secrets.token_bytes(32)
        self._channel.frame("guest", "wire", b"\xff" * 6 + _SOURCE + MARKER_TYPE.to_bytes(2, "big") + token)

        def written() -> bool:
            if not self._process.running:
                raise LabError("tcpdump ended", answer=self._process.tail())
            return token in self._tail()

        until(written, what="the marker is in the capture", seconds=DEADLINE, every=0.1)

    def observe(self) -> observer.Observation:
        """Return what the wire has shown until now; the recording goes on."""
        self.mark()
        return observer.read(self._draft, growing=True)

    def stop(self) -> Path:
        """End the recording and return its file; LabError when the kernel dropped a frame before tcpdump saw it."""
        if self._stopped:
            return self._target
        self.mark()
        self._process.kill(signal.SIGINT)
        status = self._process.wait()
        self._stopped = True
        dropped = _DROPPED.search(self._process.output())
        if status or not dropped or int(dropped[1]):
            raise LabError("the capture is not complete", what=str(self._target), answer=self._process.tail())
        shutil.move(self._draft, self._target)
        return self._target

    def abandon(self) -> None:
        """End the recording without its file; nothing is reported, for this is what comes after a failure."""
        with contextlib.suppress(WirecryptError):
            self._process.kill(signal.SIGKILL)
        self._draft.unlink(missing_ok=True)
        self._stopped = True

    def _listening(self) -> bool:
        if "listening on" in self._process.output():
            return True
        if not self._process.running:
            raise LabError("tcpdump does not start", answer=self._process.tail())
        return False

    def _tail(self) -> bytes:
        """Return the end of the file: the marker is near it, since little is sent while we look."""
        with self._draft.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - (1 << 22)))
            return file.read()
