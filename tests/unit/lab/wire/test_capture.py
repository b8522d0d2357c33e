"""A recording of the wire is whole, or an error; whatever goes wrong, no tcpdump stays behind."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from wirecrypt.errors import LabError
from wirecrypt.lab.machine import channel
from wirecrypt.lab.wire.capture import Capture

LISTENING = "tcpdump: listening on wire, link-type EN10MB"
COMPLETE = "3 packets captured\n0 packets dropped by kernel\n"


class _Tcpdump:
    """A tcpdump that takes what is sent to it into its file."""

    def __init__(self, draft: Path, said: str) -> None:
        self.draft = draft
        self.said = said
        self.signals: list[int] = []
        self.writes = True

    @property
    def running(self) -> bool:
        return not {signal.SIGKILL, signal.SIGINT} & set(self.signals)

    def kill(self, number: int) -> None:
        self.signals.append(number)

    def wait(self) -> int:
        return 0

    def output(self) -> str:
        return self.said

    def tail(self) -> str:
        return self.said


class _Place:
    """A lab whose guest runs that tcpdump."""

    def __init__(self, folder: Path, said: str = f"{LISTENING}\n{COMPLETE}", error: BaseException | None = None) -> None:
        self.folder = folder
        self.said = said
        self.error = error
        self.tcpdump: Any = None

    @property
    def channel(self) -> _Place:
        return self

    def spawn(self, _where: str, command: channel.Command) -> _Tcpdump:
        draft = Path(command.argv[list(command.argv).index("-w") + 1])
        draft.touch()
        self.tcpdump = _Tcpdump(draft, self.said)
        return self.tcpdump

    def frame(self, _where: str, _link: str, content: bytes) -> None:
        if self.error:
            raise self.error
        with self.tcpdump.draft.open("ab") as file:
            file.write(content)


def start(place: _Place, target: Path) -> Capture:
    return Capture.start(place, target)  # type: ignore[arg-type]


@pytest.mark.parametrize("error", [LabError("the guest cannot be reached"), KeyboardInterrupt()])
def test_a_start_that_fails_or_is_interrupted_leaves_no_tcpdump_and_no_file(tmp_path: Path, error: BaseException) -> None:
    """Whatever ends the start, tcpdump is killed and its draft is gone."""
    place = _Place(tmp_path, error=error)
    with pytest.raises(type(error)):
        start(place, tmp_path / "x.pcap")
    assert place.tcpdump.signals[-1] == signal.SIGKILL
    assert list(tmp_path.iterdir()) == []


def test_an_end_that_is_interrupted_leaves_no_tcpdump_and_no_file(tmp_path: Path) -> None:
    """Ctrl-C while the last frames are waited for ends tcpdump as well."""
    place = _Place(tmp_path)
    capture = start(place, tmp_path / "x.pcap")
    place.error = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt), capture:
        pass
    assert place.tcpdump.signals[-1] == signal.SIGKILL
    assert list(tmp_path.iterdir()) == []


def test_the_first_error_is_the_one_that_is_told(tmp_path: Path) -> None:
    """A block that failed because the guest is gone is not hidden by the capture, which cannot be ended then."""
    place = _Place(tmp_path)
    capture = start(place, tmp_path / "x.pcap")
    place.error = LabError("the guest cannot be reached")
    with pytest.raises(LabError, match="what went wrong first"), capture:
        raise LabError("what went wrong first")


def test_a_whole_recording_is_where_it_was_asked_for(tmp_path: Path) -> None:
    """The markers of its begin and end are in the file."""
    with start(_Place(tmp_path), tmp_path / "x.pcap"):
        pass
    assert (tmp_path / "x.pcap").read_bytes().count(b"\x88\xb5") >= 2


def test_a_recording_with_a_dropped_frame_is_an_error(tmp_path: Path) -> None:
    """What may miss a frame proves nothing."""
    place = _Place(tmp_path, f"{LISTENING}\n1 packet dropped by kernel\n")
    with pytest.raises(LabError, match="not complete"), start(place, tmp_path / "x.pcap"):
        pass
    assert not (tmp_path / "x.pcap").exists()


def test_two_processes_that_use_one_lab_never_write_to_one_log(tmp_path: Path) -> None:
    """The names hold more than a number, which every process counts from one."""
    names = {channel.fresh_log(tmp_path, "/usr/bin/tcpdump").name.partition("-")[2] for _ in range(100)}
    assert len(names) == 100
    assert all(name.startswith("tcpdump-") for name in names)
