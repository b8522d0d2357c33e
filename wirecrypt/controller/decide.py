"""One pass: what the copies show, and what this process remembers, become chains of actions. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from wirecrypt.controller.actions import Chain, QuarantineNodeIDs
from wirecrypt.controller.claims.allowed import Allowed
from wirecrypt.controller.claims.proposals import REST_SECONDS, Withdrawn, withdrawn
from wirecrypt.controller.leaving import GRACE_SECONDS, LeavingWatch
from wirecrypt.controller.nodes import reconcile
from wirecrypt.model.objects import LABEL_ENABLED, MOST_JOINING, ControllerView, KeyRotation, Node, NodeState, Phase
from wirecrypt.plan.holders import Claims, with_held
from wirecrypt.rotation.actions import Action, CreateSeed, RotationInputs
from wirecrypt.rotation.history import surplus
from wirecrypt.rotation.phases import current, joining_epochs, step
from wirecrypt.settings import Rotation, Settings

SILENT_SECONDS: Final = 180.0
WAVE_SECONDS: Final = 120.0  # after which a node that still joins keeps no other from beginning
ROTATION: Final = "rotation"  # names of the chains that belong to no node
HISTORY: Final = "history"  # its own, so that what cannot be deleted holds up no rotation


@dataclass(frozen=True, slots=True)
class Switched:
    """The rotation that nodes switch by, since when this process saw them do so, and whether it has come to Retiring."""

    uid: str
    began: float
    retiring: bool


@dataclass(frozen=True, slots=True)
class ControllerMemory:
    """What one process has seen over time, in seconds of its monotonic clock. A new leader begins anew, as with a Lease.

    *gone*: since when the Node of a node UID has been missing. *versions*: the version of each EncryptedNode and since when
    it has been that. *switched*: agents write only when something changes for them, so their silence says something
    only from there on. *refused*: by node, why its keys could not be written the last time. *withdrawn*: since when an
    address is held that its node's agent has withdrawn. *plain*: what is held for Nodes without the label. *joining*: since
    when nodes join, by UID. *wave*: those that joined, or do, since none did that had begun lately.
    """

    gone: Mapping[str, float] = field(default_factory=dict)
    versions: Mapping[str, tuple[str, float]] = field(default_factory=dict)
    switched: Switched | None = None
    refused: Mapping[str, str] = field(default_factory=dict)
    withdrawn: Mapping[Withdrawn, float] = field(default_factory=dict)
    plain: Mapping[str, Claims] = field(default_factory=dict)
    joining: Mapping[str, float] = field(default_factory=dict)
    wave: frozenset[str] = frozenset()

    def seen(self, view: ControllerView, now: float) -> ControllerMemory:
        """Return the memory after a look at *view*."""
        live = {node.uid for node in view.nodes.values()}
        owners = {p.node_uid for p in view.peers.values()} | {e.node_uid for e in view.encrypted.values()}
        gone = {uid: self.gone.get(uid, now) for uid in owners - live}
        versions = {name: self._version(name, e.resource_version, now) for name, e in view.encrypted.items()}
        idle = {held: self.withdrawn.get(held, now) for held in withdrawn(view.peers.values())}
        _, plain = with_held(view.nodes.values(), view.peers.values(), self.plain)
        joining = {
            e.node_uid: self.joining.get(e.node_uid, now) for e in view.encrypted.values() if e.state is NodeState.JOINING
        }
        lately = frozenset(uid for uid, since in joining.items() if now - since < WAVE_SECONDS)
        wave = lately | self.wave if lately & self.wave else lately
        switched = self._switched_by(view, now)
        return ControllerMemory(gone, versions, switched, self.refused, idle, plain, joining, wave)

    @property
    def room(self) -> int:
        """Return how many more nodes may begin to join: a wave that is full is waited for, or for WAVE_SECONDS.

        Each pair of a node is proved before it is Active, so one that could always begin would keep all others from the end.
        """
        return max(0, MOST_JOINING - len(self.wave))

    def rested(self, now: float) -> frozenset[Withdrawn]:
        """Return the addresses that were withdrawn long enough ago to be given up, if nobody else has them."""
        return frozenset(held for held, since in self.withdrawn.items() if now - since >= REST_SECONDS)

    def silent(self, now: float) -> frozenset[str]:
        """Return the nodes whose agents wrote nothing for long though nodes switch, which makes every agent write.

        While nodes retire, an agent that waits for another's has nothing to write: then only those that have written
        nothing at all since nodes began to switch.
        """
        switched = self.switched
        if switched is None:
            return frozenset()
        versions = {
            name: since for name, (_, since) in self.versions.items() if not switched.retiring or since <= switched.began
        }
        return frozenset(name for name, since in versions.items() if now - max(since, switched.began) >= SILENT_SECONDS)

    def _switched_by(self, view: ControllerView, now: float) -> Switched | None:
        """Return what is known of the running rotation; one that this process first saw in Retiring tells nothing."""
        rotation, before = current(view.rotations), self.switched
        known = before if before and rotation and before.uid == rotation.uid else None
        if rotation and rotation.phase is Phase.SWITCHING:
            return known or Switched(rotation.uid, now, retiring=False)
        return replace(known, retiring=True) if known and rotation and rotation.phase is Phase.RETIRING else None

    def _version(self, name: str, version: str, now: float) -> tuple[str, float]:
        before = self.versions.get(name)
        return before if before and before[0] == version else (version, now)


@dataclass(frozen=True, slots=True)
class Now:
    """The time of a pass: of the wall in whole seconds, of the monotonic clock, and 128 fresh random bits in hex."""

    wall: datetime
    monotonic: float
    fresh: str


def decide(
    view: ControllerView, settings: Settings, memory: ControllerMemory, now: Now, *, grace: float = GRACE_SECONDS
) -> tuple[Chain, ...]:
    """Return all that is to be done: the chains of nodes by name, the rotation's, and that of rotations that have ended."""
    held, _ = with_held(view.nodes.values(), view.peers.values(), memory.plain)
    view = replace(view, nodes={node.name: node for node in held})
    snapshot = _snapshot(view, memory, now, settings.rotation.patience)
    allowed = Allowed(settings.service_cidrs, settings.api_servers, settings.claim_ranges)
    watched = LeavingWatch({uid: now.monotonic - since for uid, since in memory.gone.items()}, grace)
    rested, room = memory.rested(now.monotonic), memory.room
    nodes = reconcile(view, allowed, joining_epochs(snapshot), watched, rested, room=room)
    actions = step(snapshot, now.wall, fresh=now.fresh, due=due(view.rotations, settings.rotation, now.wall))
    if any(isinstance(a, QuarantineNodeIDs) for chain in nodes for a in chain.actions):
        actions = _without_seed(actions)
    others = (Chain(ROTATION, actions), Chain(HISTORY, surplus(snapshot, settings.rotation.history)))
    return (*nodes, *(chain for chain in others if chain.actions))


