"""The API server as a person sees it: what the verbs of the command line read and write.

A person labels Nodes and makes KeyRotations; all the rest is the controller's and the agents'. Every write names the object
that was read by its UID, so that a Node or a rotation that was made anew under the same name is not changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Self, TypeVar
from urllib.parse import urlencode

from wirecrypt.cluster import paths
from wirecrypt.cluster.answer import Throttled
from wirecrypt.cluster.api import Api
from wirecrypt.cluster.codec import decode, encode
from wirecrypt.cluster.codec.object_fields import fields_of
from wirecrypt.cluster.paths import GROUP, VERSION
from wirecrypt.cluster.readers import ObjectReader
from wirecrypt.errors import ClusterError, Conflict, Forbidden, InputError, NotFound, ObjectError
from wirecrypt.model.objects import LABEL, SYSTEM_NAMESPACE, ConfigDocument, EncryptedNode, KeyRotation, NodePeer, unfit
from wirecrypt.retry import RetryLimits, retry

T = TypeVar("T")
_PREFIX: Final = "manual-"
_SEE: Final = f"list daemonsets -n {SYSTEM_NAMESPACE}"
WORKLOADS: Final = f"/apis/apps/v1/namespaces/{SYSTEM_NAMESPACE}"
_KINDS: Final = frozenset(path.rpartition("/")[2] for path in (paths.NODE_PEERS, paths.ENCRYPTED_NODES, paths.KEY_ROTATIONS))
_PROGRAMS: Final = (
    ("daemonsets", "DaemonSet", "wirecrypt-agent", "agent"),
    ("deployments", "Deployment", "wirecrypt-controller", "controller"),
)
_AGAIN: Final = RetryLimits(attempts=4, seconds=10.0)  # who is asked to come again has changed nothing yet


@dataclass(frozen=True, slots=True)
class NodeLabel:
    """What a Node's metadata say: its UID, the label's value (None without label), whether it runs Linux, its birth.

    *architecture* and *kernel* are its kubelet's words. *strange*: what looks like a wish of ours and is none, in words.
    Read without its claims, so that a Node with a malformed one can be labelled and unlabelled all the same.
    """

    name: str
    uid: str
    label: str | None
    linux: bool
    created: datetime
    architecture: str = ""
    kernel: str = ""
    strange: tuple[str, ...] = ()

    @property
    def unfit(self) -> str:
        """Return why no agent can run there, empty when one can."""
        return unfit(linux=self.linux, architecture=self.architecture, kernel=self.kernel)


class CliClient:
    """Reads and writes for the verbs; raises `ClusterError`, each write's with the object's name."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._reader = ObjectReader(api)

    @classmethod
    def connect(cls, kubeconfig: Path | None = None, context: str | None = None) -> Self:
        """Return the cluster that *kubeconfig* and *context* say, else the pod's own, else KUBECONFIG's."""
        return cls(Api.connect(kubeconfig, context=context))

    @property
    def malformed(self) -> Mapping[str, ObjectError]:
        """Return the objects that the last reads left out, by path and name."""
        return {f"{path.rpartition('/')[2]}/{name}": error for (path, name), error in self._reader.malformed.items()}

    def config(self) -> ConfigDocument | None:
        """Return the configuration document, None when there is none."""
        return _patiently(self._reader.config)

    def node_labels(self, selector: str = "") -> Sequence[NodeLabel]:
        """Return all Nodes, or those that *selector* chooses as kubectl's -l does, by name; a bad one is an `InputError`."""
        if not selector:
            return node_labels(self.raw_nodes())
        path = f"{paths.NODES}?{urlencode({'labelSelector': selector})}"
        try:
            return node_labels(_patiently(lambda: self._api.items(path))[0])
        except ClusterError as error:
            if not error.answer.startswith("400"):
                raise
            hint = "write it as for kubectl: KEY=VALUE, KEY!=VALUE, KEY, !KEY, 'KEY in (A,B)', joined by commas"
            raise InputError("choose nodes by labels", what=selector, answer=error.answer, hint=hint) from error

    def missing_parts(self) -> Sequence[str]:
        """Return what of an installation is not there, in words; nothing when it is whole."""
        with _doing("see whether wirecrypt is installed", f"namespace {SYSTEM_NAMESPACE}", right=_SEE):
            return _patiently(lambda: missing_parts(self._api))

    def raw_nodes(self) -> Sequence[Mapping[str, Any]]:
        """Return all Nodes as the API server has them."""
        return _patiently(lambda: self._api.items(paths.NODES))[0]

    def encrypted_nodes(self) -> Sequence[EncryptedNode]:
        """Return all EncryptedNodes by name."""
        return sorted(_patiently(self._reader.encrypted_nodes), key=lambda e: e.name)

    def node_peers(self) -> Sequence[NodePeer]:
        """Return all NodePeers by name."""
        return sorted(_patiently(self._reader.node_peers), key=lambda p: p.name)

    def rotations(self) -> Sequence[KeyRotation]:
        """Return all KeyRotations, oldest first."""
        return sorted(_patiently(self._reader.key_rotations), key=lambda r: (r.created, r.name))

    def rotation(self, name: str) -> KeyRotation | None:
        """Return one KeyRotation, None when there is none."""
        try:
            return decode.key_rotation(_patiently(lambda: self._api.get(f"{paths.KEY_ROTATIONS}/{name}")))
        except NotFound:
            return None

    def label(self, node: NodeLabel, value: str | None, *, dry_run: bool = False) -> None:
        """Set the label of the Node that was read, or with None remove it; *dry_run* only asks whether it may be."""
        body = {"metadata": {"uid": node.uid, "labels": {LABEL: value}}}
        with _doing("remove the label" if value is None else "set the label", f"Node {node.name}", right="patch nodes"):
            _patiently(lambda: self._api.patch(f"{paths.NODES}/{node.name}", body, dry_run=dry_run))

    def request_rotation(self, reason: str) -> KeyRotation:
        """Create a KeyRotation under a new name."""
        body = encode.rotation({"generateName": _PREFIX}, reason)
        with _doing("ask for a rotation", "KeyRotation", right="create keyrotations"):
            return decode.key_rotation(_patiently(lambda: self._api.create(paths.KEY_ROTATIONS, body)))

    def abort(self, rotation: KeyRotation) -> None:
        """Ask to abort a KeyRotation; the API server refuses when nodes use the new keys already."""
        body = {"metadata": {"uid": rotation.uid}, "spec": {"abort": True}}
        late = "let it finish; `wirecrypt status` shows how far it is"
        with _doing("abort the rotation", f"KeyRotation {rotation.name}", right="patch keyrotations", late=late):
            _patiently(lambda: self._api.patch(f"{paths.KEY_ROTATIONS}/{rotation.name}", body))

    def exclude(self, rotation: KeyRotation, names: Iterable[str]) -> None:
        """Ask to cut nodes off if they still hold up a KeyRotation when patience is over; names said before stay."""
        path = f"{paths.KEY_ROTATIONS}/{rotation.name}"

        def add() -> None:
            present = decode.key_rotation(_patiently(lambda: self._api.get(path)))
            metadata = {"uid": rotation.uid, "resourceVersion": present.resource_version}
            body = {"metadata": metadata, "spec": {"without": sorted({*present.without, *names})}}
            _patiently(lambda: self._api.patch(path, body))

        with _doing("go on without a node", f"KeyRotation {rotation.name}", right="patch keyrotations"):
            retry(on=Conflict, limits=_AGAIN)(add)()  # the controller writes to it all the while


