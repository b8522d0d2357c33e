"""What the demo leaves behind: the timeline's lines, the result, and an end that is told whatever it is."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from rich.console import Console

from wirecrypt.errors import InputError, LabError
from wirecrypt.lab import operations
from wirecrypt.lab.addresses import NodeAddresses
from wirecrypt.lab.demo import steps
from wirecrypt.lab.demo.ending import LOGS, TRACEBACK, conclude, fresh, keep_logs
from wirecrypt.lab.demo.record import EVENTS, EVIDENCE, RESULT, TIMELINE, Record
from wirecrypt.lab.demo.traffic import LoadTotals, fitting
from wirecrypt.lab.lab import Lab
from wirecrypt.lab.machine import outside
from wirecrypt.lab.streams import Result, Tcp, Udp
from wirecrypt.lab.waiting import until
from wirecrypt.lab.wire.network import LabNode, LabPod


def lab(**parts: Any) -> Lab:  # noqa: ANN401
    """Return something that has the asked parts of a lab."""
    return cast("Lab", SimpleNamespace(**parts))


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / TIMELINE).read_text().splitlines()]


def result(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / RESULT).read_text())
    return found


def test_the_timeline_has_one_object_a_line(tmp_path: Path) -> None:
    """`time` in UNIX seconds, `event`, and what belongs to it."""
    record = Record(tmp_path)
    record.event(1000.5, "load-end", sent=3, received=2, lost=1)
    record.event(1001, "protected", node="node-1")
    assert lines(tmp_path) == [
        {"time": 1000.5, "event": "load-end", "sent": 3, "received": 2, "lost": 1},
        {"time": 1001, "event": "protected", "node": "node-1"},
    ]


def test_an_event_that_readers_do_not_know_is_refused(tmp_path: Path) -> None:
    """The list is closed."""
    with pytest.raises(LabError, match="restarted"):
        Record(tmp_path).event(1.0, "restarted")
    assert EVENTS == (
        "node", "pod", "labelled", "protected", "rotating", "rotated", "unlabelled", "load-start", "load-end",
    )  # fmt: skip


def test_the_timeline_begins_with_who_takes_part(tmp_path: Path) -> None:
    """Nodes and pods with the name of the node and a list of addresses."""
    node, pod = LabNode(NodeAddresses(1), "boot"), LabPod("node-1", "a", "10.1.0.2", "fd00:11::2")
    steps.introduce(lab(nodes={"node-1": node}, pods={pod.where: pod}, time=lambda: 7.0), Record(tmp_path))
    assert lines(tmp_path) == [
        {"time": 7.0, "event": "node", "node": "node-1", "addresses": ["192.0.2.11", "fd00:2::11"]},
        {"time": 7.0, "event": "pod", "node": "node-1", "pod": "pod/node-1/a", "addresses": ["10.1.0.2", "fd00:11::2"]},
    ]


def test_nothing_holds_when_nothing_was_claimed_or_one_claim_did_not(tmp_path: Path) -> None:
    """An empty record is no success."""
    record = Record(tmp_path)
    assert not record.held
    record.claim("one", "seen", held=True)
    assert record.held
    record.claim("two", "not seen", held=False)
    assert not record.held


def test_the_result_and_the_table_have_every_claim(tmp_path: Path) -> None:
    """With its evidence, word for word, whatever characters it has."""
    record = Record(tmp_path)
    record.claim("a claim", "SA [fd00::1] [/bold]", held=False)
    record.write()
    assert result(tmp_path) == {
        "held": False, "error": "", "figures": {},
        "claims": [{"what": "a claim", "held": False, "evidence": "SA [fd00::1] [/bold]"}],
    }  # fmt: skip
    shown = io.StringIO()
    record.show(Console(file=shown, width=100))
    assert "NO" in shown.getvalue()
    assert "SA [fd00::1] [/bold]" in shown.getvalue()


def flow(kind: type[Udp | Tcp]) -> Udp | Tcp:
    return kind(cast("Any", None), "pod/node-1/a", "pod/node-2/a", {"marker": "marker"}, cast("Any", None))


def counted(sent: int, received: int, gap: float = 0.0, retransmissions: int = 0, unneeded: int = 0) -> Result:
    return Result(sent, received, 0, 0, retransmissions, unneeded, gap, {})


def test_totals_add_packets_and_bytes_apart() -> None:
    """Losses are of packets; a stream has missing bytes, and repairs apart from what came late; silence is the longest one."""
    totals = LoadTotals()
    for number in (10, 20):
        totals.add(flow(Udp), counted(number, number, gap=number / 100))
    totals.add(flow(Tcp), counted(4096, 4096, 0.05, retransmissions=3, unneeded=2))
    assert totals.complete
    assert totals.figures == {
        "sent": 30, "received": 30, "lost": 0, "tcp_bytes": 4096, "tcp_missing": 0, "tcp_retransmissions": 3,
        "tcp_retransmissions_needed": 1, "longest_gap_seconds": 0.2,
    }  # fmt: skip
    assert "30 UDP packets sent, 0 lost" in totals.text


@pytest.mark.parametrize(
    "flows",
    [
        pytest.param([(Udp, 10, 9), (Tcp, 4096, 4096)], id="a packet lost"),
        pytest.param([(Udp, 10, 10), (Tcp, 4096, 4095)], id="a byte missing"),
        pytest.param([(Udp, 0, 0), (Tcp, 4096, 4096)], id="no packet at all"),
        pytest.param([(Udp, 10, 10), (Tcp, 0, 0)], id="no stream at all"),
        pytest.param([], id="nothing"),
    ],
)
def test_a_load_is_whole_only_when_something_of_each_kind_came_and_nothing_is_missing(
    flows: list[tuple[type[Udp | Tcp], int, int]],
) -> None:
    """No traffic is no evidence."""
    totals = LoadTotals()
    for kind, sent, received in flows:
        totals.add(flow(kind), counted(sent, received))
    assert not totals.complete


def test_a_story_whose_claims_all_hold_ends_in_0(tmp_path: Path) -> None:
    """And the result says so."""
    record = Record(tmp_path)
    ending = conclude(record, lambda: record.claim("one", "seen", held=True))
    assert (ending.status, ending.error) == (0, "")
    assert result(tmp_path)["held"] is True


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        pytest.param(LabError("command failed", what="node-1"), 1, "command failed (node-1)", id="ours"),
        pytest.param(KeyError("time"), 1, "KeyError: 'time'", id="nobody's"),
        pytest.param(subprocess.TimeoutExpired("tool", 5), 1, "TimeoutExpired", id="a library's"),
        pytest.param(KeyboardInterrupt(), 130, "interrupted; the lab is ended, and nothing of it is left", id="Ctrl-C"),
    ],
)
def test_whatever_ends_the_story_is_in_the_result(tmp_path: Path, error: BaseException, status: int, said: str) -> None:
    """With what was claimed until then; nothing holds any more."""
    record = Record(tmp_path)

    def story() -> None:
        record.claim("one", "seen", held=True)
        raise error

    ending = conclude(record, story)
    assert ending.status == status
    assert said in ending.error
    assert result(tmp_path)["error"] == ending.error
    assert result(tmp_path)["held"] is False
    assert len(result(tmp_path)["claims"]) == 1
    assert (tmp_path / TRACEBACK).exists() == (said in {"KeyError: 'time'", "TimeoutExpired"})


def test_even_an_exit_leaves_a_result(tmp_path: Path) -> None:
    """What is not caught goes on, after the result is written."""
    with pytest.raises(SystemExit):
        conclude(Record(tmp_path), sys.exit)
    assert result(tmp_path)["error"]
    assert result(tmp_path)["held"] is False


def test_logs_that_cannot_be_kept_are_said_and_hide_nothing(tmp_path: Path) -> None:
    """The failure of a copy is one line of progress."""

    class Gone:
        node, name = "node-1", "agent"

        @staticmethod
        def log() -> str:
            raise FileNotFoundError("agent.log")

    said: list[str] = []
    keep_logs(lab(kubelet=SimpleNamespace(pods=lambda: [Gone])), Record(tmp_path), said.append)
    assert len(said) == 1
    assert "agent.log" in said[0]


def test_a_program_that_takes_too_long_is_an_error_of_ours() -> None:
    """With what it was, how long it had, and what it had said."""
    with pytest.raises(LabError, match=r"took too long \(sh -c .*more than 0.5 s; it said: begun"):
        outside.run(["sh", "-c", "echo begun; exec sleep 60"], environment={}, seconds=0.5)


def test_a_program_gets_environment_and_input_and_its_status_is_told() -> None:
    """A failure is for the caller to judge."""
    done = outside.run(["sh", "-c", "cat; echo $COLOUR; exit 3"], environment={"COLOUR": "blue"}, stdin="in ", seconds=30)
    assert (done.stdout, done.returncode) == ("in blue\n", 3)


def test_nothing_comes_between_the_label_and_the_first_look() -> None:
    """A wait for protection asks the nodes at once; the summary for its message is for when it gives up."""
    ready = {"type": "Ready", "status": "True"}
    found = {"status": {"conditions": [ready], "peers": {"protected": 0}}}
    asked: list[str] = []
    place = lab(
        api=SimpleNamespace(get=lambda path: asked.append(path) or found),
        time=lambda: 5.0,
        kubectl=lambda *words, **_: asked.append("kubectl") or " ".join(words),
    )
    assert operations.wait_protected(place, ["node-1"], 0) == {"node-1": 5.0}
    assert asked == [f"{operations.GROUP}/encryptednodes/node-1"]
    found["status"]["conditions"] = []
    with pytest.raises(LabError, match="node-1 are protected: get encryptednodes"):
        operations.wait_protected(place, ["node-1"], 0)


def test_a_wait_finds_out_what_it_waited_for_only_when_it_was_in_vain() -> None:
    """The text of the moment at which it gave up, not of that at which it began."""
    looks: list[str] = []
    until(lambda: True, what=lambda: str(looks.append("asked")), seconds=0)
    assert looks == []
    with pytest.raises(LabError, match="state 2"):
        until(lambda: looks.append("look"), what=lambda: f"state {len(looks) + 1}", seconds=0)


FIGURES = """# TYPE wirecrypt_peers gauge
wirecrypt_peers{state="protected"} 1.0
wirecrypt_peers{state="joining"} 0.0
wirecrypt_pass_failures_total 0.0
"""


def test_an_agents_own_view_of_its_pairs_is_read_from_its_figures() -> None:
    """A port that is closed, because no pass was made yet, says nothing; who asks for the figures themselves is told."""
    answer = SimpleNamespace(stdout=f"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{FIGURES}")
    assert operations.pairs_by_state(lab(exec=lambda *_: answer), "node-1") == {"protected": 1, "joining": 0}

    def closed(*_: object) -> None:
        raise LabError("Connection refused")

    assert operations.pairs_by_state(lab(exec=closed), "node-1") == {}
    with pytest.raises(LabError):
        operations.metrics(lab(exec=closed), "node-1")


def test_pins_are_kernel_objects_too() -> None:
    """What is pinned goes on without any process, so it counts where states, policies and programs on links are looked for."""
    agent = SimpleNamespace(exec=lambda _: SimpleNamespace(stdout="wirecrypt\n"))
    place = lab(
        exec=lambda *_: SimpleNamespace(stdout="state 0x101\npolicy\ntcx upl egress\n"),
        kubelet=SimpleNamespace(pods=lambda *_: [agent]),
    )
    assert operations.kernel_objects(place, "node-1") == ["state 0x101", "policy", "tcx upl egress", "pin wirecrypt"]


INTERRUPTED = """
import os, signal, sys
from pathlib import Path
from wirecrypt.lab.demo.ending import conclude, interrupt_once
from wirecrypt.lab.demo.record import Record

