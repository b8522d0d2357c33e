"""Who is told what by a running agent: metrics for all, evidence for a token or for root of the node, health on loopback."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.e2e import product
from wirecrypt.lab import operations
from wirecrypt.lab.machine.machine import GUEST_PYTHON
from wirecrypt.lab.waiting import DEADLINE, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wirecrypt.lab.lab import Lab

NEWEST_KERNEL = True  # what is judged here does not depend on the kernel
QUIET = True

FETCH = """
import http.client, json, sys
found = {}
for where in sys.argv[2:]:
    host, port, page = where.split(" ")
    connection = http.client.HTTPConnection(host, int(port), timeout=120)
    try:
        connection.request("GET", page, headers=json.loads(sys.argv[1]))
        found[where] = connection.getresponse().status
    except OSError as error:
        found[where] = type(error).__name__
print(json.dumps(list(found.values())))
"""
SLOW = """
import socket, sys, threading, time
def ask():
    while True:
        try:
            with socket.create_connection((sys.argv[1], 14580), timeout=120) as s:
                s.sendall(b"GET /plan HTTP/1.1\\r\\n")
                time.sleep(1)
                s.sendall(b"\\r\\n")
                while s.recv(4096):
                    pass
        except OSError:
            time.sleep(0.1)
for _ in range(64):
    threading.Thread(target=ask, daemon=True).start()
print("asking", flush=True)
time.sleep(600)
"""


def statuses(lab: Lab, where: str, *pages: str, token: str = "") -> list[int | str]:
    """Return what GETs of "host port page" are answered in a place of the lab."""
    headers = json.dumps({"Authorization": f"Bearer {token}"} if token else {})
    found: list[int | str] = json.loads(lab.exec(where, [GUEST_PYTHON, "-SE", "-c", FETCH, headers, *pages]).stdout)
    return found


@pytest.mark.K3
def test_agents_tell_a_pod_their_metrics_and_nothing_else(protected: Lab) -> None:
    """Of its own node and of a peer: evidence needs a token, health is on the node's loopback."""
    for node in product.PAIR:
        address = str(protected.nodes[node].addresses.wire4.ip)
        pages = [f"{address} 14580 {page}" for page in ("/metrics", "/verify?seconds=1", "/plan", "/healthz")]
        assert statuses(protected, "pod/node-1/a", *pages) == [200, 401, 401, 404]
        (health,) = statuses(protected, "pod/node-1/a", f"{address} 14582 /healthz")
        assert health == "ConnectionRefusedError"
    assert statuses(protected, "node-1", "127.0.0.1 14582 /healthz", "127.0.0.1 14582 /readyz") == [200, 200]


@pytest.mark.K3
def test_a_token_is_for_the_agent_that_it_names(protected: Lab) -> None:
    """As kubectl makes it: node-1's agent answers, node-2's does not."""
    words = ("-n", "wirecrypt-system", "create", "token", "wirecrypt-verify", "--audience", "wirecrypt.io/agent/node-1")
    token = protected.kubectl(*words).strip()
    pages = [f"{protected.nodes[node].addresses.wire4.ip} 14580 /plan" for node in product.PAIR]
    assert statuses(protected, "pod/node-1/a", *pages, token=token) == [200, 401]


def test_root_of_a_node_asks_without_the_api_server(protected: Lab) -> None:
    """In the agent's container, by its socket: no kubeconfig, no token."""
    agent = protected.kubelet.pod("wirecrypt-agent", "node-1")
    done = agent.exec(["wirecrypt", "plan", "--local", "-o", "json"])
    assert [each["node"] for each in json.loads(done.stdout)["nodes"]] == ["node-1"]
    done = agent.exec(["wirecrypt", "verify", "--local", "--seconds", "1"], check=False)
    assert done.status == 0, done.stdout + done.stderr


def test_slow_clients_do_not_keep_an_agent_from_its_work(protected: Lab) -> None:
    """64 of them from a pod: the agent makes its passes, its health is told, and who may verifies."""
    address = str(protected.nodes["node-1"].addresses.wire4.ip)
    with slow_clients(protected, address):
        passes = product.counted(protected, "node-1", "wirecrypt_pass_seconds_count")
        assert statuses(protected, "node-1", "127.0.0.1 14582 /healthz", "127.0.0.1 14582 /readyz") == [200, 200]
        done = operations.wirecrypt(protected, "verify", "--seconds", "1", check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        product.wait_passes(protected, "node-1", 1)
        assert product.counted(protected, "node-1", "wirecrypt_pass_seconds_count") > passes


@contextmanager
def slow_clients(lab: Lab, address: str) -> Iterator[None]:
    """Have a pod ask an agent for plans, slowly, again and again."""
    process = lab.spawn("pod/node-1/a", [GUEST_PYTHON, "-SE", "-c", SLOW, address])
    try:
        until(lambda: "asking" in process.output(), what="slow clients", seconds=DEADLINE)
        yield
    finally:
        process.kill(9)
        process.wait()
