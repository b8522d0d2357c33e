"""Telling the API server which addresses the own node holds: what is told and granted, its peers send by ESP.

A virtual address moves in the moment in which the kernels of two nodes say so, so this comes in the pass that follows the
link's event. It is one list, written whole, by nobody else; what it waits for holds up no session.
"""

from __future__ import annotations

from wirecrypt import logs
from wirecrypt.agent.components import Components
from wirecrypt.agent.steps.publishing import AGAIN
from wirecrypt.agent.view.pass_state import PassState
from wirecrypt.errors import ClusterError, Conflict, NotFound
from wirecrypt.model.conditions import Reason
from wirecrypt.model.objects import MOST_ADDRESSES, NodePeer
from wirecrypt.model.xfrm import Address
from wirecrypt.plan.own_addresses import own_addresses, present
from wirecrypt.retry import Backoff
from wirecrypt.settings import Settings

log = logs.get(__name__)


class Proposer:
    """Write the proposal when it differs from what the API server shows; asked with growing waits while that fails."""

    def __init__(self, components: Components) -> None:
        self._components = components
        self._written: tuple[Address, ...] | None = None
        self._older: frozenset[str] = frozenset()  # versions of the own NodePeer from before that
        self._trouble = ""
        self._backoff = Backoff(AGAIN)

    @property
    def rests(self) -> bool:
        """Return whether nothing waits to be written again."""
        return not self._backoff.failures

    def forget(self) -> None:
        """Note that what was written may be undone: no view of the own NodePeer is too old to tell."""
        self._older = frozenset()

    def propose(self, pass_state: PassState, settings: Settings, now: float) -> None:
        """Have the own NodePeer say which addresses the node holds; nothing while its links were never listed."""
        links, own = self._components.guard_attachment.links, pass_state.own
        if links is None:
            return
        services = settings.service_cidrs
        others = own_addresses(links, endpoints=own.endpoints, pod_cidrs=own.pod_cidrs, services=services)
        wanted = (*present(own.endpoints, links), *others)[:MOST_ADDRESSES]
        if own.proposed == wanted:
            self._older = frozenset()
        if not self._is_news(own, wanted):
            self._trouble = ""
        elif self._backoff.due(now):
            self._write(own, wanted, now)
        if self._trouble:
            pass_state.trouble.append((Reason.API_SERVER, self._trouble))

    def _is_news(self, own: NodePeer, wanted: tuple[Address, ...]) -> bool:
        """Return whether *own* shows something else, but for an old view of what was written.

        That there is nothing is no news where nothing was ever said or granted.
        """
        if own.proposed == wanted or (own.proposed is None and not own.addresses and not wanted):
            return False
        return wanted != self._written or own.resource_version not in self._older

    def _write(self, own: NodePeer, wanted: tuple[Address, ...], now: float) -> None:
        try:
            self._components.api.propose_addresses(own.name, wanted)
        except (Conflict, NotFound):  # the object is just being written or removed, which the next look shows
            self._backoff = Backoff(AGAIN).failed(now)
            return
        except ClusterError as error:
            log.warning("addresses not proposed", error=str(error))
            self._trouble, self._backoff = str(error), self._backoff.failed(now)
            return
        log.info("addresses proposed", address=[str(a) for a in wanted], count=len(wanted))
        self._older = (self._older if wanted == self._written else frozenset()) | {own.resource_version}
        self._written, self._trouble, self._backoff = wanted, "", Backoff(AGAIN)
