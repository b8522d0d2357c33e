"""Who may ask agents, on a real API server: tokens for one agent, their reviews, and the way through the proxy (K3)."""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from wirecrypt.agent.serve.gate import Gate
from wirecrypt.cluster import paths
from wirecrypt.cluster.access.reviews import Reviews
from wirecrypt.cluster.access.tokens import PATH, SECONDS, token_for
from wirecrypt.cluster.agent_proxy import Agents
from wirecrypt.errors import ClusterError, Forbidden, NotFound
from wirecrypt.http_server import HttpRequest, Listener, Reply, dispatch, serve
from wirecrypt.model.access import ACCOUNT, ALLOWED, FORBIDDEN, UNKNOWN, audience
from wirecrypt.model.objects import SYSTEM_NAMESPACE
from wirecrypt.model.secret import SecretBytes

if TYPE_CHECKING:
    from tests.cluster.conftest import Agent, Server
    from wirecrypt.cluster.api import Api

pytestmark = pytest.mark.K3
ACCOUNTS = f"/api/v1/namespaces/{SYSTEM_NAMESPACE}/serviceaccounts"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
PODS = f"/api/v1/namespaces/{SYSTEM_NAMESPACE}/pods"


@pytest.fixture
def agent(clean: Server) -> Agent:
    """Return the agent on node a, as the API server knows it."""
    clean.node("a")
    clean.node("b")
    return clean.agent("a")


@pytest.fixture
def other(clean: Server) -> Iterator[str]:
    """Yield the name of an account that has no rights."""
    clean.admin.create(ACCOUNTS, {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "other"}})
    yield "other"
    clean.admin.delete(f"{ACCOUNTS}/other")
    for path in (f"{RBAC}/clusterrolebindings/other", f"{RBAC}/namespaces/{SYSTEM_NAMESPACE}/rolebindings/other"):
        clean.admin.delete(path)


def account_token(admin: Api, account: str, *audiences: str) -> str:
    spec = {"audiences": list(audiences)} if audiences else {}
    return str(admin.create(f"{ACCOUNTS}/{account}/token", {"spec": spec})["status"]["token"])


def bind(admin: Api, account: str) -> None:
    """Give an account the roles of people who verify."""
    subject = {"kind": "ServiceAccount", "name": account, "namespace": SYSTEM_NAMESPACE}
    for kind, path in (("ClusterRole", RBAC), ("Role", f"{RBAC}/namespaces/{SYSTEM_NAMESPACE}")):
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": f"{ACCOUNT}-user"}
        admin.create(f"{path}/{kind.lower()}bindings", {"metadata": {"name": account}, "roleRef": role, "subjects": [subject]})


@pytest.mark.parametrize("page", ["verify", "plan"])
def test_who_may_have_a_token_made_may_ask(clean: Server, agent: Agent, page: str) -> None:
    """The token is for one agent and ten minutes; the agent finds that by asking the API server with its own account."""
    token = token_for(clean.admin, "a")
    assert Reviews(agent.api, "a")(token, page).status == ALLOWED
    part = token.reveal().split(b".")[1]
    claims = json.loads(base64.urlsafe_b64decode(part + b"=" * (-len(part) % 4)))
    assert (claims["aud"], claims["exp"] - claims["iat"]) == ([audience("a")], SECONDS)


def test_the_right_is_for_these_pages_alone(clean: Server, agent: Agent) -> None:
    """A page that the role does not name is refused, with what is missing."""
    verdict = Reviews(agent.api, "a")(token_for(clean.admin, "a"), "secrets")
    assert verdict.status == FORBIDDEN
    assert "wirecrypt-verify lacks the right to get encryptednodes/secrets of the group wirecrypt.io, for a" in verdict.why


def test_a_token_for_one_agent_is_good_for_no_other_and_not_for_the_api_server(clean: Server, agent: Agent) -> None:
    """Node a cannot ask b's agent with what it was shown, nor anybody the API server."""
    token = token_for(clean.admin, "a")
    verdict = Reviews(clean.agent("b").api, "b")(token, "verify")
    assert (verdict.status, "wirecrypt.io/agent/b" in verdict.why) == (UNKNOWN, True)
    assert Reviews(agent.api, "a")(token, "verify").status == ALLOWED
    with pytest.raises(Forbidden, match="401"):
        clean.api(token.reveal().decode()).get(paths.NODES)


def test_tokens_for_the_api_server_are_good_for_no_agent(clean: Server, agent: Agent) -> None:
    """Neither an administrator's, nor a kubelet's, nor an account's, nor one that is cut: nobody need show theirs to a node."""
    cut = token_for(clean.admin, "a").reveal().decode()[:-4]
    tokens = ("admin", "kubelet-a", account_token(clean.admin, ACCOUNT), "nonsense", cut)
    found = [Reviews(agent.api, "a")(SecretBytes(token.encode()), "verify").status for token in tokens]
    assert found == [UNKNOWN] * len(tokens)


