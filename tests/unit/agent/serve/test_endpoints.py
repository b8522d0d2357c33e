"""The agent's ports and socket: real requests over HTTP, to a node whose kernel and loop stand in memory."""

import json
import socket
import tempfile
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.unit.agent import node
from tests.unit.agent.node import GENERATION, OWN, PAIR, PEER, SETTINGS, Memories, as_guard
from wirecrypt.agent.last_pass import LastPass
from wirecrypt.agent.serve.endpoints import STUCK, STUCK_IDLE, AgentEndpoints
from wirecrypt.agent.serve.gate import Gate
from wirecrypt.agent.serve.inspector import REPEATS, Inspector, Readers, RunningCapture
from wirecrypt.agent.serve.metrics_page import MetricsPage
from wirecrypt.cluster.agent_proxy import ask_local
from wirecrypt.errors import LinkError
from wirecrypt.http_server import TOKEN_HEADER
from wirecrypt.model.access import ALLOWED, UNKNOWN, TokenVerdict
from wirecrypt.model.secret import SecretBytes
from wirecrypt.model.verify_facts import CapturedPackets, CaptureSummary, NodeEvidence, NodePlan, decode
from wirecrypt.model.xfrm import Address
from wirecrypt.settings import Metrics, Settings

SPI = GENERATION.spi(OWN.node_id, 0)
GOOD = SecretBytes(b"good")
Relevant = Callable[[Address, Address], bool]


@dataclass
class Capture:
    """A capture that has seen ESP to the peer; it waits for nobody, unless it is told to."""

    go_on: threading.Event = field(default_factory=threading.Event)
    began: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    never: threading.Event = field(default_factory=threading.Event)
    closed: int = 0

    def watch(self, until: float) -> None:
        """Wait until then, and until it may go on."""
        self.began.release()
        assert self.go_on.wait(60)
        self.never.wait(until - time.monotonic())

    def finish(self) -> CapturedPackets:
        """Return ESP to the peer."""
        return CapturedPackets({(PAIR.outer()[1], SPI): 3}, (), 3, 0)

    def close(self) -> None:
        """Note it."""
        self.closed += 1


@dataclass
class Agent:
    """All around the service: its kernel, its loop's window, a loop that answers probes when it is woken."""

    last_pass: LastPass = field(default_factory=LastPass)
    kernel: Memories = field(default_factory=Memories)
    capture: Capture = field(default_factory=Capture)
    refused: LinkError | None = None
    reviews: list[tuple[str, str]] = field(default_factory=list)
    wakes: int = 0
    health: int = 0
    socket: Path = Path()
    now: float = 0.0
    on_wake: Callable[[], None] = lambda: None

    def __post_init__(self) -> None:
        self.capture.go_on.set()
        self.readers = Readers(self.kernel.open, as_guard(self.kernel), self._wire)
        self.inspector = Inspector("a", self.last_pass, self.readers, self._wake, patience=0.2)
        metrics = MetricsPage(self.last_pass, self.readers, lambda: 5)
        gate = Gate("a", self._review)
        self.service = AgentEndpoints(self.inspector, self.last_pass, metrics, gate, clock=lambda: self.now)

    def show(self, settings: Settings) -> None:
        """Be enabled with *settings*, the pair in steady state."""
        self.last_pass.show(settings, node.pass_snapshot())

    def _review(self, token: SecretBytes, page: str) -> TokenVerdict:
        self.reviews.append((token.reveal().decode(), page))
        return TokenVerdict(ALLOWED) if token == GOOD else TokenVerdict(UNKNOWN, "not valid")

    def _wire(self, links: Sequence[str], settings: Settings, relevant: Relevant) -> RunningCapture:
        assert (links, settings.vxlan_ports) == (("upl",), SETTINGS.vxlan_ports)
        assert relevant(OWN.pod_cidrs[0][2], PEER.pod_cidrs[0][2])
        if self.refused:
            raise self.refused
        return self.capture

    def _wake(self) -> None:
        self.wakes += 1
        self.on_wake()
        if self.last_pass.live.taken():
            nonce = self.wakes.to_bytes(16, "big")
            self.last_pass.live.sent(PEER.node_uid, SPI, (GENERATION, 0), nonce, refused=False)
            self.last_pass.live.answered(PEER.node_uid, nonce, (GENERATION, 0))


def free_port() -> int:
    with socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def agent() -> Iterator[Agent]:
    """Return an enabled agent with its ports and its socket open."""
    made = Agent()
    made.show(replace(SETTINGS, metrics=Metrics(port=free_port())))
    with tempfile.TemporaryDirectory() as folder:  # a socket's path has 107 bytes at most
        made.socket = Path(folder) / "agent.sock"
        made.health = free_port()
        made.service.start(made.socket, made.health)
        made.service.passed(0.01, failed=False)
        yield made
        made.capture.go_on.set()
        made.service.close()


