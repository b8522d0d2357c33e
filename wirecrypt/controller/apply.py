"""From actions to writes: the thin shell around `decide`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import replace

from wirecrypt import logs
from wirecrypt.controller.actions import (
    Action,
    Chain,
    CreateEncrypted,
    CreatePeer,
    DeleteEncrypted,
    DeleteNodeKeys,
    EmitEvent,
    GrantKeys,
    QuarantineNodeIDs,
    RemovePeer,
    RevokeKeys,
    UpdateEncrypted,
    UpdatePeer,
)
from wirecrypt.errors import ClusterError, Conflict, SecretError
from wirecrypt.keys import new_seed, shares
from wirecrypt.model.conditions import Reason
from wirecrypt.model.objects import KEYS_NAMESPACE, SYSTEM_NAMESPACE, ControllerView, KeySecret, NodeKey, NodeState, SeedSecret
from wirecrypt.model.secret import SecretBytes
from wirecrypt.model.session import Epoch
from wirecrypt.ports import ControllerApi
from wirecrypt.rotation.actions import (
    CreateRotation,
    CreateSeed,
    DeleteRotation,
    DeleteSeed,
    ExcludePeer,
    RemoveNodeKey,
    SetFinalizer,
    UpdateRotationStatus,
    WriteNodeKeys,
)

Shares = Mapping[tuple[Epoch, str], SecretBytes]
_log = logs.get(__name__)


def derive(chains: Iterable[Chain], view: ControllerView) -> Shares:
    """Return the node keys that *chains* write, by epoch and node UID: one epoch's are derived together, which is cheap."""
    wanted: dict[Epoch, set[str]] = {}
    for write in (a for chain in chains for a in chain.actions if isinstance(a, WriteNodeKeys)):
        for epoch in write.epochs:
            wanted.setdefault(epoch, set()).add(write.node_uid)
    seeds = {s.epoch: s.seed for s in view.seeds}
    return {
        (epoch, uid): key
        for epoch, uids in wanted.items()
        if epoch in seeds
        for uid, key in shares(seeds[epoch], sorted(uids)).items()
    }


def apply(action: Action, cluster: ControllerApi, view: ControllerView, keys: Shares) -> None:  # noqa: C901, PLR0912 - one line an action
    """Do one action; raises `ClusterError`, `SecretError`."""
    match action:
        case CreateEncrypted():
            cluster.create_encrypted_node(action.node, action.node_id, action.state, action.problems)
        case UpdateEncrypted():
            cluster.update_encrypted_node(action.encrypted, action.state, action.problems)
        case DeleteEncrypted():
            cluster.delete_encrypted_node(action.encrypted)
        case CreatePeer():
            cluster.create_node_peer(action.node, action.peer)
        case UpdatePeer():
            cluster.update_node_peer(action.old, action.new)
        case ExcludePeer():
            cluster.update_node_peer(action.peer, replace(action.peer, state=NodeState.EXCLUDED))
            cluster.node_event(action.peer.name, reason=Reason.EXCLUDED, message=action.why, warning=True)
        case RemovePeer():
            cluster.remove_node_peer(action.peer)
        case DeleteNodeKeys():
            cluster.delete_keys(action.secret)
        case GrantKeys():
            _grant(action, cluster)
        case RevokeKeys():
            cluster.revoke_keys(action.access)
        case QuarantineNodeIDs():
            released = tuple(sorted({*action.seed.released, *action.node_ids}))
            cluster.write_seed(replace(action.seed, released=released))
        case EmitEvent():
            cluster.node_event(action.node, reason=action.reason, message=action.why, warning=action.warning)
        case WriteNodeKeys():
            secret = _given(action, view, keys)
            new = f"wirecrypt-node-{action.node} in {KEYS_NAMESPACE}"
            with nullcontext() if secret.resource_version else _new(new):
                cluster.write_keys(secret, view.nodes.get(action.node))
        case RemoveNodeKey():
            left = tuple(k for k in action.secret.keys if k.epoch.number != action.number)
            cluster.write_keys(replace(action.secret, keys=left), view.nodes.get(action.secret.node))
        case CreateSeed():
            with _new(f"wirecrypt-epoch-{action.epoch.number} in {SYSTEM_NAMESPACE}"):
                cluster.write_seed(SeedSecret(action.epoch, new_seed(), (), action.carried))
        case DeleteSeed():
            cluster.delete_seed(action.seed)
        case SetFinalizer():
            cluster.hold_rotation(action.rotation, held=action.held)
        case UpdateRotationStatus():
            cluster.write_rotation(action.old, action.new)
            _emit(action, cluster)
        case CreateRotation():
            cluster.create_rotation(action.name, action.why)
        case DeleteRotation():
            cluster.delete_rotation(action.rotation)


def _grant(action: GrantKeys, cluster: ControllerApi) -> None:
    with _new(f"wirecrypt-node-{action.node} in {KEYS_NAMESPACE}", action.part.value):
        cluster.grant_keys(action.node, action.part)


@contextmanager
def _new(name: str, kind: str = "Secret") -> Iterator[None]:
    """Make an error of what else looks like a lost race: the copies show no such object, and yet there is one."""
    try:
        yield
    except Conflict as error:
        answer = "one of this name is there already, which is not of our type or label, or cannot be read"
        hint = "see who made it, and delete it if it is nobody's; it is tried again until then"
        raise SecretError(f"create a {kind}", what=name, answer=answer, hint=hint) from error


def _given(action: WriteNodeKeys, view: ControllerView, keys: Shares) -> KeySecret:
    """Return the Secret with the given keys next to those of the same Node that it has."""
    old, peer = view.keys.get(action.node), view.peers.get(action.node)
    own = old if old and old.node_uid == action.node_uid else None
    kept = {k.epoch.number: k for k in own.keys} if own else {}
    was = own is not None and own.active and own.node_id == action.node_id
    active = was or (peer is not None and peer.node_uid == action.node_uid and peer.state is NodeState.ACTIVE)
    for epoch in action.epochs:
        key = keys.get((epoch, action.node_uid))
        if key is None:
            what = f"node {action.node}, epoch {epoch.number}"
            raise SecretError("make a node key", what=what, answer="the epoch's seed is gone", hint="wirecrypt rotate")
        kept[epoch.number] = NodeKey(epoch, key)
    entries = tuple(sorted(kept.values(), key=lambda k: k.epoch))
    return KeySecret(action.node, action.node_uid, entries, old.resource_version if old else "", action.node_id, active)


def _emit(update: UpdateRotationStatus, cluster: ControllerApi) -> None:
    """Write an Event when the phase changed, or log that it failed; progress within a phase is in the status."""
    if update.new.phase is update.old.phase or not update.new.phase:
        return
    try:
        cluster.rotation_event(update.new, reason=Reason[update.new.phase.name], message=update.why)
    except ClusterError as error:
        _log.warning("event not written", rotation=update.new.name, error=str(error))
