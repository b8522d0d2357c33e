"""Keep the eBPF programs loaded, configured and attached where they belong; attached before anything else of a node."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address

from wirecrypt import logs
from wirecrypt.agent.datapath.uplinks import pod_links, uplinks
from wirecrypt.errors import KernelError
from wirecrypt.model.guard import GuardAction, GuardSettings
from wirecrypt.model.objects import NodePeer
from wirecrypt.model.xfrm import Address, Network
from wirecrypt.ports import Guard, Links
from wirecrypt.settings import Mode, Settings

log = logs.get(__name__)


class GuardAttachment:
    """Attach what is missing; detach only when the node has left."""

    def __init__(self, guard: Guard, links: Links) -> None:
        self._guard = guard
        self._links = links
        self.uplinks: tuple[str, ...] = ()  # as of the last pass

    def ensure(self, own: NodePeer, peers: Iterable[Address | Network], settings: Settings, lanes: int) -> None:
        """Load, configure and attach; *peers*: their addresses, and prefixes that are not in the guard's maps yet.

        Raises `BpfError` or `LinkError` when the kernel refuses.
        """
        uplinks_now = self.attach(own.endpoints, peers, settings, lanes, pod_cidrs=own.pod_cidrs)
        current = self._current()
        for name in pod_links(self._links.links(), own.pod_cidrs, besides=uplinks_now):
            if (name, "wirecrypt_mark") not in current:
                self._attach_mark(name)

    def attach(
        self,
        own: Iterable[Address],
        peers: Iterable[Address | Network],
        settings: Settings,
        lanes: int,
        *,
        pod_cidrs: Sequence[Network] = (),
    ) -> list[str]:
        """Load and configure the programs and put the guard on the uplinks; return the uplinks' names."""
        wanted = guard_settings(settings, lanes)
        if not self._guard.loaded():
            self._guard.load(wanted)
        self._guard.configure(wanted)
        out = uplinks(
            self._links.links(),
            own=own,
            pod_cidrs=pod_cidrs,
            routed=() if settings.uplinks else self._routed(peers),
            chosen=settings.uplinks,
        )
        self.uplinks = tuple(out)
        current = self._current()
        for name in out:
            if not {(name, "wirecrypt_guard_egress"), (name, "wirecrypt_guard_ingress")} <= current:
                self._guard.attach_guard(name)
                log.info("guard attached", link=name)
        return out

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

    def _routed(self, peers: Iterable[Address | Network]) -> set[str]:
        """Return names of links by which packets leave for peers, for pods of theirs, and for whom nobody knows."""
        pods = {e.prefix for e in self._guard.entries() if GuardAction.DROP in (e.egress, e.ingress)}
        destinations = sorted({_some_address(one) for one in {*peers, *pods}}, key=lambda a: (a.version, a))
        return {*self._links.route_links(destinations), *self._links.default_links()}

    def _current(self) -> set[tuple[str, str]]:
        return {(a.link, a.program) for a in self._guard.attachments() if a.current}

    def _attach_mark(self, link: str) -> None:
        try:
            self._guard.attach_mark(link)
        except KernelError as error:
            # Marks choose a lane, never whether; pods' links come and go, and one may be gone between list and attach.
            log.warning("mark not attached", link=link, error=str(error))


def _some_address(destination: Address | Network) -> Address:
    """Return the address itself, or the first of a prefix that a node or pod can have."""
    if isinstance(destination, IPv4Address | IPv6Address):
        return destination
    return destination[min(1, destination.num_addresses - 1)]


def guard_settings(settings: Settings, lanes: int) -> GuardSettings:
    """Return the eBPF programs' part of the configuration."""
    return GuardSettings(
        mark_shift=settings.mark.shift,
        strict=settings.mode is Mode.STRICT,
        lanes=lanes,
        vxlan_ports=settings.vxlan_ports,
        geneve_ports=settings.geneve_ports,
        control_port=settings.control_port,
    )
