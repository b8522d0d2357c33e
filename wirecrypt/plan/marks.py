"""Where the mark field stands while SAs carry it: a place that changes under them would make the guard drop all they decrypt.

An SA is never re-created with its key, so its mark never changes; and the programs know one place alone. So the field stays
where this node's SAs have it until the last of them has gone. Other nodes see no marks and do not matter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

from wirecrypt.errors import ConfigError
from wirecrypt.model.mark import MarkLayout
from wirecrypt.model.spi import Spi
from wirecrypt.model.xfrm import Sa

_LAYOUTS: Final = {layout.mask: layout for layout in map(MarkLayout, range(25))}


def kept(wanted: MarkLayout, sas: Iterable[Sa]) -> tuple[MarkLayout, ConfigError | None]:
    """Return the layout to work with: what SAs of ours carry, *wanted* when there is none.

    Where these differ the error says so, with the next step.
    """
    carried = Counter(layout for sa in sas if (layout := _layout(sa)) is not None)
    if not carried:
        return wanted, None
    found = max(carried, key=lambda layout: (carried[layout], layout == wanted, -layout.shift))
    if found == wanted:
        return wanted, None
    return found, ConfigError(
        "move the field of packet marks",
        what=f"mark.shift = {wanted.shift}",
        answer=f"{carried[found]} SAs of this node carry it at {found.shift}, where it stays",
        hint="set mark.shift back, or take the label off all nodes, change it then, and label them again",
    )


def esp_keeps_mark(sas: Iterable[Sa]) -> bool:
    """Return whether an SA of ours leaves a pod's mark on what it encrypts: agents of before made such ones."""
    return any(sa.set_mark is None and sa.reqid == sa.spi and Spi.decode(sa.spi) is not None for sa in sas)


def _layout(sa: Sa) -> MarkLayout | None:
    """Return where an SA of ours puts the mark of decryption, or takes a pod's off; None when it is no such SA."""
    if sa.set_mark is None or sa.reqid != sa.spi or Spi.decode(sa.spi) is None:
        return None
    layout = _LAYOUTS.get(sa.set_mark.mask)
    if layout is None or (sa.receives and layout.slot_of(sa.set_mark.value) is None):
        return None
    return layout