def get(agent: Agent, path: str, host: str = "127.0.0.1", token: SecretBytes | None = GOOD) -> tuple[int, str]:
    return fetch(host, agent.service.port, path, {} if token is None else {TOKEN_HEADER: token.reveal().decode()})


def health(agent: Agent, page: str = "/healthz") -> tuple[int, str]:
    return fetch("127.0.0.1", agent.health, page)


def fetch(host: str, port: int, path: str, headers: dict[str, str] | None = None) -> tuple[int, str]:
    with closing(HTTPConnection(host, port, timeout=120)) as connection:
        connection.request("GET", path, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def verify(agent: Agent) -> NodeEvidence:
    status, text = get(agent, "/verify?seconds=1")
    assert status == 200, text
    return decode(NodeEvidence, json.loads(text), "answer")


def test_verify_answers_with_all_that_was_seen(agent: Agent) -> None:
    """Kernel, probes and capture of one node in one answer; the capture is closed."""
    facts = verify(agent)
    assert (facts.node, facts.state, facts.settled) == ("a", "Active", True)
    (peer,) = facts.peers
    assert (peer.probes[0].sent, peer.probes[0].answered) == (REPEATS, REPEATS)
    assert [(e.spi, e.packets) for e in peer.esp] == [(SPI, 3)]
    assert agent.capture.closed == 1


@pytest.mark.V1
def test_the_kernel_is_read_before_the_loop_can_repair_it(agent: Agent) -> None:
    """What was deleted is in the answer even when the first thing that the woken loop does is to put it back."""
    lost = node.policies()[0].name
    agent.kernel.without(lost)

    def repair() -> None:
        agent.kernel.kernel = node.complete()

    agent.on_wake = repair
    assert [d.object for d in verify(agent).peers[0].policies_in] == [f"policy {lost}"]
    assert verify(agent).peers[0].policies_in == ()


def test_a_node_that_is_not_enabled_says_so(agent: Agent) -> None:
    """Nothing is read, sent or captured; the answer has no state and no peers."""
    agent.last_pass.show(SETTINGS, None)
    facts = verify(agent)
    assert (facts.state, facts.peers, facts.watched) == ("", (), CaptureSummary((), 0.0))
    assert (agent.kernel.reads, agent.wakes) == ([], 0)


def test_a_capture_that_is_refused_is_told(agent: Agent) -> None:
    """Without the capability the rest is answered all the same, with the reason."""
    agent.refused = LinkError("watch a link", what="upl", answer="Operation not permitted")
    facts = verify(agent)
    assert "not permitted" in facts.watched.problem
    assert facts.peers[0].probes[0].answered == REPEATS


def test_a_loop_that_hangs_in_a_pass_is_told(agent: Agent) -> None:
    """The kernel is read all the same, and the answer says that it may differ from the last pass."""
    with agent.last_pass.passing():
        assert verify(agent).settled is False


def test_a_pass_that_failed_is_told(agent: Agent) -> None:
    """After a pass that ended in an error the kernel fits no picture; after the next good one it does again."""
    with pytest.raises(LinkError), agent.last_pass.passing():
        raise LinkError("pass", answer="no")
    assert verify(agent).settled is False
    with agent.last_pass.passing():
        agent.show(SETTINGS)
    assert verify(agent).settled is True


@pytest.mark.parametrize("query", ["seconds=0", "seconds=11", "seconds=1.5", "seconds=x", "seconds=", "seconds=²"])
def test_bad_seconds_are_refused(agent: Agent, query: str) -> None:
    """Only whole seconds from 1 to 10; nothing is done for anything else."""
    status, text = get(agent, f"/verify?{urllib.parse.quote(query, safe='=')}")
    if query == "seconds=":  # as if not given
        assert status == 200
        return
    assert (status, "from 1 to 10" in text) == (400, True)
    assert agent.wakes == 0


def test_those_who_wait_share_the_next_verification(agent: Agent) -> None:
    """One runs at a time; all who ask meanwhile get one further run, which reads the kernel after they asked."""
    agent.capture.go_on.clear()
    with ThreadPoolExecutor(5) as pool:
        first = pool.submit(verify, agent)
        agent.capture.began.acquire()
        others = [pool.submit(verify, agent) for _ in range(4)]
        lost = node.policies()[0].name
        while agent.service.waiting < 4:
            assert not first.done()
        agent.kernel.without(lost)
        agent.capture.go_on.set()
        assert first.result().peers[0].policies_in == ()
        assert [len(o.result().peers[0].policies_in) for o in others] == [1] * 4
    assert agent.kernel.reads == ["sas"] * 4  # at the beginning and the end of two runs


def test_many_who_ask_for_a_plan_share_it(agent: Agent) -> None:
    """The loop stands still for one plan, not for one of each who asks: those who come while one is made share the next."""
    began, go_on = threading.Semaphore(0), threading.Event()
    agent.kernel.on_read = lambda: (began.release(), go_on.wait(60))
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(get, agent, "/plan")
        began.acquire()
        others = [pool.submit(get, agent, "/plan") for _ in range(7)]
        while agent.service.waiting < 7:
            assert not first.done()
            threading.Event().wait(0.01)
        go_on.set()
        assert {each.result()[0] for each in (first, *others)} == {200}
    assert agent.kernel.reads == ["sas"] * 2


@pytest.mark.parametrize("page", ["/verify?seconds=1", "/plan"])
def test_who_has_no_good_token_is_told_nothing_and_costs_nothing(agent: Agent, page: str) -> None:
    """401 with what is missing; the kernel is not read and the loop not woken. With a good token it is answered."""
    for token, why in ((None, "no token"), (SecretBytes(b"bad"), "not valid")):
        status, text = get(agent, page, token=token)
        assert (status, json.loads(text)["message"].startswith(f"agent of a: {why}")) == (401, True)
    assert (agent.kernel.reads, agent.wakes) == ([], 0)
    assert get(agent, page)[0] == 200


def test_metrics_are_for_everybody(agent: Agent) -> None:
    """Nobody is asked about a token, sent or not; health is not on this port."""
    assert [get(agent, "/metrics", token=token)[0] for token in (None, GOOD)] == [200, 200]
    assert [get(agent, page)[0] for page in ("/healthz", "/readyz", "/")] == [404] * 3
    assert agent.reviews == []


def test_the_local_socket_needs_no_token(agent: Agent) -> None:
    """Root of the node has all pages by it, whatever the API server is at; nobody else can open it."""
    assert ask_local(agent.socket, "verify?seconds=1")["node"] == "a"
    assert ask_local(agent.socket, "plan")["node"] == "a"
    assert (agent.reviews, agent.socket.stat().st_mode & 0o777) == ([], 0o600)


def test_a_socket_that_was_left_behind_is_replaced(agent: Agent) -> None:
    """An agent that was killed cannot remove its own."""
    after = Agent()
    after.service.start(agent.socket, 0)
    assert ask_local(agent.socket, "plan")["settled"]
    after.service.close()


def test_a_socket_that_cannot_be_had_is_no_end(agent: Agent) -> None:
    """Without a folder for it the rest is served."""
    after = Agent()
    after.service.start(agent.socket.parent / "gone" / "agent.sock", port := free_port())
    assert fetch("127.0.0.1", port, "/healthz")[0] == 200
    after.service.close()


def test_plan_lists_what_would_be_written_and_writes_nothing(agent: Agent) -> None:
    """A lost policy is in the plan with its reason; the loop is not woken."""
    lost = node.policies()[0].name
    agent.kernel.without(lost)
    status, text = get(agent, "/plan")
    plan = decode(NodePlan, json.loads(text), "answer")
    assert (status, [(c.object, c.peer) for c in plan.changes]) == (200, [(str(lost), "b")])
    assert agent.wakes == 0
    agent.kernel.kernel = node.complete()
    assert json.loads(get(agent, "/plan")[1])["changes"] == []


def test_figures_of_kernel_and_loop(agent: Agent) -> None:
    """/metrics has the pairs' states, the counters of kernel and guard, and what the loop did; also over IPv6."""
    agent.last_pass.refused |= {"not authentic": 2, "unknown sender": 1}  # the other five: by the filter of the port
    agent.last_pass.sessions = 3
    status, text = get(agent, "/metrics", "::1")
    assert status == 200
    for line in (
        'wirecrypt_peers{state="protected"} 1.0',
        'wirecrypt_xfrm_stat_total{name="XfrmInNoStates"} 3.0',
        'wirecrypt_guard_packets_total{reason="passed_esp"} 7.0',
        'wirecrypt_control_refused_total{reason="not authentic"} 2.0',
        'wirecrypt_control_refused_total{reason="unknown sender"} 6.0',
        "wirecrypt_sessions_made_total 3.0",
        "wirecrypt_kernel_writes_total 5.0",
        "wirecrypt_peers_exempt 0.0",
        "wirecrypt_enabled 1.0",
        "wirecrypt_sending_epoch 1.0",
        "wirecrypt_sequence_headroom_ratio 1.0",
        "wirecrypt_pass_seconds_count 1.0",
    ):
        assert line in text.splitlines()
    assert get(agent, "/metrics")[1].count("wirecrypt_sessions_made_total 3.0") == 1  # a second look adds nothing
    agent.last_pass.show(SETTINGS, None)
    assert "wirecrypt_enabled 0.0" in get(agent, "/metrics")[1].splitlines()


def test_figures_that_cannot_be_read_keep_their_value(agent: Agent) -> None:
    """A kernel that refuses to be read does not take the page away."""
    get(agent, "/metrics")
    agent.kernel.broken = True
    status, text = get(agent, "/metrics")
    assert (status, 'name="XfrmInNoStates"} 3.0' in text) == (200, True)


def test_no_answer_holds_key_bytes(agent: Agent) -> None:
    """No page shows a byte of a key in any spelling."""
    pages = [get(agent, path)[1] for path in ("/verify?seconds=1", "/plan", "/metrics")]
    for sa in node.sas():
        assert not any(sa.key.reveal().hex() in page for page in pages)


def test_health_is_that_of_the_loop(agent: Agent) -> None:
    """A loop that has not passed for a minute is a problem; an idle node passes less often."""
    agent.now = STUCK
    assert health(agent) == (200, "ok\n")
    agent.now = STUCK + 1
    assert health(agent) == (503, "no pass for 61 s\n")
    agent.last_pass.show(SETTINGS, None)
    assert health(agent)[0] == 200
    agent.now = STUCK_IDLE + 1
    assert health(agent)[0] == 503


def test_passes_that_fail_are_alive_and_not_ready(agent: Agent) -> None:
    """A restart would not mend them, so the loop is alive; but its work is not done."""
    assert health(agent, "/readyz") == (200, "ok\n")
    agent.now = STUCK + 1
    agent.service.passed(0.1, failed=True)
    assert health(agent)[0] == 200
    assert health(agent, "/readyz") == (503, "no pass has ended well for 61 s\n")
    agent.service.passed(0.1, failed=False)
    assert health(agent, "/readyz")[0] == 200


def test_an_agent_that_waits_for_its_configuration_is_alive() -> None:
    """Its health is told before its first pass, and without any document; it is ready once a pass has ended well."""
    agent = Agent(health=free_port())
    with tempfile.TemporaryDirectory() as folder:
        agent.service.start(Path(folder) / "agent.sock", agent.health)
        assert health(agent) == (200, "ok\n")
        assert health(agent, "/readyz") == (503, "no pass has ended well yet\n")
        agent.service.passed(0.1, failed=False)
        assert (health(agent, "/readyz")[0], agent.service.port) == (200, 0)
        agent.service.close()


def test_a_port_of_health_that_was_taken_is_had_later() -> None:
    """The agent goes on without it meanwhile."""
    agent = Agent()
    with socket.create_server(("127.0.0.1", 0)) as other, tempfile.TemporaryDirectory() as folder:
        agent.health = int(other.getsockname()[1])
        agent.service.start(Path(folder) / "agent.sock", agent.health)
    agent.now = 31
    agent.service.passed(0.1, failed=False)
    assert health(agent)[0] == 200
    agent.service.close()


def test_the_port_follows_the_configuration() -> None:
    """No port before the configuration is known; then that one; another when it changes; none when it is off."""
    agent = Agent()
    agent.service.passed(0.1, failed=False)
    assert agent.service.port == 0
    for wanted in (free_port(), free_port(), 0):
        agent.show(replace(SETTINGS, metrics=Metrics(port=wanted)))
        agent.service.passed(0.1, failed=False)
        assert agent.service.port == wanted
        if wanted:
            assert get(agent, "/metrics")[0] == 200
    agent.service.close()


def test_a_taken_port_is_tried_again_later() -> None:
    """The loop goes on without the port, and takes it when it is free."""
    agent = Agent()
    with socket.socket(socket.AF_INET6) as other:
        other.bind(("::", 0))
        other.listen()
        wanted = int(other.getsockname()[1])
        agent.show(replace(SETTINGS, metrics=Metrics(port=wanted)))
        agent.service.passed(0.1, failed=False)
        assert agent.service.port == 0
    agent.service.passed(0.1, failed=False)
    assert agent.service.port == 0  # not tried at every pass
    agent.now = 31
    agent.service.passed(0.1, failed=False)
    assert agent.service.port == wanted
    agent.service.close()
