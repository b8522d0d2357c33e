"""What a controller serves about itself, also while it has no configuration."""

from __future__ import annotations

import socket
import urllib.request
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.unit.controller.standin import ApiServer, Leader, node
from wirecrypt.controller import Controller, ControllerEndpoints
from wirecrypt.settings import Metrics, Settings


@pytest.fixture
def endpoints() -> Iterator[ControllerEndpoints]:
    """Yield figures on loopback, closed at the end."""
    made = ControllerEndpoints("127.0.0.1")
    yield made
    made.close()


def free_port() -> int:
    """Return a TCP port that is free now, and its lower neighbour's number is the setting that leads to it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def healthz(port: int) -> int:
    """Return the status of /healthz."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=10) as answer:
        return int(answer.status)


def test_a_controller_without_configuration_answers_its_probes() -> None:
    """The port is the default one until a document says otherwise, so that no probe kills a controller that waits."""
    port = free_port()
    waiting = ControllerEndpoints("127.0.0.1", default=replace(Settings(), metrics=Metrics(port=port - 1)))
    passes = Controller(ApiServer.of(node(1), config=None), Leader(), endpoints=waiting)
    try:
        passes.once()
        assert healthz(port) == 200
    finally:
        waiting.close()


def test_held_removals_are_counted(endpoints: ControllerEndpoints) -> None:
    """The leader's figure is the number of nodes that wait for a person."""
    server = ApiServer.of(*(node(n) for n in range(1, 5)))
    passes = Controller(server, Leader())
    while len(server.peers) < 4:
        passes.once()
    server.nodes.clear()
    view = server.view()
    assert view is not None
    endpoints.look(view, leads=True)
    assert endpoints.metrics.registry.get_sample_value("wirecrypt_removals_held") == 4
    endpoints.look(view, leads=False)
    assert endpoints.metrics.registry.get_sample_value("wirecrypt_removals_held") == 0
