"""The configuration in force: the last document that could be read. Defaults are no configuration.

A document that is bad, or gone, leaves in force what was; before the first good one nothing may be decided, for lanes, marks
and ranges of the kernel's objects would be guessed.
"""

from __future__ import annotations

from typing import Final

from wirecrypt import logs
from wirecrypt.errors import ConfigError
from wirecrypt.model.objects import ConfigDocument
from wirecrypt.settings import Settings

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
            self.settings, self.trouble = Settings.from_document(document), None
        except ConfigError as error:
            self._refuse("ConfigInvalid", str(error))

    def _next(self, step: str) -> str:
        return f"{step}; until then " + ("the one before stays in force" if self.settings else "nothing is decided")

    def _refuse(self, reason: str, message: str) -> None:
        self.trouble = (reason, message)
        log.error("configuration refused", reason=reason, error=message)
