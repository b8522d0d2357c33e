"""A Node that was made anew under its name: this agent's token is of the one before, so it asks for a pod that has another.

What the token says is asked of the API server itself, and so is the Node: neither a Node that is missing nor a copy that is
out of date says anything. The pod is deleted once; its DaemonSet makes the next one. What is in the kernel goes on meanwhile.
"""

from __future__ import annotations

from typing import Final

from wirecrypt import logs
from wirecrypt.errors import ClusterError, ObjectError
from wirecrypt.model.access import TokenIdentity
from wirecrypt.model.conditions import Reason
from wirecrypt.model.objects import Node
from wirecrypt.ports import AgentApi
from wirecrypt.retry import Backoff, Delays

log = logs.get(__name__)
AGAIN: Final = Delays(first=5.0, most=300.0, jitter=0.0)
REPLACED: Final = (
    "the Node was deleted and made anew under its name: the pairs stay as they are, and this agent's token is still of the one"
    " before, so it deletes its own pod, and the next one has a token of the new Node. Next: if it is not gone in a minute,"
    " delete it yourself"
)


class OwnRestart:
    """Compares the Node of this name with the one that the token is of. *asked*: the pod is on its way out."""

    def __init__(self, api: AgentApi, node: str) -> None:
        self._api, self._node = api, node
        self._identity: TokenIdentity | None = None
        self._backoff = Backoff(AGAIN)
        self.asked = False

    @property
    def rests(self) -> bool:
        """Return whether nothing waits to be asked again."""
        return not self._backoff.failures

    def check(self, node: Node | None, now: float) -> None:
        """Ask for the restart if *node*, as a copy shows it, is another than the token's, and the API server says so, too."""
        if node is None or self.asked or self._is_of(node) or not self._backoff.due(now):
            return
        self._backoff = self._backoff.failed(now)
        try:
            self._identity = self._api.identity()
            if self._is_of(node):
                self._backoff = self._backoff.succeeded()
            elif self._replaced(self._identity):
                self._ask(self._identity)
        except (ClusterError, ObjectError) as error:
            log.warning("no restart asked for", error=str(error))

    def _is_of(self, node: Node) -> bool:
        """Return whether the token is of *node*, or of no Node that it names: then it is no pod's."""
        return self._identity is not None and self._identity.node_uid in ("", node.uid)

    def _replaced(self, identity: TokenIdentity) -> bool:
        """Return whether the API server itself has a Node of this name that the token is not of."""
        found = self._api.node(self._node) if identity.node == self._node else None
        return found is not None and found.uid != identity.node_uid

    def _ask(self, identity: TokenIdentity) -> None:
        log.error("restarts for a token of the new Node", reason=Reason.NODE_REPLACED, object=identity.pod, error=REPLACED)
        self._api.delete_pod(identity)
        self.asked = True
