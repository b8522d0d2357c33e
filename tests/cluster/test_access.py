"""Who may do what, on a real API server: RBAC and the three admission policies (K3)."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import pytest

from wirecrypt.cluster import paths
from wirecrypt.cluster.agent_client import AgentClient
from wirecrypt.errors import ClusterError, Forbidden, NotFound
from wirecrypt.model.objects import SYSTEM_NAMESPACE
from wirecrypt.model.session import Epoch, Session
from wirecrypt.model.xfrm import Algorithm

if TYPE_CHECKING:
    from tests.cluster.conftest import Agent, Server

pytestmark = pytest.mark.K3
TOKENS = f"/api/v1/namespaces/{SYSTEM_NAMESPACE}/serviceaccounts/wirecrypt-agent/token"
SESSION = Session(1, Epoch(1, "0" * 32), bytes(32), 1, Algorithm.AES_256_GCM)
VIP, VIP6 = ip_address("198.51.100.7"), ip_address("fd00:5::7")
POLICY = "wirecrypt-agent-own-node"
POLICIES = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies"


def objects(server: Server, *names: str) -> None:
    """Create Nodes with their EncryptedNode and NodePeer, as the controller would."""
    for i, name in enumerate(names):
        uid = server.node(name)["metadata"]["uid"]
        spec = {"nodeID": 16 + i, "nodeUID": uid, "state": "Joining"}
        for path, kind in ((paths.NODE_PEERS, "NodePeer"), (paths.ENCRYPTED_NODES, "EncryptedNode")):
            server.admin.create(path, {"apiVersion": paths.VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec})


@pytest.fixture
def agent(clean: Server) -> Agent:
    """Return the agent on node a; b has its objects as well, and there is an epoch."""
    objects(clean, "a", "b")
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "wirecrypt-epoch-1"}, "type": paths.SEED_TYPE}
    clean.admin.create(paths.SEEDS, body)
    return clean.agent("a")


def publish(cluster: AgentClient, name: str) -> None:
    """Publish a session for node *name*."""
    peer = cluster.node_peer(name)
    assert peer is not None
    cluster.publish_sessions(peer, boot_id="b", boot_session=1, sessions=[SESSION])


def test_an_agent_writes_the_status_of_its_own_objects(agent: Agent) -> None:
    """Its NodePeer's sessions and its EncryptedNode's status, and reads them back as they were."""
    publish(agent.cluster, "a")
    agent.api.patch(f"{paths.ENCRYPTED_NODES}/a/status", {"status": {"sendingEpoch": 1}})
    peer = agent.cluster.node_peer("a")
    assert peer is not None
    assert (peer.sessions, peer.last_session, peer.boot_session) == ((SESSION,), 1, 1)


def test_an_agent_cannot_speak_for_another_node(agent: Agent) -> None:
    """Neither b's sessions nor b's status are a's to write."""
    with pytest.raises(Forbidden, match='belongs to node "a", not to "b"'):
        publish(agent.cluster, "b")
    with pytest.raises(Forbidden, match='belongs to node "a", not to "b"'):
        agent.api.patch(f"{paths.ENCRYPTED_NODES}/b/status", {"status": {"sendingEpoch": 1}})


def test_an_agent_proposes_addresses_of_its_own_node_alone(agent: Agent, clean: Server) -> None:
    """The sessions next to them stay; for b it is refused, and so it is for whoever is no agent."""
    publish(agent.cluster, "a")
    agent.cluster.propose_addresses("a", [VIP, VIP6])
    written = agent.cluster.node_peer("a")
    assert written is not None
    assert (written.proposed, written.addresses, written.sessions) == ((VIP, VIP6), (), (SESSION,))
    with pytest.raises(Forbidden, match='belongs to node "a", not to "b"'):
        agent.cluster.propose_addresses("b", [VIP])
    with pytest.raises(ClusterError, match="only the agent of the node writes this status"):
        clean.admin.patch(f"{paths.NODE_PEERS}/a/status", {"status": {"proposed": []}})


