"""An API server that went back, as after a restore from a backup: what this node must not believe, and what it says anew.

What the backup does not show was not deleted, and what it shows of this node is not what the node said last. Sessions come
again by `Publisher`, which compares; here is what nobody would compare otherwise.
"""

from __future__ import annotations

from wirecrypt import logs
from wirecrypt.agent.components import Components
from wirecrypt.model.objects import NodePeer

log = logs.get(__name__)


class Restores:
    """What was done about the restores that the copies have seen."""

    def __init__(self, components: Components) -> None:
        self._components = components
        self._told = self._held = 0

    def new(self) -> bool:
        """Return whether the API server went back since the last call."""
        seen = self._components.cache.restores()
        if seen == self._told:
            return False
        self._told = seen
        log.warning("the API server went back: nothing missing is deleted, what this node said is said again", count=seen)
        return True

    def hold(self, own: NodePeer) -> None:
        """Have nothing that vanished count as deleted until the next session, once a restore; raises `StateError`."""
        if self._held != self._told:
            self._components.session_keeper.api_went_back(own)
            self._held = self._told
