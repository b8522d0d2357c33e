"""A node that may decide nothing: the kernel keeps what it has, the API server hears why, and nobody hears it twice."""

from __future__ import annotations

from typing import Final

from wirecrypt import logs
from wirecrypt.agent.components import Components
from wirecrypt.agent.status.node_status import held
from wirecrypt.errors import ClusterError, ObjectError

log = logs.get(__name__)
AGAIN: Final = 5.0  # seconds until a status that was not written is tried again


class Suspended:
    """Says why nothing is decided: in the log once, and once in the status of the node's own EncryptedNode."""

    def __init__(self, components: Components) -> None:
        self._components = components
        self._said = self._reported = ("", "", "")
        self._not_before = float("-inf")

    def end(self) -> None:
        """Note that the node decides again."""
        self._said = self._reported = ("", "", "")

    def suspend(self, node_uid: str, reason: str, message: str, now: float) -> None:
        """Log and report *reason* for the Node of this UID, if that was not done yet."""
        if (node_uid, reason, message) != self._said:
            self._said = (node_uid, reason, message)
            log.error("nothing is decided", reason=reason, error=message)
        self.report(node_uid, reason, message, now)

    def report(self, node_uid: str, reason: str, message: str, now: float) -> None:
        """Report *reason*; without an EncryptedNode there is nobody to tell, and a refusal is tried again later."""
        if (node_uid, reason, message) == self._reported or now < self._not_before:
            return
        self._not_before = now + AGAIN
        api = self._components.api
        try:
            encrypted = api.encrypted_node(self._components.node)
            if encrypted is not None and encrypted.node_uid == node_uid:
                status = held(encrypted.status, self._components.boot_id, self._components.versions, reason, message)
                api.write_node_status(encrypted, status)
                self._reported = (node_uid, reason, message)
        except (ClusterError, ObjectError) as error:
            log.warning("status not written", error=str(error))
