"""Read what the API server shows. What may not be read is noted, and the rest is read all the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Final

from wirecrypt.cluster.api import Api
from wirecrypt.cluster.cli_client import CliClient, node_labels
from wirecrypt.cluster.codec import decode
from wirecrypt.cluster.connection import Connection
from wirecrypt.cluster.lease import ClusterLease
from wirecrypt.cluster.readers import ObjectReader
from wirecrypt.doctor.facts import CLAIMS_OF, ClusterFacts, CrdFacts, PodFacts, seen
from wirecrypt.doctor.inspect_cluster import EXPECTED_KINDS
from wirecrypt.doctor.needs import AGENT, CONTROLLER, NEEDS, RequiredAccess
from wirecrypt.errors import NotFound, ObjectError, WirecryptError
from wirecrypt.model.admission import POLICIES
from wirecrypt.model.objects import SYSTEM_NAMESPACE, Node

Json = dict[str, Any]
_KINDS: Final = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_ADMISSION: Final = "/apis/admissionregistration.k8s.io/v1/"
_AUTHORIZATION: Final = "/apis/authorization.k8s.io/v1/"
_WHO: Final = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
_PODS: Final = f"/api/v1/namespaces/{SYSTEM_NAMESPACE}/pods"
_ACCOUNT: Final = f"system:serviceaccount:{SYSTEM_NAMESPACE}:"
_TIMES: Final = (5.0, 20.0)  # seconds to connect, to answer


def gather_cluster(kubeconfig: Path | None, context: str | None) -> ClusterFacts:
    """Return what the API server of *kubeconfig* shows; one that does not answer is a fact, too."""
    now = datetime.now(UTC)
    try:
        connection = Connection.open(kubeconfig, context)
        with closing(connection):
            version, date = _hello(connection)
            return _all(Api(connection), now, version, date)
    except WirecryptError as error:
        return ClusterFacts(now=now, unreachable=error.answer or str(error))


def _hello(connection: Connection) -> tuple[str, datetime | None]:
    """Return the server's version, empty when it is not told, and its time."""
    with connection.send("GET", "/version", body=None, headers={"Accept": "application/json"}, timeout=_TIMES) as answer:
        date = answer.headers.get("Date")
        version = str(answer.json().get("gitVersion", "")) if answer.status < 300 else ""  # noqa: PLR2004 - success
    return version, parsedate_to_datetime(date) if date else None


def _all(api: Api, now: datetime, version: str, date: datetime | None) -> ClusterFacts:
    unseen: dict[str, str] = {}
    client, reader = CliClient(api), ObjectReader(api)

    raw_nodes = seen(unseen, "nodes", client.raw_nodes)
    return ClusterFacts(
        now=date or now,
        version=version,
        skew=(date - now).total_seconds() if date else None,
        kinds=(kinds := seen(unseen, "kinds", lambda: _kinds(api))),
        policies=seen(unseen, "policies", lambda: _policies(api)),
        bindings=seen(unseen, "policies", lambda: _bindings(api)),
        access=seen(unseen, "access", lambda: _access(api)),
        pods=seen(unseen, "pods", lambda: [_pod(raw) for raw in api.items(_PODS)[0]]),
        node_labels=None if raw_nodes is None else seen(unseen, "nodes", lambda: node_labels(raw_nodes)),
        nodes=None if raw_nodes is None else _nodes(raw_nodes, unseen),
        encrypted=seen(unseen, "encrypted", client.encrypted_nodes) if kinds != {} else None,
        peers=seen(unseen, "encrypted", client.node_peers) if kinds != {} else None,
        rotations=seen(unseen, "rotations", client.rotations) if kinds != {} else None,
        config=seen(unseen, "config", reader.config),
        lease=seen(unseen, "lease", ClusterLease(api).read),
        malformed={name: error.answer or str(error) for name, error in client.malformed.items()},
        unseen=unseen,
    )


def _nodes(items: Iterable[Mapping[str, Any]], unseen: dict[str, str]) -> list[Node]:
    """Return the Nodes whose claims can be read; of the others *unseen* is told why not."""
    found: list[Node] = []
    for raw in items:
        try:
            found.append(decode.node(raw))
        except ObjectError as error:
            unseen[f"{CLAIMS_OF}{raw.get('metadata', {}).get('name', '?')}"] = error.answer or str(error)
    return sorted(found, key=lambda node: node.name)