@pytest.mark.parametrize("path", [paths.NODE_PEERS, paths.ENCRYPTED_NODES])
def test_an_agent_patches_a_status_and_does_not_replace_it(agent: Agent, path: str) -> None:
    """RBAC grants the one verb that agents use, on their own objects as well."""
    with pytest.raises(Forbidden, match=r'cannot update resource "[a-z]+/status"'):
        agent.api.replace(f"{path}/a/status", agent.api.get(f"{path}/a"))
    with pytest.raises(Forbidden, match=r'cannot get resource "[a-z]+/status"'):
        agent.api.get(f"{path}/a/status")


@pytest.mark.parametrize("path", [paths.NODE_PEERS, paths.ENCRYPTED_NODES])
@pytest.mark.parametrize("name", ["a", "b"])
def test_an_agent_cannot_claim_or_delete(agent: Agent, path: str, name: str) -> None:
    """Prefixes, states, finalizers and the objects themselves are the controller's, its own included."""
    for change in (
        {"spec": {"podCIDRs": ["10.2.0.0/24"]}},
        {"spec": {"addresses": ["198.51.100.7"]}},
        {"spec": {"state": "Active"}},
        {"metadata": {"finalizers": None}},
    ):
        with pytest.raises(Forbidden):
            agent.api.patch(f"{path}/{name}", change)
    with pytest.raises(Forbidden):
        agent.api.delete(f"{path}/{name}")
    with pytest.raises(Forbidden):
        agent.api.create(path, agent.api.get(f"{path}/{name}") | {"metadata": {"name": "new"}})


def test_a_status_write_carries_no_claim_with_it(agent: Agent) -> None:
    """What else a status write holds is ignored by the API server."""
    body = {"spec": {"podCIDRs": ["10.2.0.0/24"], "state": "Leaving"}, "metadata": {"finalizers": ["x.io/y"]}}
    agent.api.patch(f"{paths.NODE_PEERS}/a/status", {**body, "status": {"lastSession": 1}})
    made = agent.api.get(f"{paths.NODE_PEERS}/a")
    assert made["spec"].get("podCIDRs") is None
    assert made["spec"]["state"] == "Joining"
    assert "finalizers" not in made["metadata"]


@pytest.mark.parametrize(
    ("verb", "path"),
    [
        ("get", f"{paths.SEEDS}/wirecrypt-epoch-1"),
        ("items", paths.SEEDS),
        ("items", paths.NODE_KEYS),
        ("items", paths.ENCRYPTED_NODES),
        ("get", "/api/v1/namespaces/default/secrets/x"),
        ("items", "/api/v1/pods"),
        ("items", "/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices"),
        ("items", paths.CONFIG_MAPS),
    ],
)
def test_an_agent_reads_no_seed_and_lists_no_secret(agent: Agent, verb: str, path: str) -> None:
    """The seed of an epoch, lists of Secrets and everything that an agent does not need stay closed."""
    with pytest.raises(Forbidden):
        getattr(agent.api, verb)(path)


def test_an_agent_writes_no_secret_no_rotation_no_token(agent: Agent) -> None:
    """Everything but statuses and Events is refused."""
    for path in (paths.NODE_KEYS, paths.SEEDS, paths.KEY_ROTATIONS, TOKENS, paths.LEASES, paths.CONFIG_MAPS):
        with pytest.raises(Forbidden):
            agent.api.create(path, {"metadata": {"name": "x"}, "spec": {"reason": "x"}})
    agent.cluster.event(node="a", reason="Test", message="an agent may write Events", warning=False)


def test_a_token_made_by_hand_is_refused(agent: Agent, clean: Server) -> None:
    """Even an administrator gets no token for the agent's account; only a kubelet does, for a pod."""
    with pytest.raises(ClusterError, match="made by a kubelet for a pod"):
        clean.admin.create(TOKENS, {"spec": {}})
    with pytest.raises(ClusterError, match=r"not bound to a pod|made by a kubelet"):
        clean.api("kubelet-a").create(TOKENS, {"spec": {}})


def test_a_kubelet_gets_no_token_for_a_pod_of_another_node(agent: Agent, clean: Server) -> None:
    """Node b's kubelet cannot become the agent of a."""
    pod = clean.admin.get(f"/api/v1/namespaces/{SYSTEM_NAMESPACE}/pods/agent-a")["metadata"]
    reference = {"kind": "Pod", "apiVersion": "v1", "name": pod["name"], "uid": pod["uid"]}
    with pytest.raises(Forbidden):
        clean.api("kubelet-b").create(TOKENS, {"spec": {"boundObjectRef": reference}})


