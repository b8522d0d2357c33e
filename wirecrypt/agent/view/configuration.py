"""The configuration in force: the last document that could be read. Defaults are no configuration.

A document that is bad, or gone, leaves in force what was; before the first good one nothing may be decided, for lanes, marks
and ranges of the kernel's objects would be guessed. New ranges under which the API server is not heard of any more go back to
those before, for otherwise no correction could arrive.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from wirecrypt import logs
from wirecrypt.agent.store.state import SessionParams
from wirecrypt.agent.view.range_trial import PROVED_SECONDS, RangeTrial, Reached
from wirecrypt.errors import ConfigError
from wirecrypt.model.conditions import Reason
from wirecrypt.model.objects import ConfigDocument
from wirecrypt.model.spi import MAX_LANES
from wirecrypt.model.xfrm import Algorithm, Network
from wirecrypt.pairs.memory import Timing
from wirecrypt.settings import Settings, from_document

log = logs.get(__name__)
AWAY_DRAINS: Final = 6
PROBES: Final = 50.0  # a second, of all pairs together, that look whether paths still work
_UNREAD: Final = object()


class Configuration:
    """*settings* is None until a document was read; *trouble* is (reason, message) of what is wrong now, or None."""

    def __init__(self) -> None:
        self.settings: Settings | None = None
        self.trouble: tuple[Reason, str] | None = None
        self._read: ConfigDocument | object | None = _UNREAD  # with its data: after a restore versions come again
        self._data: Mapping[str, str] = {}  # of the document that the settings are from
        self._ranges: tuple[Network, ...] = ()  # the first document's, and then the last under which the API server answered
        self._trial = RangeTrial()
        self._taken_back: tuple[Reason, str] | None = None  # the trouble of a document whose ranges are not in force

    @property
    def rests(self) -> bool:
        """Return whether the document is in force whole, and its ranges are on trial no more."""
        return self.trouble is None and self.settings is not None and self.settings.cluster_cidrs == self._ranges

    def read(self, document: ConfigDocument | None) -> None:
        """Take the newest document, if it is another than before; what is wrong with it is logged once."""
        if document == self._read:
            return
        self._read = document
        try:
            settings = from_document(document)
        except ConfigError as error:
            self._refuse(Reason.CONFIG_INVALID if document else Reason.CONFIG_MISSING, f"{error}; {self._meanwhile()}")
            return
        data = document.data if document else {}
        if self._taken_back is not None and data == self._data:
            self.trouble = self._taken_back
        else:
            self._take(settings, data)

    def prove(self, now: float, reached: Reached) -> None:
        """Take new ranges back if the API server does not answer under them; for each pass that is about to guard by them.

        *reached* tells whether a request that began after a monotonic time was answered. The document whose ranges were taken
        back is not tried again; another one is.
        """
        if self.settings is None or self.settings.cluster_cidrs == self._ranges:
            return
        proved = self._trial.proved(now, reached)
        if proved:
            self._ranges = self.settings.cluster_cidrs
        elif proved is False:
            refused, self.settings = self.settings.cluster_cidrs, replace(self.settings, cluster_cidrs=self._ranges)
            self._refuse(Reason.RANGES_TAKEN_BACK, str(_cut_off(refused, self._ranges)))
            self._taken_back = self.trouble

    def _take(self, settings: Settings, data: Mapping[str, str]) -> None:
        """Put *settings* in force; ranges that were not in force before are on trial, the first ones excepted."""
        if settings.logs != (self.settings or Settings()).logs:  # defaults are what the process began with
            logs.setup(settings.logs.level.value, settings.logs.format.value)
        if self.settings is None:
            self._ranges = settings.cluster_cidrs
        elif settings.cluster_cidrs != self.settings.cluster_cidrs:
            self._trial = RangeTrial()
        self.settings, self._data, self.trouble, self._taken_back = settings, data, None, None

    def _meanwhile(self) -> str:
        return "until then " + ("the one before stays in force" if self.settings else "nothing is decided")

    def _refuse(self, reason: Reason, message: str) -> None:
        self.trouble = (reason, message)
        log.error("configuration refused", reason=reason, error=message)


def _cut_off(refused: Sequence[Network], before: Sequence[Network]) -> ConfigError:
    """Return the error for ranges under which the API server did not answer."""
    silence = f"the API server did not answer for {PROVED_SECONDS:.0f} s after that"
    return ConfigError(
        "take new clusterCIDRs",
        what=_listed(refused),
        answer=f"{silence}, so those before are in force again: {_listed(before)}",
        hint="list its addresses in apiServers, or make the ranges narrower; if it was away for another reason, change anything"
        " in the document: another document is tried again",
    )


def _listed(ranges: Sequence[Network]) -> str:
    return ", ".join(map(str, ranges)) or "none"


MOST_LANES: Final = ((200, MAX_LANES), (1000, 4))  # up to so many peers
FEWEST: Final = 2
CPUINFO: Final = Path("/proc/cpuinfo")


def session_params(settings: Settings, peers: int) -> SessionParams:
    """Return what new sessions offer: configured, or by what this machine has, and by how many peers there are."""
    return SessionParams(
        settings.lanes or suitable_lanes(os.cpu_count() or 1, peers), settings.algorithm or default_algorithm()
    )


def suitable_lanes(processors: int, peers: int) -> int:
    """Return how many lanes suit so many processors: a power of two, so that flows spread evenly, fewer where peers are many.

    Each is an SA each way and a policy for each of the peer's prefixes: with 5,000 peers 16 of them were 160,000 SAs.
    """
    most = next((most for limit, most in MOST_LANES if peers <= limit), FEWEST)
    return 1 << min(processors, most).bit_length() - 1


def default_algorithm() -> Algorithm:
    """Return the first cipher that this CPU is quick at: AES-GCM where it has AES instructions, else ChaCha20-Poly1305."""
    flags = next((line for line in CPUINFO.read_text().splitlines() if line.startswith("flags")), "")
    return next(a for a in Algorithm if not a.cipher.cpu_flag or a.cipher.cpu_flag in flags.split())


def timing(settings: Settings, peers: int) -> Timing:
    """Return the times of pairs as configured; a peer that is down is waited for some drains long.

    All *peers* together are probed `PROBES` times a second at most in the steady state: each the more rarely.
    """
    steady = max(settings.probe.steady, peers / PROBES)
    return Timing(drain=settings.drain, linger=settings.linger, steady=steady, away=AWAY_DRAINS * settings.drain)