def _without_seed(actions: tuple[Action, ...]) -> tuple[Action, ...]:
    """Return *actions* up to a new seed: what it carries on would lack the IDs that begin to rest in this very pass."""
    first = next((n for n, action in enumerate(actions) if isinstance(action, CreateSeed)), len(actions))
    return actions[:first]


def due(rotations: tuple[KeyRotation, ...], schedule: Rotation, now: datetime) -> bool:
    """Return whether the interval since the last finished rotation has passed; its jitter is the rotation's own."""
    finished = [r for r in rotations if r.phase is Phase.COMPLETE and r.completed]
    if not schedule.interval or not finished:
        return False
    last = max(finished, key=lambda r: (r.completed, r.uid))
    share = int.from_bytes(hashlib.sha256(last.uid.encode()).digest()[:4], "big") / 2**32
    wait = timedelta(seconds=schedule.interval + schedule.jitter * share)
    return last.completed is not None and now >= last.completed + wait


def _snapshot(view: ControllerView, memory: ControllerMemory, now: Now, patience: float) -> RotationInputs:
    ready = {node.uid for node in view.nodes.values() if node.ready}
    peers = tuple(p for _, p in sorted(view.peers.items()) if p.state is not NodeState.EXCLUDED)
    unheard = frozenset(name for name, node in view.nodes.items() if _unheard(node, view))
    down = {p.name for p in peers if p.node_uid not in ready} | {n for n in unheard if view.nodes[n].uid not in ready}
    return RotationInputs(
        rotations=view.rotations,
        seeds=view.seeds,
        keys=view.keys,
        peers=peers,
        statuses={name: e.status for name, e in view.encrypted.items() if e.status},
        down=frozenset(down | memory.silent(now.monotonic)),
        wanted=any(node.label == LABEL_ENABLED for node in view.nodes.values()) or bool(view.peers),
        unusable=view.unusable_keys,
        refused=memory.refused,
        patience=patience,
        unheard=unheard,
    )


def _unheard(node: Node, view: ControllerView) -> bool:
    """Return whether a labelled node was Active and has published nothing: what it said was lost with its NodePeer ◆R41."""
    peer, secret = view.peers.get(node.name), view.keys.get(node.name)
    if node.label is None or (peer is not None and (peer.sessions or peer.node_uid != node.uid)):
        return False
    kept = secret is not None and secret.active and secret.node_uid == node.uid
    return kept if peer is None else peer.state is NodeState.ACTIVE or (kept and peer.state is NodeState.JOINING)