def test_a_token_of_an_earlier_node_of_the_name_is_refused(agent: Agent, clean: Server) -> None:
    """After its Node was replaced, an old agent cannot write the new one's status."""
    for path in (paths.NODE_PEERS, paths.ENCRYPTED_NODES, paths.NODES):
        clean.admin.delete(f"{path}/a")
    clean.admin.delete(f"{paths.NODES}/b")
    objects_again: dict[str, Any] = clean.node("a")
    spec = {"nodeID": 20, "nodeUID": objects_again["metadata"]["uid"], "state": "Joining"}
    clean.admin.create(
        paths.NODE_PEERS, {"apiVersion": paths.VERSION, "kind": "NodePeer", "metadata": {"name": "a"}, "spec": spec}
    )
    with pytest.raises(Forbidden, match=r"earlier Node object|Unauthorized"):
        agent.api.patch(f"{paths.NODE_PEERS}/a/status", {"status": {"lastSession": 1}})


@pytest.mark.parametrize("path", [paths.NODE_PEERS, paths.ENCRYPTED_NODES])
def test_nobody_but_an_agent_writes_a_status(agent: Agent, clean: Server, path: str) -> None:
    """A stolen controller token swaps no public key, and neither does an administrator."""
    status = {"lastSession": 9} if path == paths.NODE_PEERS else {"sendingEpoch": 9}
    with pytest.raises(Forbidden):
        clean.controller().patch(f"{path}/a/status", {"status": status})
    with pytest.raises(ClusterError, match="only the agent of the node writes this status"):
        clean.admin.patch(f"{path}/a/status", {"status": status})


def test_the_controller_reads_no_secret_elsewhere(clean: Server) -> None:
    """Its rights on Secrets end with its two namespaces, and it makes no tokens."""
    api = clean.controller()
    for path in ("/api/v1/secrets", "/api/v1/namespaces/kube-system/secrets"):
        with pytest.raises(Forbidden):
            api.items(path)
    with pytest.raises(Forbidden):
        api.create(TOKENS, {"spec": {}})


def test_a_missing_policy_is_noticed_by_the_forbidden_write(agent: Agent, clean: Server) -> None:
    """With policy and binding a write on another node's objects is refused; without, it is admitted, and leaves nothing."""
    before = [clean.admin.get(f"{path}/b") for path in (paths.NODE_PEERS, paths.ENCRYPTED_NODES)]
    assert agent.cluster.forbidden_write_refused(["b"])
    binding = f"{POLICIES.replace('policies', 'policybindings')}/{POLICY}"
    saved = clean.admin.get(binding)
    clean.admin.delete(binding)
    try:
        clean.wait(lambda: not agent.cluster.forbidden_write_refused(["b"]), "the removed policy to be noticed")
    finally:
        body = {key: saved[key] for key in ("apiVersion", "kind", "spec")} | {"metadata": {"name": POLICY}}
        clean.admin.create(binding.rpartition("/")[0], body)
    clean.wait(lambda: agent.cluster.forbidden_write_refused(["b"]), "the policy to be in force again")
    assert [clean.admin.get(f"{path}/b") for path in (paths.NODE_PEERS, paths.ENCRYPTED_NODES)] == before


def test_the_forbidden_write_needs_an_object_and_says_nothing_of_the_own_one(agent: Agent, clean: Server) -> None:
    """A node that is just going is passed over; where nobody else has objects, nothing was tried; its own is admitted."""
    assert agent.cluster.forbidden_write_refused(["gone", "b"])
    with pytest.raises(NotFound, match="forbidden write"):
        agent.cluster.forbidden_write_refused(["gone"])
    clean.admin.delete(f"{paths.ENCRYPTED_NODES}/b")
    with pytest.raises(NotFound, match="encryptednodes"):
        agent.cluster.forbidden_write_refused(["b"])
    assert not agent.cluster.forbidden_write_refused(["a"])
