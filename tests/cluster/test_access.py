"""Who may do what, on a real API server: RBAC and the admission policies (K3)."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import pytest

from wirecrypt.agent.steps.own_restart import OwnRestart
from wirecrypt.cluster import paths
from wirecrypt.cluster.agent_client import AgentClient
from wirecrypt.cluster.codec import decode, encode, key_access
from wirecrypt.cluster.controller_client import ControllerClient
from wirecrypt.errors import ClusterError, Conflict, Forbidden, NotFound
from wirecrypt.model.access import AccessPart, TokenIdentity
from wirecrypt.model.admission import BY_CONTROLLER, FORBIDDEN, NODE_TOKEN, OWN_NODE, POLICIES
from wirecrypt.model.objects import ALLOW_ADDRESSES, SYSTEM_NAMESPACE, KeySecret, NodeKey
from wirecrypt.model.secret import SecretBytes
from wirecrypt.model.session import Epoch, Session
from wirecrypt.model.xfrm import Algorithm

if TYPE_CHECKING:
    from tests.cluster.conftest import Agent, Server

pytestmark = pytest.mark.K3
TOKENS = f"/api/v1/namespaces/{SYSTEM_NAMESPACE}/serviceaccounts/wirecrypt-agent/token"
SESSION = Session(1, Epoch(1, "0" * 32), bytes(32), 1, Algorithm.AES_256_GCM)
VIP, VIP6 = ip_address("198.51.100.7"), ip_address("fd00:5::7")
ADMISSION = "/apis/admissionregistration.k8s.io/v1"


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
        {"metadata": {"annotations": {ALLOW_ADDRESSES: "198.51.100.0/24"}}},
    ):
        with pytest.raises(Forbidden):
            agent.api.patch(f"{path}/{name}", change)
    with pytest.raises(Forbidden):
        agent.api.delete(f"{path}/{name}")
    with pytest.raises(Forbidden):
        agent.api.create(path, agent.api.get(f"{path}/{name}") | {"metadata": {"name": "new"}})


def test_a_status_write_carries_no_claim_with_it(agent: Agent) -> None:
    """What else a status write holds is ignored by the API server."""
    meta = {"finalizers": ["x.io/y"], "annotations": {ALLOW_ADDRESSES: "198.51.100.0/24"}}
    body = {"spec": {"podCIDRs": ["10.2.0.0/24"], "state": "Leaving"}, "metadata": meta}
    agent.api.patch(f"{paths.NODE_PEERS}/a/status", {**body, "status": {"lastSession": 1}})
    made = agent.api.get(f"{paths.NODE_PEERS}/a")
    assert made["spec"].get("podCIDRs") is None
    assert made["spec"]["state"] == "Joining"
    assert made["metadata"].keys().isdisjoint(meta)


@pytest.mark.parametrize(
    ("verb", "path"),
    [
        ("get", f"{paths.SEEDS}/wirecrypt-epoch-1"),
        ("items", paths.SEEDS),
        ("items", paths.NODE_KEYS),
        ("get", f"{paths.NODE_KEYS}/wirecrypt-node-a"),
        ("get", f"{paths.NODE_KEYS}/wirecrypt-node-b"),
        ("items", paths.NODE_ACCOUNTS),
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
    """Everything but statuses is refused, Events about nodes too: agents say what they have to say in the status."""
    closed = (paths.NODE_KEYS, paths.SEEDS, paths.KEY_ROTATIONS, TOKENS, paths.LEASES, paths.CONFIG_MAPS, paths.EVENTS)
    for path in (*closed, *paths.ACCESS.values()):
        with pytest.raises(Forbidden):
            agent.api.create(path, {"metadata": {"name": "x"}, "spec": {"reason": "x"}})


@pytest.fixture
def keyed(agent: Agent, clean: Server) -> Agent:
    """Return the agent on node a; the controller, by its own rights, gave both nodes keys and accounts that read them."""
    control = ControllerClient(clean.controller())
    for name in ("a", "b"):
        for part in AccessPart:
            control.grant_keys(name, part)
        keys = (NodeKey(Epoch(1, "0" * 32), SecretBytes(name.encode() * 2048)),)
        control.write_keys(KeySecret(name, clean.admin.get(f"{paths.NODES}/{name}")["metadata"]["uid"], keys), None)
    clean.wait(lambda: _reads(agent, "a"), "the new rights to be seen")
    return agent


def _reads(agent: Agent, name: str) -> bool:
    try:
        return bool(agent.cluster.node_keys(name))
    except Forbidden as error:
        if "cannot get resource" in error.answer:  # the authorizer sees a Role a moment after it was made
            return False
        raise


def node_token(agent: Agent, name: str) -> SecretBytes:
    """Return a token of the account of node *name* as the *agent* asks for it."""
    asked = agent.api.create(f"{paths.NODE_ACCOUNTS}/wirecrypt-node-{name}/token", key_access.token_request(name))
    return key_access.token(asked)


def test_an_agent_reads_the_keys_of_its_own_node_and_no_others(keyed: Agent, clean: Server) -> None:
    """Each of two agents gets its own node's; where neither Secret nor account is, there are none."""
    assert [k.share.reveal()[:1] for k in keyed.cluster.node_keys("a")] == [b"a"]
    with pytest.raises(Forbidden, match='belongs to node "a": it reads no keys of wirecrypt-node-b'):
        keyed.cluster.node_keys("b")
    assert [k.share.reveal()[:1] for k in clean.agent("b").cluster.node_keys("b")] == [b"b"]
    clean.node("c")
    assert clean.agent("c").cluster.node_keys("c") == ()


