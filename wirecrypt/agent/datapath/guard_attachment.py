"""Keep the eBPF programs loaded, configured and attached where they belong; attached before anything else of a node."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from wirecrypt import logs
from wirecrypt.errors import KernelError
from wirecrypt.model.guard import GuardSettings
from wirecrypt.model.link import Link
from wirecrypt.model.mark import MarkLayout
from wirecrypt.model.objects import NodePeer
from wirecrypt.model.pair import End
from wirecrypt.model.xfrm import Address, Network
from wirecrypt.plan.uplinks import pod_links, uplinks
from wirecrypt.ports import Guard, Links
from wirecrypt.settings import Mode, Settings

log = logs.get(__name__)

MARK: Final = "wirecrypt_mark"
EGRESS: Final = "wirecrypt_guard_egress"
INGRESS: Final = "wirecrypt_guard_ingress"


class GuardAttachment:
    """Attach what is missing; detach only when the node has left."""

    def __init__(self, guard: Guard, links: Links) -> None:
        self._guard = guard
        self._links = links
        self.uplinks: tuple[str, ...] = ()  # as of the last pass
        self.links: Sequence[Link] | None = None  # as they were listed last

    def ensure(self, own: NodePeer, settings: Settings, configured: GuardSettings) -> None:
        """Load, configure and attach; raises `BpfError` or `LinkError` when the kernel refuses or a link is not there."""
        links = self.links = self._links.links()
        self._attach(links, own.endpoints, own.pod_cidrs, settings, configured)
        pods = set(pod_links(links, own.endpoints, own.pod_cidrs)) - set(self.uplinks)
        current = self._current()
        for name in sorted(pods):
            if (name, MARK) not in current:
                self._attach_mark(name)
        self._guard.hold()

    def attach(self, own: End, settings: Settings, configured: GuardSettings) -> list[str]:
        """Load and configure the programs and put the guard on the uplinks; return the uplinks' names."""
        self._attach(self._links.links(), own.endpoints, own.pod_cidrs, settings, configured)
        return list(self.uplinks)

    def _attach(
        self,
        links: Sequence[Link],
        own: Sequence[Address],
        pod_cidrs: Sequence[Network],
        settings: Settings,
        wanted: GuardSettings,
    ) -> None:
        self._guard.hold()
        if not self._guard.loaded():
            self._guard.load(wanted)
        self._guard.configure(wanted)
        out = uplinks(links, own=own, pod_cidrs=pod_cidrs, chosen=settings.uplinks)
        self.uplinks = tuple(out)
        current = self._current()
        for name in out:
            if not {(name, EGRESS), (name, INGRESS)} <= current:
                if (name, MARK) in current:
                    self._guard.detach(name)  # a veth counts as a pod's as long as it has no address and no route
                self._guard.attach_guard(name)
                log.info("guard attached", link=name)

    def attached(self) -> bool:
        """Return whether the programs are there and on any link."""
        return self._guard.loaded() and bool(self._guard.attachments())

    def log_drops(self) -> None:
        """Log waiting drop events; the programs limit their rate."""
        if not self._guard.loaded():
            return
        for drop in self._guard.drops():
            flow = f"{drop.src} → {drop.dst} proto {drop.proto} {drop.sport} → {drop.dport}"
            log.warning("packet dropped", reason=drop.reason, kind="egress" if drop.egress else "ingress", flow=flow)

    def remove(self) -> None:
        """Take everything off, of whichever version: the node has left and no pair has an object any more."""
        self._guard.unload()

    def _current(self) -> set[tuple[str, str]]:
        return {(a.link, a.program) for a in self._guard.attachments() if a.current}

    def _attach_mark(self, link: str) -> None:
        try:
            self._guard.attach_mark(link)
        except KernelError as error:
            # Marks choose a lane, never whether; pods' links come and go, and one may be gone between list and attach.
            log.warning("mark not attached", link=link, error=str(error))


def guard_settings(own: NodePeer | End, settings: Settings, *, marks: MarkLayout, esp_keeps_mark: bool) -> GuardSettings:
    """Return the eBPF programs' part of the configuration."""
    return GuardSettings(
        mark_shift=marks.shift,
        strict=settings.mode is Mode.STRICT,
        vxlan_ports=settings.vxlan_ports,
        geneve_ports=settings.geneve_ports,
        control_port=settings.control_port,
        node_id=own.node_id,
        own=tuple(own.endpoints),
        esp_keeps_mark=esp_keeps_mark,
    )
