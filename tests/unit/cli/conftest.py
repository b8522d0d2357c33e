"""A command line with a cluster in memory and a clock that nobody waits for."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from click.testing import CliRunner, Result

from tests.unit.cli.fake_cli_client import NOW, FakeCliClient
from wirecrypt.cli.main import cli
from wirecrypt.cli.tools import Tools
from wirecrypt.doctor.facts import ClusterFacts, LocalMachine, NodeInspection


@dataclass
class Line:
    """The command line: *client* is the cluster, *slept* is called at each wait with the seconds that passed.

    *typed*: what is answered at a terminal; None where there is none.
    """

    client: FakeCliClient = field(default_factory=FakeCliClient)
    slept: Callable[[float], None] = lambda _: None
    cluster_facts: ClusterFacts = field(default_factory=lambda: ClusterFacts(now=NOW))
    node_facts: NodeInspection = field(default_factory=lambda: NodeInspection(mask=0x0FF00000, root=False, release="6.1"))
    machine: LocalMachine = field(default_factory=lambda: LocalMachine(frozenset({"a"}), frozenset()))
    asked: list[tuple[str | None, str | None]] = field(default_factory=list)
    passed: float = 0.0
    typed: str | None = None

    def __call__(self, line: str) -> Result:
        """Run `wirecrypt` with the words of *line*."""
        return CliRunner().invoke(cli, line.split(), obj=self._tools(), input=self.typed, catch_exceptions=False)

    def _tools(self) -> Tools:
        return Tools(
            connect=self._connect,
            monotonic=lambda: self.passed,
            sleep=self._sleep,
            now=lambda: NOW,
            terminal=lambda: self.typed is not None,
            gather_cluster=lambda _, __: self.cluster_facts,
            gather_node=lambda _, __: self.node_facts,
            gather_machine=lambda: self.machine,
        )

    def _connect(self, kubeconfig: object, context: str | None) -> FakeCliClient:
        self.asked.append((str(kubeconfig) if kubeconfig else None, context))
        return self.client

    def _sleep(self, seconds: float) -> None:
        self.passed += seconds
        self.slept(self.passed)


@pytest.fixture
def wirecrypt() -> Line:
    """Return the command line."""
    return Line()
