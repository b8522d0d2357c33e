"""Every right in manifests/ is needed by a request that a program makes, and no program makes one that is not granted.

What is granted is compared with `doctor.needs` in tests/unit/doctor; here that is compared with the requests themselves.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

import wirecrypt
from tests.fakes.builders import SILENT
from tests.unit.cluster.recorded import Recorder, Right, right
from wirecrypt.cluster.access.reviews import Reviews
from wirecrypt.cluster.agent_client import AgentClient
from wirecrypt.cluster.api import Api
from wirecrypt.cluster.controller_client import ControllerClient
from wirecrypt.cluster.informers import ControllerInformers, Informers
from wirecrypt.cluster.lease import ClusterLease
from wirecrypt.doctor.needs import AGENT, CONTROLLER, NEEDS
from wirecrypt.errors import WirecryptError
from wirecrypt.model.access import AccessPart, KeyAccess, TokenIdentity
from wirecrypt.model.admission import BY_CONTROLLER
from wirecrypt.model.objects import (
    KEYS_NAMESPACE,
    EncryptedNode,
    KeyRotation,
    KeySecret,
    Lease,
    Node,
    NodePeer,
    NodeState,
    SeedSecret,
)
from wirecrypt.model.secret import SecretBytes
from wirecrypt.model.session import Epoch, Session
from wirecrypt.model.xfrm import Algorithm
from wirecrypt.ports import AgentApi, ControllerApi

PACKAGE = Path(wirecrypt.__file__).parent
NOW = datetime(2030, 1, 1, tzinfo=UTC)
EPOCH = Epoch(1, "0" * 32)
SESSION = Session(1, EPOCH, bytes(32), 1, Algorithm.AES_256_GCM)
NODE = Node("a", "uid-a", "enabled", (), (), NOW)
PEER = NodePeer("a", "uid", 16, "uid-a", (), (), NodeState.ACTIVE, NOW, resource_version="1")
ENCRYPTED = EncryptedNode("a", "uid", 16, "uid-a", NodeState.ACTIVE, NOW, resource_version="1")
ROTATION = KeyRotation("r", "uid", "", NOW, resource_version="1")
KEYS, SEED = KeySecret("a", "uid-a", (), "1"), SeedSecret(EPOCH, SecretBytes(bytes(32)), resource_version="1")
# A controller grants the account of a node what that node's agent reads; nobody grants what he may not do himself.
TO_GRANT = {("get", "", "secrets", KEYS_NAMESPACE, "")}
EVERYBODY = {("create", "authentication.k8s.io", "selfsubjectreviews", "", "")}  # Kubernetes' own role for all who are known

Calls = Mapping[str, Callable[..., object]]
BY_AGENT: Calls = {
    "nodes": AgentClient.nodes,
    "node": lambda api: api.node("a"),
    "node_peer": lambda api: api.node_peer("a"),
    "encrypted_node": lambda api: api.encrypted_node("a"),
    "node_keys": lambda api: api.node_keys("a"),
    "publish_sessions": lambda api: api.publish_sessions(PEER, boot_id="b", boot_session=1, sessions=[SESSION]),
    "propose_addresses": lambda api: api.propose_addresses("a", ()),
    "write_node_status": lambda api: api.write_node_status(ENCRYPTED, SILENT),
    "forbidden_write_refused": lambda api: api.forbidden_write_refused(["b"]),
    "foreign_token_refused": AgentClient.foreign_token_refused,
    "pod_try_refused": AgentClient.pod_try_refused,
    "identity": AgentClient.identity,
    "delete_pod": lambda api: api.delete_pod(TokenIdentity("agent-a", "uid", "a", "uid-a")),
    "api_addresses": AgentClient.api_addresses,
    "reached": lambda api: api.reached(1.0),
}
BY_CONTROLLER_: Calls = {
    "view": ControllerClient.view,
    "catch_up": ControllerClient.catch_up,
    "refuses": lambda api: [api.refuses(policy) for policy in BY_CONTROLLER],
    "create_encrypted_node": lambda api: api.create_encrypted_node(NODE, 16, NodeState.JOINING, ()),
    "update_encrypted_node": lambda api: api.update_encrypted_node(ENCRYPTED, NodeState.ACTIVE, ()),
    "delete_encrypted_node": lambda api: api.delete_encrypted_node(ENCRYPTED),
    "create_node_peer": lambda api: api.create_node_peer(NODE, PEER),
    "update_node_peer": lambda api: api.update_node_peer(PEER, PEER),
    "remove_node_peer": lambda api: api.remove_node_peer(PEER),
    "write_keys": lambda api: [api.write_keys(KeySecret("a", "uid-a", (), version), NODE) for version in ("", "1")],
    "delete_keys": lambda api: api.delete_keys(KEYS),
    "grant_keys": lambda api: [api.grant_keys("a", part) for part in AccessPart],
    "revoke_keys": lambda api: [api.revoke_keys(KeyAccess("a", part, "uid")) for part in AccessPart],
    "write_seed": lambda api: [api.write_seed(SeedSecret(EPOCH, SEED.seed, resource_version=version)) for version in ("", "1")],
    "delete_seed": lambda api: api.delete_seed(SEED),
    "create_rotation": lambda api: api.create_rotation("r", ""),
    "delete_rotation": lambda api: api.delete_rotation(ROTATION),
    "hold_rotation": lambda api: api.hold_rotation(ROTATION, held=True),
    "write_rotation": lambda api: api.write_rotation(ROTATION, ROTATION),
    "node_event": lambda api: api.node_event("a", reason="R", message="", warning=True),
    "policy_event": lambda api: api.policy_event("p", reason="R", message=""),
    "rotation_event": lambda api: api.rotation_event(ROTATION, reason="R", message=""),
}


def methods(port: type) -> set[str]:
    """Return the names of a port's methods."""
    return {name for name, value in vars(port).items() if inspect.isfunction(value) and not name.startswith("_")}