def test_a_token_of_a_nodes_account_reads_one_secret(keyed: Agent) -> None:
    """That of its node: no other, no list, nothing else, and it makes no token."""
    token = node_token(keyed, "a")
    keyed.api.get(f"{paths.NODE_KEYS}/wirecrypt-node-a", token=token)
    for path in (f"{paths.NODE_KEYS}/wirecrypt-node-b", paths.NODE_KEYS, paths.NODE_PEERS, f"{paths.SEEDS}/wirecrypt-epoch-1"):
        with pytest.raises(Forbidden, match=r"cannot (get|list) resource"):
            keyed.api.get(path, token=token)


def test_a_token_of_a_nodes_account_ends_with_its_secret(keyed: Agent, clean: Server) -> None:
    """The Secret of a node that left takes the tokens with it, also when another of its name is made."""
    token = node_token(keyed, "a")
    path = f"{paths.NODE_KEYS}/wirecrypt-node-a"
    keyed.api.get(path, token=token)
    clean.admin.delete(path)
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "wirecrypt-node-a"}, "type": paths.KEY_TYPE}
    clean.admin.create(paths.NODE_KEYS, body)
    clean.wait(lambda: _unknown(keyed, path, token), "the token to be worth nothing")


def _unknown(agent: Agent, path: str, token: SecretBytes) -> bool:
    try:
        agent.api.get(path, token=token)
    except Forbidden as error:
        return "Unauthorized" in error.answer
    return False


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"expirationSeconds": 600},
        {"expirationSeconds": 3600, "boundObjectRef": {"apiVersion": "v1", "kind": "Secret", "name": "wirecrypt-node-a"}},
        {"expirationSeconds": 600, "boundObjectRef": {"apiVersion": "v1", "kind": "Secret", "name": "wirecrypt-node-b"}},
        {"expirationSeconds": 600, "boundObjectRef": {"apiVersion": "v1", "kind": "Node", "name": "a"}},
    ],
)
def test_a_token_of_a_nodes_account_is_short_and_bound_to_its_secret(keyed: Agent, spec: dict[str, Any]) -> None:
    """Not even its own agent gets one that outlives the Secret, or the moment."""
    with pytest.raises(Forbidden, match="is for one read"):
        keyed.api.create(f"{paths.NODE_ACCOUNTS}/wirecrypt-node-a/token", {"spec": spec})


