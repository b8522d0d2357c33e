"""The API server as an agent sees it: the `Cluster` port over requests."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from wirecrypt.cluster import paths
from wirecrypt.cluster.access import reviews
from wirecrypt.cluster.answer import refuses
from wirecrypt.cluster.api import Api
from wirecrypt.cluster.codec import decode, encode, key_access
from wirecrypt.cluster.readers import ObjectReader
from wirecrypt.cluster.server_reach import ServerReach
from wirecrypt.errors import Forbidden, NotFound
from wirecrypt.model.access import TokenIdentity
from wirecrypt.model.admission import FORBIDDEN, NODE_TOKEN, OWN_POD
from wirecrypt.model.objects import (
    EncryptedNode,
    NodeKey,
    NodePeer,
    NodeStatus,
)
from wirecrypt.model.session import Session
from wirecrypt.model.xfrm import Address

_POLICY: Final = "ValidatingAdmissionPolicy"
_MOST_TRIED: Final = 4  # nodes whose objects may just be made, or be gone


class AgentClient(ObjectReader):
    """Implements `wirecrypt.ports.Cluster`."""

    def __init__(self, api: Api) -> None:
        super().__init__(api)
        self._reach = ServerReach(api)

    def node_keys(self, node: str) -> Sequence[NodeKey]:
        """Return the keys of *node*'s Secret, sorted by epoch; none when there is no Secret, or no account that may read it.

        The agents' own account reads none: the node's account does, whose token admission gives to this node's agent alone.
        """
        name = decode.KEY_PREFIX + node
        try:
            asked = self.api.create(f"{paths.NODE_ACCOUNTS}/{name}/token", key_access.token_request(node))
        except NotFound:
            return ()
        secret = self.one(f"{paths.NODE_KEYS}/{name}", decode.key_secret, token=key_access.token(asked))
        return secret.keys if secret else ()

    def publish_sessions(self, peer: NodePeer, *, boot_id: str, boot_session: int, sessions: Sequence[Session]) -> NodePeer:
        status = {
            "bootID": boot_id,
            "bootSession": boot_session,
            "lastSession": max((peer.last_session, *(s.number for s in sessions))),
            "sessions": [encode.session(s) for s in sessions],
        }
        body = {"metadata": {"resourceVersion": peer.resource_version}, "status": status}
        return decode.node_peer(self.api.patch(f"{paths.NODE_PEERS}/{peer.name}/status", body))

    def propose_addresses(self, node: str, addresses: Sequence[Address]) -> None:
        """Write which addresses the own node holds next to its endpoints, and nothing else.

        Whatever version the NodePeer is: one agent writes this list, whole, and it is true of the node, not of the object.
        """
        body = {"status": {"proposed": [str(a) for a in addresses]}}
        self.api.patch(f"{paths.NODE_PEERS}/{node}/status", body)

    def write_node_status(self, node: EncryptedNode, status: NodeStatus) -> EncryptedNode:
        """Patch the status of the own EncryptedNode, of that version; conditions that stay keep their time."""
        said = encode.node_status(status, node.conditions, datetime.now(UTC))
        body = {"metadata": {"resourceVersion": node.resource_version}, "status": said}
        return decode.encrypted_node(self.api.patch(f"{paths.ENCRYPTED_NODES}/{node.name}/status", body))

    def forbidden_write_refused(self, others: Sequence[str]) -> bool:
        """Try to write the status of an object of each kind of one of these *others*, dry; True when a policy refused both.

        The write changes nothing, so that it would leave nothing if it were not dry. Raises `Forbidden` when RBAC refused
        instead, which says nothing of the policy, and `NotFound` where the first of *others* have no object.
        """
        answers = [self._refused(path, others) for path in (paths.NODE_PEERS, paths.ENCRYPTED_NODES)]  # both, in any case
        return all(answers)

    def foreign_token_refused(self) -> bool:
        """Ask for a token of an account that is not this node's, and can do nothing; True when the admission policy refused.

        Raises `Forbidden` when RBAC refused instead, and `NotFound` without that account.
        """
        path = f"{paths.NODE_ACCOUNTS}/{FORBIDDEN}/token"
        return refuses(NODE_TOKEN, lambda: self.api.create(path, {"spec": {}}, dry_run=True))

    def pod_try_refused(self) -> bool:
        """Try to delete the own pod, dry; True when the admission policy refused.

        Raises `Forbidden` when RBAC refused instead, and `NotFound` when the token is no pod's, or that is gone.
        """
        identity = self.identity()
        if not identity.pod:
            answer, hint = "the token is bound to no pod", "an agent runs in a pod of its DaemonSet"
            raise NotFound("try to delete the own pod", what=OWN_POD, answer=answer, hint=hint)
        return refuses(OWN_POD, lambda: self.api.delete(f"{paths.PODS}/{identity.pod}", uid=identity.pod_uid, dry_run=True))

    def identity(self) -> TokenIdentity:
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        return reviews.identity(self.api.create(paths.SELF_REVIEWS, body))

    def delete_pod(self, identity: TokenIdentity) -> None:
        self.api.delete(f"{paths.PODS}/{identity.pod}", uid=identity.pod_uid)

    def api_addresses(self) -> frozenset[Address]:
        """Return the addresses of API servers: where connections go to, and what is behind the Service `kubernetes`."""
        return self._reach.addresses()

    def reached(self, since: float) -> bool:
        return self._reach.answered(since)

    def _refused(self, path: str, others: Sequence[str]) -> bool:
        for name in others[:_MOST_TRIED]:
            try:
                self.api.patch(f"{path}/{name}/status", {}, dry_run=True)
            except NotFound:
                continue
            except Forbidden as error:
                if _POLICY not in error.answer:
                    raise
                return True
            return False
        raise NotFound("try a forbidden write", what=path, answer="other nodes have no object", hint="it is tried again")
