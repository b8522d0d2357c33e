"""The place of the mark field that this node works with: where its SAs carry it, whatever the configuration says since."""

from __future__ import annotations

from wirecrypt import logs
from wirecrypt.agent.datapath.writes import Datapath
from wirecrypt.model.conditions import Reason
from wirecrypt.model.mark import MarkLayout
from wirecrypt.plan.marks import kept
from wirecrypt.settings import Settings

log = logs.get(__name__)


class MarkPlace:
    """Remembers where the field is, in *layout*. *trouble*: why it is not where it should be, in words."""

    def __init__(self) -> None:
        self._wanted: MarkLayout | None = None
        self.layout = MarkLayout()
        self.trouble = ""

    def forget(self) -> None:
        """Look at the SAs again the next time, whatever the configuration says."""
        self._wanted = None

    def look(self, settings: Settings, datapath: Datapath) -> None:
        """Have the field where the node's SAs carry it: it does not move under them."""
        wanted = settings.mark.layout
        if wanted != self._wanted or self.trouble:
            datapath.stale()
            self.layout, error = kept(wanted, datapath.snapshot().sas.values())
            if str(error or "") != self.trouble and error is not None:
                log.error("configuration refused", reason=Reason.CONFIG_INVALID, error=str(error))
            self._wanted, self.trouble = wanted, str(error or "")
