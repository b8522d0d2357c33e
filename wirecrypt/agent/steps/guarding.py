"""The guard in its place: attached and configured before anything else of a node, looked at when there is a reason."""

from __future__ import annotations

from wirecrypt import logs
from wirecrypt.agent.components import Components
from wirecrypt.agent.datapath.guard_attachment import guard_settings
from wirecrypt.errors import BpfError, LinkError
from wirecrypt.model.mark import MarkLayout
from wirecrypt.model.objects import NodePeer
from wirecrypt.plan.marks import esp_keeps_mark
from wirecrypt.settings import Settings

log = logs.get(__name__)


class GuardUpkeep:
    """Keeps the guard on the links; *trouble* says why it is not there."""

    def __init__(self, components: Components, resync: float) -> None:
        self._components = components
        self._resync = resync
        self._due = float("-inf")
        self._done: object = None
        self._esp_keeps_mark = True  # until a look has shown that no SA of an agent of before sends: this one makes none
        self.trouble = ""

    def links_changed(self) -> None:
        """Take note of links, addresses or routes that changed."""
        self._due = float("-inf")

    def ensure(self, own: NodePeer, settings: Settings, marks: MarkLayout, now: float) -> None:
        """Look at links and filters when a link, the own claims or the configuration changed, and every resync.

        A guard that the kernel refuses keeps no pair from its policies, and no node becomes Active behind it.
        """
        if now < self._due and (own, settings, marks) == self._done:
            return
        components = self._components
        if not components.datapath.has_guard():  # the maps that it gets now are empty, whatever was read of the last ones
            components.datapath.forget()
        self._esp_keeps_mark = self._esp_keeps_mark and esp_keeps_mark(components.datapath.snapshot().sas.values())
        configured = guard_settings(own, settings, marks=marks, esp_keeps_mark=self._esp_keeps_mark)
        try:
            components.guard_attachment.ensure(own, settings, configured)
        except (BpfError, LinkError) as error:
            if str(error) != self.trouble:
                log.error("guard not in place", error=str(error))  # noqa: TRY400 - the message says all
            self.trouble = str(error)
            return
        self.trouble = ""
        self._due, self._done = now + self._resync, (own, settings, marks)