def test_nobody_but_its_agent_gets_a_token_of_a_nodes_account(keyed: Agent, clean: Server) -> None:
    """Neither the administrator nor controller or kubelet, for a real node's account or the one that can do nothing."""
    for name in ("wirecrypt-node-a", FORBIDDEN):
        path = f"{paths.NODE_ACCOUNTS}/{name}/token"
        with pytest.raises(Forbidden, match="made for the agent of that node"):
            clean.admin.create(path, key_access.token_request("a"))
        for api in (clean.controller(), clean.api("kubelet-a")):
            with pytest.raises(Forbidden):
                api.create(path, key_access.token_request("a"))
    with pytest.raises(Forbidden, match='belongs to node "a"'):
        keyed.api.create(f"{paths.NODE_ACCOUNTS}/{FORBIDDEN}/token", key_access.token_request("a"))


def test_the_controller_grants_no_more_than_it_has(clean: Server) -> None:
    """Who takes its token makes nobody an administrator with it, and changes no Role."""
    api = clean.controller()
    role = key_access.encode("a", AccessPart.ROLE)
    rules = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]
    with pytest.raises(Forbidden, match="attempting to grant RBAC permissions not currently held"):
        api.create(paths.ACCESS[AccessPart.ROLE], role | {"rules": rules})
    with pytest.raises(Forbidden):
        api.create(paths.ACCESS[AccessPart.ROLE].replace("wirecrypt-keys", "kube-system"), role)
    with pytest.raises(Forbidden):
        api.patch(f"{paths.ACCESS[AccessPart.ROLE]}/wirecrypt-agent", {"rules": rules})


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


def test_an_agent_knows_who_it_is_by_its_token(agent: Agent, clean: Server) -> None:
    """Its pod and the Node, by name and UID; a Node that is made anew is another one than that of the token."""
    pod, node = (clean.admin.get(path)["metadata"] for path in (f"{paths.PODS}/agent-a", f"{paths.NODES}/a"))
    known = TokenIdentity("agent-a", pod["uid"], "a", node["uid"])
    assert agent.cluster.identity() == known
    clean.admin.delete(f"{paths.NODES}/a")
    assert agent.cluster.node("a") is None
    made = clean.node("a")["metadata"]["uid"]
    assert agent.cluster.identity() == known
    found = agent.cluster.node("a")
    assert found is not None
    assert (found.uid, made != known.node_uid) == (made, True)


def test_a_token_that_is_bound_to_no_pod_says_so(clean: Server) -> None:
    """Of an administrator who runs an agent by hand: it could delete no pod."""
    by_hand = AgentClient(clean.admin)
    assert by_hand.identity() == TokenIdentity()
    with pytest.raises(NotFound, match="the token is bound to no pod"):
        by_hand.pod_try_refused()


def test_an_agent_on_a_node_that_was_made_anew_deletes_its_own_pod(agent: Agent, clean: Server) -> None:
    """Whatever runs it: the step that compares its token with its Node, over the real API server."""
    restart = OwnRestart(agent.cluster, "a")
    restart.check(decode.node(clean.admin.get(f"{paths.NODES}/a")), 0.0)
    assert not restart.asked
    clean.admin.delete(f"{paths.NODES}/a")
    clean.node("a")
    restart.check(decode.node(clean.admin.get(f"{paths.NODES}/a")), 100.0)
    assert restart.asked
    pod = clean.admin.items(paths.PODS)[0]
    assert [each["metadata"]["name"] for each in pod if "deletionTimestamp" not in each["metadata"]] == []


