"""The guard in its place: attached and configured before anything else of a node, looked at when there is a reason.

And the entries that it should have, of which a pass works out what has changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from wirecrypt import logs
from wirecrypt.agent.components import Components
from wirecrypt.agent.datapath.guard_attachment import guard_settings
from wirecrypt.agent.view.pair_view import PairView
from wirecrypt.agent.view.pass_state import PassState, block
from wirecrypt.errors import BpfError, LinkError
from wirecrypt.model.guard import GuardAction, GuardEntry
from wirecrypt.model.mark import MarkLayout
from wirecrypt.model.objects import Node, NodePeer
from wirecrypt.model.pair import End, Pair
from wirecrypt.model.xfrm import Network
from wirecrypt.pairs.decide import Decision
from wirecrypt.plan import guard_entries as guard_plan
from wirecrypt.plan.marks import esp_keeps_mark
from wirecrypt.settings import Settings

log = logs.get(__name__)

Entries = Mapping[Network, GuardEntry]


class GuardUpkeep:
    """Keeps the guard on the links; *trouble* says why it is not there."""

    def __init__(self, components: Components, resync: float) -> None:
        self._components = components
        self._resync = resync
        self._due = float("-inf")
        self._done: object = None
        self._esp_keeps_mark = True  # until a look has shown that no SA of an agent of before sends: this one makes none
        self.trouble = ""

    def links_changed(self) -> None:
        """Take note of links, addresses or routes that changed."""
        self._due = float("-inf")

    def ensure(self, own: NodePeer, settings: Settings, marks: MarkLayout, now: float) -> None:
        """Look at links and filters when a link, the own claims or the configuration changed, and every resync.

        A guard that the kernel refuses keeps no pair from its policies, and no node becomes Active behind it.
        """
        if now < self._due and (own, settings, marks) == self._done:
            return
        components = self._components
        if not components.datapath.has_guard():  # the maps that it gets now are empty, whatever was read of the last ones
            components.datapath.forget()
        self._esp_keeps_mark = self._esp_keeps_mark and esp_keeps_mark(components.datapath.snapshot().sas.values())
        configured = guard_settings(own, settings, marks=marks, esp_keeps_mark=self._esp_keeps_mark)
        try:
            components.guard_attachment.ensure(own, settings, configured)
        except (BpfError, LinkError) as error:
            if str(error) != self.trouble:
                log.error("guard not in place", error=str(error))  # noqa: TRY400 - the message says all
            self.trouble = str(error)
            return
        self.trouble = ""
        self._due, self._done = now + self._resync, (own, settings, marks)


class GuardEntries:
    """What the guard should know, worked out anew where what it rests on has changed."""

    def __init__(self) -> None:
        self._plain_for: tuple[object, ...] = ()
        self._plain: list[Node] = []
        self._of_pairs: dict[str, tuple[PairView, Decision, Entries]] = {}
        self._for: tuple[object, ...] = ()
        self._entries: Entries = {}

    def wanted(self, pass_state: PassState, settings: Settings) -> Entries:
        """Return the entries that the node should have; the kernel's own, the object, where it has them all and no other.

        A peer about which nothing could be decided is dropped if plaintext with it is over; else what there is of it stays, or
        it passes. Its Node is no plain one, and nor is that of a peer that vanished: until its deletion is confirmed ◆R15.
        """
        own, present = pass_state.own.end, pass_state.kernel.guard
        undecided = [(peer, end) for peer in pass_state.undecided.values() for end in peer.ends]
        plain = self._plain_nodes(pass_state, [end for _, end in undecided])
        pairs = self._pairs(pass_state)
        api = {*settings.api_servers, *pass_state.connected}
        rests_on = (own, plain, undecided, pairs, settings.cluster_cidrs, api, present if undecided else None)
        if rests_on != self._for:
            dropped = [(Pair(own, end), block("undecided", exempt=peer.exempt)) for peer, end in undecided if peer.ended]
            kept = {p: present.get(p, _passed(p)) for peer, end in undecided if not peer.ended for p in end.claims}
            found = kept | guard_plan.wanted(own, dropped, plain, settings.cluster_cidrs, api)
            for entries in pairs:
                found |= entries
            self._for, self._entries = rests_on, found
        if self._entries is not present and self._entries == present:
            self._entries = present
        return self._entries

    def _plain_nodes(self, pass_state: PassState, undecided: Sequence[End]) -> list[Node]:
        there = [view.pair.peer for view in pass_state.pair_views.values() if not view.inputs.peer_gone]
        ends = [pass_state.own.end, *(p.end for p in pass_state.cluster_view.peers), *there, *undecided]
        rests_on = (pass_state.cluster_view.nodes, ends, pass_state.former)
        if rests_on != self._plain_for:
            self._plain_for, self._plain = rests_on, guard_plan.plain_nodes(*rests_on)
        return self._plain

    def _pairs(self, pass_state: PassState) -> list[Entries]:
        """Return the entries about each peer that is there; of one whose decision stands the same object."""
        before, self._of_pairs = self._of_pairs, {}
        for uid, view in pass_state.pair_views.items():
            if view.inputs.peer_gone:
                continue
            known, decision = before.get(uid), pass_state.decisions[uid]
            if known is None or known[0] is not view or known[1] is not decision:
                known = (view, decision, guard_plan.of_pair(view.pair, decision))
            self._of_pairs[uid] = known
        return [entries for _, _, entries in self._of_pairs.values()]


def _passed(prefix: Network) -> GuardEntry:
    return GuardEntry(prefix, GuardAction.PASS, GuardAction.PASS)