def test_an_account_without_the_right_is_refused_and_with_it_let_in(clean: Server, agent: Agent, other: str) -> None:
    """Its own token for the audience is not enough; RBAC may give the right for one node by name."""
    token = SecretBytes(account_token(clean.admin, other, audience("a"), audience("b")).encode())
    reviews = Reviews(agent.api, "a")
    assert reviews(token, "verify").status == FORBIDDEN
    rule = {"apiGroups": ["wirecrypt.io"], "resources": ["encryptednodes/verify"], "resourceNames": ["a"], "verbs": ["get"]}
    clean.admin.create(f"{RBAC}/clusterroles", {"metadata": {"name": "other"}, "rules": [rule]})
    subject = {"kind": "ServiceAccount", "name": other, "namespace": SYSTEM_NAMESPACE}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "other"}
    clean.admin.create(f"{RBAC}/clusterrolebindings", {"metadata": {"name": other}, "roleRef": role, "subjects": [subject]})
    try:
        clean.wait(lambda: reviews(token, "verify").status == ALLOWED, "the right to be known")
        assert reviews(token, "plan").status == FORBIDDEN
        assert Reviews(clean.agent("b").api, "b")(token, "verify").status == FORBIDDEN
    finally:
        clean.admin.delete(f"{RBAC}/clusterroles/other")


def test_the_account_of_those_who_ask_may_do_nothing_else(clean: Server) -> None:
    """Not with a token for the API server either."""
    api = clean.api(account_token(clean.admin, ACCOUNT))
    for path in (paths.NODES, paths.NODE_PEERS, paths.NODE_KEYS, paths.ENCRYPTED_NODES, PODS):
        with pytest.raises(Forbidden, match="403"):
            api.items(path)
    with pytest.raises(Forbidden, match="403"):
        api.create(PATH, {"spec": {}})


def test_the_roles_of_people_who_verify_are_enough(clean: Server, agent: Agent, other: str) -> None:
    """Without them the refusal names what to ask for; with them all that `verify` reads is there, and nothing more."""
    api = clean.api(account_token(clean.admin, other))
    with pytest.raises(Forbidden, match=r"create serviceaccounts/token"):
        token_for(api, "a")
    bind(clean.admin, other)
    agents = Agents(api)
    clean.wait(lambda: reads(agents), "the roles to be known")
    assert (agents.pods(), agents.labels(), agents.port()) == ({}, {}, 14580)  # a test's pod is no DaemonSet's
    assert Reviews(agent.api, "a")(agents.token("a"), "verify").status == ALLOWED
    for path in (paths.NODE_KEYS, paths.SEEDS, paths.ENCRYPTED_NODES):
        with pytest.raises(Forbidden):
            api.items(path)
    with pytest.raises(ClusterError):
        api.create(f"{ACCOUNTS}/wirecrypt-controller/token", {"spec": {}})


def reads(agents: Agents) -> bool:
    """Return whether the rights are there by now."""
    try:
        agents.node_peers()
        agents.token("a")
    except Forbidden:
        return False
    return True


def test_manifests_without_the_account_are_named(clean: Server) -> None:
    """An installation of before has no account to ask in the name of: the next step is said."""
    saved = clean.admin.get(f"{ACCOUNTS}/{ACCOUNT}")
    clean.admin.delete(f"{ACCOUNTS}/{ACCOUNT}")
    try:
        with pytest.raises(NotFound, match=r"rbac-verify\.yaml"):
            token_for(clean.admin, "a")
    finally:
        kept = {key: saved[key] for key in ("apiVersion", "kind", "automountServiceAccountToken")}
        clean.admin.create(ACCOUNTS, {**kept, "metadata": {"name": ACCOUNT}})


def test_an_agent_that_may_not_ask_says_what_is_missing(clean: Server, other: str) -> None:
    """Without the binding to reviews nobody is let in, and the message names the manifest."""
    api = clean.api(account_token(clean.admin, other))
    with pytest.raises(Forbidden, match=r"ask for a TokenReview.*rbac-verify\.yaml"):
        Reviews(api, "a")(token_for(clean.admin, "a"), "verify")


@pytest.fixture
def port(clean: Server, agent: Agent) -> Iterator[Listener]:
    """Yield an agent's port with a page behind its gate, and a pod that the API server's proxy finds it by."""

    def page(request: HttpRequest, reply: Reply) -> None:
        reply(
            (200, "application/json", json.dumps({"seconds": request.query.get("seconds"), "client": request.client}).encode())
        )

    with closing(Gate("a", Reviews(agent.api, "a"))) as gate:
        pages = {"/verify": gate.before("verify", page), "/open": page}
        with closing(serve(0, "0.0.0.0", dispatch(pages))) as listener:  # noqa: S104 - the API server refuses to go to loopback
            status = {"podIP": own_address(), "podIPs": [{"ip": own_address()}], "phase": "Running"}
            clean.admin.patch(f"{PODS}/agent-a/status", {"status": status})
            yield listener


def own_address() -> str:
    """Return an address of this machine that is not loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # nothing is sent
        return str(probe.getsockname()[0])


def test_the_token_reaches_the_agent_through_the_api_servers_proxy(clean: Server, port: Listener) -> None:
    """An administrator's own credential does not, and is not missed; without a token the agent's own words come back."""
    agents = Agents(clean.admin)
    answer: dict[str, Any] = agents.ask("agent-a", port.port, "verify?seconds=3", agents.token("a"))
    assert answer == {"seconds": "3", "client": own_address()}
    where = f"{PODS}/http:agent-a:{port.port}/proxy"
    assert clean.admin.get(f"{where}/open?seconds=4")["seconds"] == "4"
    with pytest.raises(Forbidden, match=r"401 Unauthorized agent of a: no token; send a token for this agent"):
        clean.admin.get(f"{where}/verify?seconds=3")
    with pytest.raises(Forbidden, match="401 Unauthorized agent of a: the token is not valid"):
        agents.ask("agent-a", port.port, "verify", agents.token("b"))