def _found(call: Callable[[], Json]) -> Json | None:
    """Return the object, None when there is none; that a whole kind is unknown is none as well."""
    try:
        return call()
    except NotFound:
        return None


def _kinds(api: Api) -> Mapping[str, CrdFacts]:
    found = {name: _found(lambda name=name: api.get(f"{_KINDS}/{name}")) for name in EXPECTED_KINDS}  # type: ignore[misc]
    return {name: _kind(raw) for name, raw in found.items() if raw is not None}


def _kind(raw: Json) -> CrdFacts:
    versions = raw.get("spec", {}).get("versions", [])
    conditions = {c.get("type"): c.get("status") for c in raw.get("status", {}).get("conditions", [])}
    return CrdFacts(
        served=tuple(v["name"] for v in versions if v.get("served")),
        stored=next((v["name"] for v in versions if v.get("storage")), ""),
        established=conditions.get("Established") == "True",
    )


def _policies(api: Api) -> frozenset[str]:
    path = f"{_ADMISSION}validatingadmissionpolicies"
    return frozenset(n for n in POLICIES if _found(lambda n=n: api.get(f"{path}/{n}")) is not None)  # type: ignore[misc]


def _bindings(api: Api) -> Mapping[str, frozenset[str]]:
    """Return the actions of each policy's bindings together."""
    found: dict[str, frozenset[str]] = {}
    for raw in api.items(f"{_ADMISSION}validatingadmissionpolicybindings")[0]:
        spec = raw.get("spec", {})
        name = str(spec.get("policyName", ""))
        found[name] = found.get(name, frozenset()) | frozenset(spec.get("validationActions", ()))
    return found


def _access(api: Api) -> list[tuple[RequiredAccess, bool]]:
    """Return what each account needs and may: asked about it, or by the account itself when that is who we are."""
    who = str(api.create(_WHO, {}).get("status", {}).get("userInfo", {}).get("username", ""))
    own = who.removeprefix(_ACCOUNT) if who.startswith(_ACCOUNT) else ""
    if own in (AGENT, CONTROLLER):
        return [(n, _allowed(api, n, "selfsubjectaccessreviews", {})) for n in NEEDS if n.account == own]
    return [(n, _allowed(api, n, "subjectaccessreviews", _subject(n.account))) for n in NEEDS]


def _subject(account: str) -> Json:
    groups = ["system:serviceaccounts", f"system:serviceaccounts:{SYSTEM_NAMESPACE}", "system:authenticated"]
    return {"user": f"{_ACCOUNT}{account}", "groups": groups}


def _allowed(api: Api, need: RequiredAccess, kind: str, subject: Json) -> bool:
    resource, _, sub = need.resource.partition("/")
    attributes = {
        "verb": need.verb,
        "group": need.group,
        "resource": resource,
        "subresource": sub,
        "namespace": need.namespace,
        "name": need.name,
    }
    body = {"spec": {**subject, "resourceAttributes": {k: v for k, v in attributes.items() if v}}}
    return bool(api.create(f"{_AUTHORIZATION}{kind}", body).get("status", {}).get("allowed"))


def _pod(raw: Json) -> PodFacts:
    spec, status = raw.get("spec", {}), raw.get("status", {})
    ready = {c.get("type"): c.get("status") for c in status.get("conditions", [])}.get("Ready") == "True"
    states = [s.get("state", {}) for part in ("initContainerStatuses", "containerStatuses") for s in status.get(part, [])]
    waiting = [s["waiting"] for s in states if "waiting" in s]
    words = [f"{w.get('reason', '')} {w.get('message', '')}".strip() for w in waiting]
    return PodFacts(
        name=str(raw.get("metadata", {}).get("name", "?")),
        account=str(spec.get("serviceAccountName", "")),
        node=str(spec.get("nodeName", "")),
        ready=ready,
        trouble="; ".join(w for w in words if w) or ("" if ready else str(status.get("phase", ""))),
    )
