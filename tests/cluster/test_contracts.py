"""The API server keeps what the ports promise, and so does what stands in for it (tests/unit/fakes)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from tests.fakes.api_contracts import API, Cluster
from wirecrypt.cluster import paths
from wirecrypt.cluster.codec import decode
from wirecrypt.cluster.controller_client import ControllerClient
from wirecrypt.errors import ClusterError
from wirecrypt.model.objects import Node

if TYPE_CHECKING:
    from tests.cluster.conftest import Server
    from wirecrypt.cluster.agent_client import AgentClient
    from wirecrypt.model.objects import ControllerView


class Real:
    """A real API server, with a controller's copies."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.controller = ControllerClient(server.controller())

    def node(self, name: str) -> Node:
        """Have a Node of this name: another one, if there is one."""
        self.server.admin.delete(f"{paths.NODES}/{name}")
        self.server.node(name)
        return decode.node(self.server.admin.get(f"{paths.NODES}/{name}"))

    def agent(self, name: str) -> AgentClient:
        """Return the client of the agent on this node, with a token that its kubelet asked for now."""
        return self.server.agent(name).cluster

    def view(self) -> ControllerView:
        """Return what the controller sees, once its copies show all that it wrote."""
        view: ControllerView = self.server.wait(self.controller.view, "copies that show what was written")
        return view

    def wait(self, until: Callable[[], object]) -> None:
        """Wait for what becomes true a moment after what it follows from, as the authorizer's copies."""
        self.server.wait(lambda: _holds(until), "what follows")


def _holds(until: Callable[[], object]) -> bool:
    try:
        return bool(until())
    except ClusterError:
        return False


@pytest.fixture
def cluster(clean: Server) -> Iterator[Real]:
    """Yield the API server without any object of a test before."""
    real = Real(clean)
    real.controller.start(lambda: None)
    yield real
    real.controller.stop()


@pytest.mark.parametrize("promise", API, ids=lambda promise: promise.__name__)
def test_an_api_server(cluster: Real, promise: Callable[[Cluster], None]) -> None:
    """As the one in memory."""
    promise(cluster)