def watched(recorder: Recorder, informers: Informers) -> None:
    """Let the copies be listed and watched once."""
    informers.start(lambda: None)
    kinds = {reflector.path for reflector in informers._all}  # noqa: SLF001 - every kind that there is
    recorder.wait(lambda rights: sum(verb == "watch" for verb, *_ in rights) >= len(kinds))
    informers.stop()


def requests_of_agent() -> set[Right]:
    """Return the rights that an agent's requests take."""
    recorder = Recorder()
    client = AgentClient(recorder.api())
    for call in BY_AGENT.values():
        with suppress(WirecryptError):  # the answers are empty: what was asked counts
            call(client)
    with suppress(WirecryptError):
        Reviews(_saying(recorder), "a")(SecretBytes(b"t"), "verify")
    watched(recorder, Informers(recorder.api()))
    recorder.wait(lambda rights: any(resource == "endpointslices" for _, _, resource, *_ in rights))
    recorder.wait(lambda rights: ("get", "", "configmaps", "wirecrypt-system", "wirecrypt-config") in rights)
    return recorder.rights


def _saying(recorder: Recorder) -> Api:
    """Return an API that says of every token that it is good for the agent of node a."""
    from wirecrypt.model.access import audience  # noqa: PLC0415 - of this helper alone

    api = recorder.api()
    made = api.create
    api.create = lambda path, body: made(path, body) | {"status": {"authenticated": True, "audiences": [audience("a")]}}  # type: ignore[method-assign]
    return api


def requests_of_controller() -> set[Right]:
    """Return the rights that a controller's requests take."""
    recorder = Recorder()
    client, lease = ControllerClient(recorder.api()), ClusterLease(recorder.api())
    for call in BY_CONTROLLER_.values():
        with suppress(WirecryptError):
            call(client)
    for version in ("", "1"):
        with suppress(WirecryptError):
            lease.write(Lease("me", NOW, NOW, 15, 0, version))
    with suppress(WirecryptError):
        lease.read()
    watched(recorder, ControllerInformers(recorder.api()))
    return recorder.rights


@pytest.mark.parametrize(("port", "calls"), [(AgentApi, BY_AGENT), (ControllerApi, BY_CONTROLLER_)])
def test_every_method_of_the_port_is_asked(port: type, calls: Calls) -> None:
    """So that the next one is compared as well."""
    assert methods(port) == calls.keys()


@pytest.mark.parametrize(("port", "program"), [(AgentApi, "agent"), (ControllerApi, "controller")])
def test_every_method_of_the_port_is_called_by_its_loop(port: type, program: str) -> None:
    """What no loop calls is no part of what a loop needs, nor is the right to it."""
    trees = [ast.parse(file.read_text()) for file in (PACKAGE / program).rglob("*.py")]
    named = {node.attr for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert methods(port) - named == set()


@pytest.mark.parametrize(
    ("account", "made", "beside"), [(AGENT, requests_of_agent, set()), (CONTROLLER, requests_of_controller, TO_GRANT)]
)
def test_an_account_has_the_rights_that_its_requests_take_and_no_other(
    account: str, made: Callable[[], set[Right]], beside: set[Right]
) -> None:
    """A right to one object by its name is taken by requests for that one; one to all of a kind by requests for any."""
    granted = {(n.verb, n.group, n.resource, n.namespace, n.name) for n in NEEDS if n.account == account}
    asked = {each if each in granted else (*each[:4], "") for each in made()}
    assert (sorted(granted - asked - beside), sorted(asked - granted - EVERYBODY)) == ([], [])


@pytest.mark.parametrize(
    ("method", "url", "expected"),
    [
        ("GET", "/api/v1/nodes?limit=500", ("list", "", "nodes", "", "")),
        ("GET", "/api/v1/namespaces/x", ("get", "", "namespaces", "", "x")),
        ("PATCH", "/apis/x.io/v1/peers/a/status?dryRun=All", ("patch", "x.io", "peers/status", "", "a")),
        ("GET", "/api/v1/namespaces/n/secrets?fieldSelector=type%3Dx&watch=1", ("watch", "", "secrets", "n", "")),
        ("GET", "/api/v1/namespaces/n/secrets?fieldSelector=metadata.name%3Dc", ("list", "", "secrets", "n", "c")),
        ("POST", "/api/v1/namespaces/n/serviceaccounts/a/token", ("create", "", "serviceaccounts/token", "n", "a")),
    ],
)
def test_a_request_takes_the_right_that_the_api_server_checks(method: str, url: str, expected: Right) -> None:
    """Verb, group, resource with its part, namespace and name."""
    assert right(method, url) == expected
