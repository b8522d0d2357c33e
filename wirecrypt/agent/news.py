"""Whether anything was told since the last pass: a wake that brought nothing is answered as if there had been none.

A node is woken by whatever its watches show, and most of that is about nothing that it looks at. While all rests the last pass
has said when the next one is due, if nothing happens before; so it is, if nothing has.
"""

from __future__ import annotations

from wirecrypt.agent.components import Components
from wirecrypt.agent.control.verify_probes import LiveProbes


class News:
    """What the last pass looked at, as it was when it began; *until*: when the next is due, while all rests."""

    def __init__(self, components: Components, live: LiveProbes) -> None:
        self._components, self._live = components, live
        self._shown: tuple[object, ...] = ()
        self._rested = self._rests = False  # after the pass before, and after this one
        self.until = float("-inf")

    def none(self, now: float) -> bool:
        """Return whether nothing is due at *now*, and all is as the last pass found it."""
        if now >= self.until or self._live.asked() or not self._components.datapath.stands():
            return False
        return self._look() == self._shown

    def begin(self) -> None:
        """Begin a pass: what comes from now on it may not see."""
        self.until, self._shown = float("-inf"), self._look()
        self._rested, self._rests = self._rests, False

    def end(self, due: float, *, rests: bool) -> None:
        """End a pass: nothing need be looked at until *due* when this one and the one before found that all rests.

        The first one of them may have found out what only the second one looks at.
        """
        self._rests = rests
        self.until = due if rests and self._rested else float("-inf")

    def come(self) -> None:
        """Note that something happened that a pass has to look at."""
        self.until = float("-inf")

    def _look(self) -> tuple[object, ...]:
        """Return what watches show: values that are replaced and not changed, so comparing them is mostly one of identities."""
        cache = self._components.cache
        copies = cache.synced(), cache.restores(), cache.config(), cache.rotations(), cache.nodes(), cache.peers()
        return (*copies, self._components.api.api_addresses())