def story():
    try:
        os.kill(os.getpid(), int(sys.argv[2]))
        signal.pause()
    finally:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        print("the lab is ended", flush=True)

interrupt_once()
sys.exit(conclude(Record(Path(sys.argv[1])), story).status)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_impatient_second_interrupt_does_not_leave_the_lab_behind(tmp_path: Path, number: int) -> None:
    """The first one ends the story; those that follow do not reach the way down."""
    argv = [sys.executable, "-c", INTERRUPTED, str(tmp_path), str(int(number))]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.returncode) == ("the lab is ended\n", 130), done.stderr
    assert "interrupted" in result(tmp_path)["error"]


def test_a_new_record_removes_what_an_earlier_demo_left_and_nothing_else(tmp_path: Path) -> None:
    """Of a folder that a demo has filled, by the names that demos give."""
    record = fresh(tmp_path / "out")
    for name in (*EVIDENCE, TRACEBACK, "notes"):
        (record.folder / name).write_text("old")
    (record.folder / LOGS).mkdir()
    fresh(record.folder)
    assert sorted(entry.name for entry in record.folder.iterdir()) == ["notes", TIMELINE]
    assert lines(record.folder) == []


@pytest.mark.parametrize("content", [["wire.pcap"], ["logs"], [".hidden"]], ids=" ".join)
def test_a_folder_that_no_demo_has_filled_is_refused(tmp_path: Path, content: list[str]) -> None:
    """Whatever is in it, and however it is called."""
    for name in content:
        (tmp_path / name).mkdir()
    with pytest.raises(InputError, match=r"no demo has filled it; nothing was changed.*--out"):
        fresh(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == content


def test_a_folder_that_cannot_be_made_is_an_error_of_ours(tmp_path: Path) -> None:
    """A file in its way, for one."""
    (tmp_path / "file").write_text("")
    with pytest.raises(LabError, match="cannot keep the evidence"):
        fresh(tmp_path / "file/out")


def test_a_result_that_finds_no_room_is_told_and_nothing_held(tmp_path: Path) -> None:
    """The first error is told with it."""
    record = Record(tmp_path)
    (tmp_path / RESULT).symlink_to("/dev/full")
    (tmp_path / TRACEBACK).symlink_to("/dev/full")
    ending = conclude(record, lambda: record.claim("one", "seen", held=True))
    assert ending.status == 1
    assert "the result could not be written: [Errno 28] No space left on device" in ending.error

    def failing() -> None:
        raise KeyError("time")

    assert conclude(record, failing).error.startswith("KeyError: 'time'; the result could not be written")


@pytest.mark.parametrize(("seconds", "part"), [(0.0, 1.0), (2.0, 1.0), (4.0, 0.5), (8.0, 0.25), (30.0, 0.25)])
def test_a_load_beside_which_an_agent_answers_late_is_made_smaller(seconds: float, part: float) -> None:
    """Two seconds are in time; a quarter is the least."""
    assert fitting(seconds) == part