def missing_parts(api: Api) -> list[str]:
    """Return what of an installation is not there, in words; raises `ClusterError` for what may not be read.

    A program is told by its service account: its workload may have been renamed. Where the kinds are missing nothing else is
    looked for.
    """
    kinds = _kinds(api)
    return kinds or list(_programs(api))


def _kinds(api: Api) -> list[str]:
    """Return the kinds that are not served; the lists of groups and of kinds may be read by everybody."""
    served = {v["groupVersion"] for g in api.get("/apis").get("groups", ()) if g["name"] == GROUP for v in g["versions"]}
    found = {kind["name"] for kind in api.get(f"/apis/{VERSION}").get("resources", ())} if VERSION in served else set()
    return [f"kind {kind}.{GROUP}" for kind in sorted(_KINDS - found)]


def _programs(api: Api) -> Iterator[str]:
    for plural, kind, account, name in _PROGRAMS:
        workloads = api.items(f"{WORKLOADS}/{plural}")[0]
        if not any(w["spec"]["template"]["spec"].get("serviceAccountName") == account for w in workloads):
            yield f"{kind} of the {name} in {SYSTEM_NAMESPACE}"


def node_labels(items: Iterable[Mapping[str, Any]]) -> list[NodeLabel]:
    """Return what the metadata of Nodes say, by name."""
    return sorted((_node_label(raw) for raw in items), key=lambda w: w.name)


def _node_label(raw: Mapping[str, Any]) -> NodeLabel:
    fields = fields_of("Node", raw)
    meta, machine = fields.group("metadata"), fields.group("status").group("nodeInfo")
    labels, annotations = meta.mapping("labels"), meta.mapping("annotations")
    return NodeLabel(
        name=meta.text("name"),
        uid=meta.text("uid"),
        label=labels.get(LABEL),
        linux=labels.get("kubernetes.io/os", "linux") == "linux",
        created=meta.time("creationTimestamp"),
        architecture=machine.text("architecture", ""),
        kernel=machine.text("kernelVersion", ""),
        strange=(
            *(f"label {key}={value}" for key, value in sorted(labels.items()) if key != LABEL and _ours(key)),
            *(f"annotation {LABEL}" for _ in range(LABEL in annotations)),
        ),
    )


def _ours(key: str) -> bool:
    """Return whether the domain of a label's key is ours, or ours cut short."""
    domain, slash, _ = key.partition("/")
    return bool(slash) and (domain in (GROUP, GROUP.partition(".")[0]) or domain.endswith(f".{GROUP}"))


def _patiently(call: Callable[[], T]) -> T:
    """Return what *call* returns; one that the server put off is made again a few times, not before it says."""
    return retry(on=Throttled, limits=_AGAIN, asked=_after)(call)()


def _after(error: Exception) -> float:
    return error.after if isinstance(error, Throttled) else 0.0


@contextmanager
def _doing(tried: str, what: str, *, right: str, late: str = "") -> Iterator[None]:
    """Say of a refusal what was tried on which object, instead of the request's method and path.

    *right*: what to ask for when it was forbidden; *late*: the next step when the object's own rules refused.
    """
    try:
        yield
    except Forbidden as error:
        hint = f"ask for the right, `kubectl auth can-i {right}` shows it; nothing was changed"
        raise Forbidden(tried, what=what, answer=error.answer, hint=hint) from error
    except ClusterError as error:
        invalid = error.answer.startswith("422") and late
        raise type(error)(tried, what=what, answer=error.answer, hint=late if invalid else error.hint) from error
