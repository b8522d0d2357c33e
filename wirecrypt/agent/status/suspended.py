"""A node that may decide nothing: the kernel keeps what it has, the API server hears why, and nobody hears it twice."""

from __future__ import annotations

from wirecrypt import logs
from wirecrypt.agent.components import Components
from wirecrypt.agent.status.node_status import held
from wirecrypt.agent.status.status_writer import StatusWriter
from wirecrypt.model.conditions import Reason

log = logs.get(__name__)


class Suspended:
    """Says why nothing is decided: in the log once, and once in the status of the node's own EncryptedNode."""

    def __init__(self, components: Components, status_writer: StatusWriter) -> None:
        self._components = components
        self._status_writer = status_writer
        self._said = self._reported = ("", "", "")

    def end(self) -> None:
        """Note that the node decides again."""
        self._said = self._reported = ("", "", "")

    def suspend(self, node_uid: str, reason: Reason, message: str, now: float) -> None:
        """Log and report *reason* for the Node of this UID, if that was not done yet."""
        if (node_uid, reason, message) != self._said:
            self._said = (node_uid, reason, message)
            log.error("nothing is decided", reason=reason, error=message)
        self.report(node_uid, reason, message, now)

    def report(self, node_uid: str, reason: Reason, message: str, now: float) -> None:
        """Report *reason* in the status of the Node of this UID, if that was not done yet."""
        if (node_uid, reason, message) == self._reported:
            return
        boot_id, versions = self._components.boot_id, self._components.versions
        if self._status_writer.write(node_uid, lambda status: held(status, boot_id, versions, reason, message), now):
            self._reported = (node_uid, reason, message)
