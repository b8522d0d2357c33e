"""What a controller serves about itself, also while it has no configuration."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from http.client import HTTPConnection

import pytest

from tests.fakes.api import ApiServer
from tests.fakes.builders import node
from tests.unit.controller.test_passes import controller, encrypted_cluster
from tests.unit.controller.watched import Leader, agents
from wirecrypt.controller import Controller, ControllerEndpoints
from wirecrypt.rotation.phases import FINISHED
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


def status(port: int, page: str) -> int:
    """Return the status of a page."""
    with closing(HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.request("GET", f"/{page}")
        return connection.getresponse().status


def health(endpoints: ControllerEndpoints, page: str) -> int:
    """Return the status of a page of health."""
    return status(endpoints.health_port, page)


def test_a_controller_without_configuration_answers_its_probes() -> None:
    """Health has a port of its own, from the start, so that no probe kills a controller that waits."""
    waiting = ControllerEndpoints("127.0.0.1", health_port=free_port())
    passes = Controller(ApiServer.of(node(1), config=None), Leader(), endpoints=waiting)
    with closing(waiting):
        waiting.start()
        assert health(waiting, "healthz") == 200
        assert health(waiting, "readyz") == 503
        passes.once()
        assert health(waiting, "readyz") == 200


def test_metrics_are_where_the_configuration_says_and_health_is_not_moved() -> None:
    """The port next to the agents'; another when that changes, none when it is off; probes go on meanwhile."""
    endpoints = ControllerEndpoints("127.0.0.1", health_port=free_port())
    with closing(endpoints):
        endpoints.start()
        for port in (free_port(), free_port()):
            endpoints.show(replace(Settings(), metrics=Metrics(port=port - 1)))
            assert (status(port, "metrics"), status(port, "healthz")) == (200, 404)
            assert health(endpoints, "healthz") == 200
        endpoints.show(replace(Settings(), metrics=Metrics(port=0)))
        with pytest.raises(ConnectionRefusedError):
            status(port, "metrics")
        assert health(endpoints, "healthz") == 200


def test_passes_that_fail_are_alive_and_not_ready() -> None:
    """An API server that is away is no reason to start a controller anew; but it does not do its work."""
    endpoints = ControllerEndpoints("127.0.0.1", health_port=free_port())
    with closing(endpoints):
        endpoints.start()
        endpoints.came_round(failed=True)
        assert (health(endpoints, "healthz"), health(endpoints, "readyz")) == (200, 503)


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


def run_to_the_end(server: ApiServer, leader: Controller, endpoints: ControllerEndpoints, name: str, *, abort: bool) -> None:
    """Have a rotation run, and the endpoints look at every pass; *abort*: somebody changes his mind."""
    server.create_rotation(name, "by hand")
    while server.rotations[name].phase not in FINISHED:
        endpoints.look(server.view(), leads=True)
        server.rotations[name] = replace(server.rotations[name], abort=abort)
        leader.once()
        agents(server)
    for _ in range(2):
        endpoints.look(server.view(), leads=True)


def test_a_rotation_that_ends_is_counted_once(endpoints: ControllerEndpoints) -> None:
    """By the leader that saw it run, as complete or aborted; what was over before its time is not counted."""
    server = encrypted_cluster(1, 2)
    leader, value = controller(server), endpoints.metrics.registry.get_sample_value
    for name, abort in (("a", False), ("b", True), ("c", False)):
        run_to_the_end(server, leader, endpoints, name, abort=abort)
    assert value("wirecrypt_rotations_total", {"result": "complete"}) == 2
    assert value("wirecrypt_rotations_total", {"result": "aborted"}) == 1
    assert value("wirecrypt_rotation_seconds_count") == 2
