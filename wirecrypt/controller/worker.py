"""Doing what was decided: chains in order, each failure kept to what depends on it.

An action that fails ends its chain, which is tried again later and later and holds up no other. Two kinds are less than
that: a node's keys, whose failure only its NodePeer waits for, and an Event, which nothing waits for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Final

from wirecrypt import logs
from wirecrypt.controller.actions import Action, Chain, CreatePeer, EmitEvent, GrantKeys
from wirecrypt.controller.apply import Shares, apply, derive
from wirecrypt.errors import Conflict, SecretError, Unreachable, WirecryptError
from wirecrypt.model.conditions import Reason
from wirecrypt.model.objects import ControllerView
from wirecrypt.ports import ControllerApi
from wirecrypt.retry import Backoff, Delays
from wirecrypt.rotation.actions import WriteNodeKeys

_DELAYS: Final = Delays(first=0.5, most=60.0)
_log = logs.get(__name__)


class _LeadsNoMore(Exception):
    """Another may write from now on."""


class Worker:
    """What failed, by chain, key and Event, and how much was done."""

    def __init__(
        self,
        cluster: ControllerApi,
        may_write: Callable[[], bool],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cluster = cluster
        self._may_write = may_write
        self._clock = clock
        self._backoffs: dict[str, Backoff] = {}
        self._refused: dict[str, str] = {}
        self._written: set[str] = set()
        self._done = 0

    @property
    def refused(self) -> Mapping[str, str]:
        """Return the nodes whose keys could not be written the last time, with the reason."""
        return dict(self._refused)

    def do(self, chains: Iterable[Chain], view: ControllerView) -> int:
        """Do the chains that are due and return how many actions were done; none after the leadership is lost."""
        chains = tuple(chains)
        self._forget({chain.name for chain in chains} | view.nodes.keys() | view.peers.keys())
        due = [chain for chain in chains if self._due(chain.name)]
        keys = derive(due, view)
        self._done = 0
        self._written.clear()
        self._refused = {node: why for node, why in self._refused.items() if node in view.peers or node in view.nodes}
        for chain in due:
            try:
                self._chain(chain, view, keys)
                self._backoffs.pop(chain.name, None)
            except _LeadsNoMore:
                break
            except Conflict as error:
                _log.debug("somebody else wrote first", object=chain.name, error=str(error))
            except Unreachable as error:
                _log.warning("pass broken off", error=str(error))
                self._failed(chain.name)
                break
            except WirecryptError as error:
                _log.error("action failed", object=chain.name, error=str(error))
                self._failed(chain.name)
        return self._done

    def _chain(self, chain: Chain, view: ControllerView, keys: Shares) -> None:
        last_peer = max((n for n, action in enumerate(chain.actions) if isinstance(action, CreatePeer)), default=-1)
        for number, action in enumerate(chain.actions):
            if not self._may_write():
                raise _LeadsNoMore
            if isinstance(action, EmitEvent):
                self._emit(action, view, keys)
            elif isinstance(action, WriteNodeKeys):
                if not self._write_keys(action, view, keys) and number < last_peer:
                    return
            elif isinstance(action, GrantKeys):
                self._grant(action, view, keys)
            else:
                self._do(chain.name, action, view, keys)

    def _do(self, name: str, action: Action, view: ControllerView, keys: Shares) -> None:
        apply(action, self._cluster, view, keys)
        self._done += 1
        if not isinstance(action, EmitEvent):
            _log.info("done", action=type(action).__name__, object=name, reason=action.why)

    def _grant(self, grant: GrantKeys, view: ControllerView, keys: Shares) -> None:
        """Let a node's keys be read; that somebody else's object is in the way is told."""
        try:
            self._do(grant.node, grant, view, keys)
        except SecretError as error:
            self._emit(EmitEvent(grant.node, Reason.KEY_SECRET_FAILED, str(error)), view, keys)
            raise

    def _write_keys(self, write: WriteNodeKeys, view: ControllerView, keys: Shares) -> bool:
        """Write the keys of one node, once a pass, and say whether they are there."""
        name = f"{write.node}/keys"
        if write.node in self._written or not self._due(name):
            return write.node in self._written
        try:
            self._do(write.node, write, view, keys)
        except Unreachable:
            raise
        except Conflict as error:
            _log.debug("somebody else wrote first", node=write.node, error=str(error))
            return False
        except WirecryptError as error:
            _log.error("keys of a node not written", node=write.node, error=str(error))
            self._refused[write.node] = str(error)
            self._failed(name)
            self._emit(EmitEvent(write.node, Reason.KEY_SECRET_FAILED, str(error)), view, keys)
            return False
        self._written.add(write.node)
        self._refused.pop(write.node, None)
        self._backoffs.pop(name, None)
        return True

    def _emit(self, event: EmitEvent, view: ControllerView, keys: Shares) -> None:
        """Write an Event; one that fails is logged, and told again later."""
        name = f"{event.node}/event"
        if not self._due(name):
            return
        try:
            self._do(event.node, event, view, keys)
            self._backoffs.pop(name, None)
        except Unreachable:
            raise
        except WirecryptError as error:
            _log.warning("event not written", node=event.node, reason=event.reason, error=str(error))
            self._failed(name)

    def _forget(self, names: AbstractSet[str]) -> None:
        """Keep the back-offs of *names*, their keys and Events: whoever is gone begins anew if it comes back."""
        self._backoffs = {name: each for name, each in self._backoffs.items() if name.partition("/")[0] in names}

    def _due(self, name: str) -> bool:
        return name not in self._backoffs or self._backoffs[name].due(self._clock())

    def _failed(self, name: str) -> None:
        self._backoffs[name] = self._backoffs.get(name, Backoff(_DELAYS)).failed(self._clock())
