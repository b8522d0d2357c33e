"""The configuration in force: the last document that could be read. Defaults are no configuration.

A document that is bad, or gone, leaves in force what was; before the first good one nothing may be decided, for lanes, marks
and ranges of the kernel's objects would be guessed.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from wirecrypt import logs
from wirecrypt.agent.store.state import SessionParams
from wirecrypt.errors import ConfigError
from wirecrypt.model.objects import ConfigDocument
from wirecrypt.model.spi import MAX_LANES
from wirecrypt.model.xfrm import Algorithm
from wirecrypt.pairs.memory import Timing
from wirecrypt.settings import Settings, from_document

log = logs.get(__name__)
_UNREAD: Final = "-"
_MISSING: Final = "the ConfigMap wirecrypt-config is not there, or is no ConfigMap with data"


class Configuration:
    """*settings* is None until a document was read; *trouble* is (reason, message) of what is wrong now, or None."""

    def __init__(self) -> None:
        self.settings: Settings | None = None
        self.trouble: tuple[str, str] | None = None
        self._version = _UNREAD

    def read(self, document: ConfigDocument | None) -> None:
        """Take the newest document, if it is another than before; what is wrong with it is logged once."""
        version = document.resource_version if document else ""
        if version == self._version:
            return
        self._version = version
        if document is None:
            self._refuse("ConfigMissing", f"{_MISSING}. Next: {self._next('apply manifests/config.yaml')}")
            return
        try:
            self.settings, self.trouble = from_document(document), None
        except ConfigError as error:
            self._refuse("ConfigInvalid", str(error))

    def _next(self, step: str) -> str:
        return f"{step}; until then " + ("the one before stays in force" if self.settings else "nothing is decided")

    def _refuse(self, reason: str, message: str) -> None:
        self.trouble = (reason, message)
        log.error("configuration refused", reason=reason, error=message)


CPUINFO: Final = Path("/proc/cpuinfo")


def session_params(settings: Settings) -> SessionParams:
    """Return what new sessions offer: configured, or by what this machine has."""
    lanes = settings.lanes or min(os.cpu_count() or 1, MAX_LANES)
    return SessionParams(lanes, settings.algorithm or default_algorithm())


def default_algorithm() -> Algorithm:
    """Return AES-GCM on a CPU with AES instructions, else ChaCha20-Poly1305."""
    flags = next((line for line in CPUINFO.read_text().splitlines() if line.startswith("flags")), "")
    return Algorithm.AES_256_GCM if " aes " in f"{flags} " else Algorithm.CHACHA20_POLY1305


def timing(settings: Settings) -> Timing:
    """Return the times of pairs as configured."""
    return Timing(drain=settings.drain, linger=settings.linger, steady=settings.probe.steady)
