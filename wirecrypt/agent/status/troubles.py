"""What is wrong with a node besides its pairs: the first of it is why the node is not Ready."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from wirecrypt.agent.components import Components
from wirecrypt.agent.view.pass_state import PassState
from wirecrypt.model.conditions import Reason

Trouble = tuple[Reason, str]  # the reason and the words of a condition
STALE_SECONDS: Final = 300.0  # twice what passes between two confirmations of a copy at most
STALE_PATIENCE: Final = 60.0  # seconds that this may last: longer than any pause between two tries to read
NO_PREFIX: Final = "the Node has no podCIDRs, so its pods are nobody's: they are cut off, or in clear outside clusterCIDRs"
PATIENCE: Final = 5.0  # seconds that a new claim of the Node may take to be granted


class Troubles:
    """Collects what each part says, and what only time tells: that a claim is not granted."""

    def __init__(self, components: Components) -> None:
        self._components = components
        self._ungranted_since = self._stale_since = float("inf")

    @property
    def rests(self) -> bool:
        """Return whether nothing is so that would be wrong if it lasted."""
        return self._ungranted_since == self._stale_since == float("inf")

    def found(self, pass_state: PassState, parts: Mapping[Reason, str]) -> list[Trouble]:
        """Return what is wrong, the worst first; *parts*: the words of the agent's parts by their reason, empty for none."""
        disk, channel = self._components.pairs_on_disk, self._components.channel
        listening = ((Reason.CONTROL_CHANNEL, str(error)) for error in channel.failed().values())
        own: dict[Reason, str] = {
            Reason.PAIRS_NOT_WRITTEN: disk.refused,
            Reason.PAIRS_UNREADABLE: disk.trouble,
            Reason.CLAIM_NOT_GRANTED: self._ungranted(pass_state),
            Reason.NO_POD_PREFIXES: "" if pass_state.own.pod_cidrs or pass_state.ungranted() else NO_PREFIX,
            Reason.COPIES_STALE: self._stale(pass_state.now),
            Reason.CONTROL_UNFILTERED: channel.unfiltered(),
        }
        found = [*pass_state.trouble, *listening, *_said(parts), *_said(own)]
        return sorted(found, key=lambda trouble: trouble[0] is not Reason.ADMISSION_POLICY_MISSING)

    def _stale(self, now: float) -> str:
        """Return which copies of the API server's objects are old though others are not, in words that stay the same.

        All are while the API server is away, and some for a moment when it is back: who could be told knows that.
        """
        ages = self._components.cache.ages()
        kinds = sorted(kind for kind, age in ages.items() if age > STALE_SECONDS)
        self._stale_since = min(self._stale_since, now) if 0 < len(kinds) < len(ages) else float("inf")
        if now - self._stale_since < STALE_PATIENCE:
            return ""
        why = "what is decided may be out of date; the agent's log says why it cannot be read"
        return f"nothing has confirmed the copy of {', '.join(kinds)} for over {STALE_SECONDS:.0f} s: {why}"

    def _ungranted(self, pass_state: PassState) -> str:
        """Return what the Node has for a while and was not granted, in words."""
        claims = pass_state.ungranted()
        self._ungranted_since = min(self._ungranted_since, pass_state.now) if claims else float("inf")
        if pass_state.now - self._ungranted_since < PATIENCE:
            return ""
        return f"the Node has {', '.join(claims)}, which was not granted to it: no other node sends there"


def _said(words: Mapping[Reason, str]) -> Iterator[Trouble]:
    return ((reason, text) for reason, text in words.items() if text)
