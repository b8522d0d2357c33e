"""The API server in memory keeps what the ports promise: what is tried on it is tried on a real one, too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from tests.fakes.agent_side import AgentSide
from tests.fakes.api import ApiServer
from tests.fakes.api_contracts import API, Cluster
from tests.fakes.builders import node
from wirecrypt.model.objects import ControllerView, Node


@dataclass
class Memory:
    """An API server in memory, and what stands around it."""

    controller: ApiServer = field(default_factory=ApiServer)
    made: int = 0

    def node(self, name: str) -> Node:
        """Have a Node of this name: another one, if there is one."""
        self.made += 1
        self.controller.nodes[name] = replace(node(self.made), name=name)
        return self.controller.nodes[name]

    def agent(self, name: str) -> AgentSide:
        """Return what the agent on this node has."""
        return AgentSide(self.controller, name, self.controller.nodes[name].uid)

    def view(self) -> ControllerView:
        """Return what the controller sees."""
        view = self.controller.view()
        assert view is not None
        return view

    def wait(self, until: Callable[[], object]) -> None:
        """Nothing comes late."""
        assert until()


@pytest.mark.parametrize("promise", API, ids=lambda promise: promise.__name__)
def test_an_api_server_in_memory(promise: Callable[[Cluster], None]) -> None:
    """As a real one."""
    promise(Memory())