def test_an_agent_deletes_no_other_pod(agent: Agent, clean: Server) -> None:
    """Neither another agent's, nor one by its label or all at once, nor does it change or evict one; its own not as a try."""
    clean.agent("b")
    with pytest.raises(Forbidden, match='the token belongs to the pod "agent-a", not to "agent-b"'):
        agent.api.delete(f"{paths.PODS}/agent-b")
    with pytest.raises(Forbidden, match="a dry run is only a try"):
        agent.api.delete(f"{paths.PODS}/agent-a", dry_run=True)
    with pytest.raises(Forbidden):
        agent.api.delete(paths.PODS)
    with pytest.raises(Forbidden):
        agent.api.patch(f"{paths.PODS}/agent-a", {"metadata": {"labels": {"x": "y"}}})
    with pytest.raises(Forbidden):
        agent.api.create(f"{paths.PODS}/agent-b/eviction", {"metadata": {"name": "agent-b"}})
    with pytest.raises(Forbidden):
        agent.api.delete("/api/v1/namespaces/default/pods/x")
    with pytest.raises(Conflict):
        agent.cluster.delete_pod(replace(agent.cluster.identity(), pod_uid="another"))
    assert not [each for each in clean.admin.items(paths.PODS)[0] if "deletionTimestamp" in each["metadata"]]


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("missing", ["validatingadmissionpolicies", "validatingadmissionpolicybindings"])
def test_a_policy_that_is_not_in_force_is_noticed_by_who_tries_it(
    agent: Agent, clean: Server, policy: str, missing: str
) -> None:
    """What it must refuse is refused; without the policy, or without its binding, it is admitted, and that is said."""
    control, path = ControllerClient(clean.controller()), f"{ADMISSION}/{missing}"

    def in_force() -> bool:
        if policy in BY_CONTROLLER:
            return control.refuses(policy)
        if policy == OWN_NODE:
            return agent.cluster.forbidden_write_refused(["b"])
        return agent.cluster.foreign_token_refused() if policy == NODE_TOKEN else agent.cluster.pod_try_refused()

    before = [clean.admin.items(path)[0] for path in (paths.NODE_PEERS, paths.ENCRYPTED_NODES, paths.PODS)]
    assert in_force()
    saved = clean.admin.get(f"{path}/{policy}")
    clean.admin.delete(f"{path}/{policy}")
    try:
        clean.wait(lambda: not in_force(), "what is missing to be noticed")
    finally:
        clean.admin.create(path, {key: saved[key] for key in ("apiVersion", "kind", "spec")} | {"metadata": {"name": policy}})
    clean.wait(in_force, "the policy to be in force again")
    after = [clean.admin.items(path)[0] for path in (paths.NODE_PEERS, paths.ENCRYPTED_NODES, paths.PODS)]
    assert after == before, "a try leaves nothing behind"


def test_a_binding_that_does_not_deny_is_noticed(agent: Agent, clean: Server) -> None:
    """One that only writes into the audit log refuses nothing."""
    path = f"{ADMISSION}/validatingadmissionpolicybindings/{NODE_TOKEN}"
    clean.admin.patch(path, {"spec": {"validationActions": ["Audit"]}})
    try:
        clean.wait(lambda: not agent.cluster.foreign_token_refused(), "the toothless binding to be noticed")
    finally:
        clean.admin.patch(path, {"spec": {"validationActions": ["Deny", "Audit"]}})
    clean.wait(agent.cluster.foreign_token_refused, "the policy to be in force again")


def test_nobody_makes_an_object_of_the_forbidden_name(agent: Agent, clean: Server) -> None:
    """It would make no difference to the try, which admission ends before; but it is no node's name."""
    with pytest.raises(Forbidden, match="no object has this name"):
        clean.admin.create(paths.NODE_PEERS, encode.forbidden("NodePeer"))
    with pytest.raises(Forbidden, match="no object has this name"):
        clean.admin.create(paths.ENCRYPTED_NODES, encode.forbidden("EncryptedNode"))
    with pytest.raises(Forbidden):
        agent.api.create(paths.NODE_PEERS, encode.forbidden("NodePeer"))


def test_the_forbidden_write_needs_an_object_and_says_nothing_of_the_own_one(agent: Agent, clean: Server) -> None:
    """A node that is just going is passed over; where nobody else has objects, nothing was tried; its own is admitted."""
    assert agent.cluster.forbidden_write_refused(["gone", "b"])
    with pytest.raises(NotFound, match="forbidden write"):
        agent.cluster.forbidden_write_refused(["gone"])
    clean.admin.delete(f"{paths.ENCRYPTED_NODES}/b")
    with pytest.raises(NotFound, match="encryptednodes"):
        agent.cluster.forbidden_write_refused(["b"])
    assert not agent.cluster.forbidden_write_refused(["a"])
