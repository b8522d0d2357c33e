"""The kernel as loops see it: IPsec, the eBPF guard, links. Errors: `XfrmError`, `BpfError`, `LinkError`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network
from typing import Protocol

from wirecrypt.model.guard import Attachment, Drop, GuardEntry, GuardSettings
from wirecrypt.model.link import Link
from wirecrypt.model.xfrm import Failure, Policy, PolicyKey, Sa, SaEntry, SaKey


class Xfrm(Protocol):
    """IPsec states and policies of one network namespace. A batch returns what failed, each with its object."""

    def list_sas(self) -> Sequence[SaEntry]:
        """Return every ESP tunnel AEAD state, ours or not; others are counted in `foreign_sas`."""

    def list_policies(self) -> Sequence[Policy]:
        """Return every policy of direction in, out or fwd that `Policy` can express."""

    def list_all_policies(self) -> tuple[Sequence[Policy], Mapping[PolicyKey, str]]:
        """Return what `list_policies` does, and by name the foreign policies that a policy of ours would replace, in words."""

    def add_sas(self, sas: Sequence[Sa]) -> Sequence[Failure]:
        """Install new states (NEWSA only: an existing one is never changed, EEXIST is a failure)."""

    def set_policies(self, policies: Sequence[Policy]) -> Sequence[Failure]:
        """Install or replace policies, each atomically (UPDPOLICY)."""

    def delete_sas(self, keys: Sequence[SaKey]) -> Sequence[Failure]:
        """Delete exactly these states; one that is gone already is no failure."""

    def delete_policies(self, keys: Sequence[PolicyKey]) -> Sequence[Failure]:
        """Delete exactly these policies; one that is gone already is no failure."""

    def stats(self) -> Mapping[str, int]:
        """Return the counters of /proc/net/xfrm_stat by name."""


class Guard(Protocol):
    """The eBPF programs and maps of one node, pinned; they go on when the agent is gone."""

    def load(self, settings: GuardSettings) -> None:
        """Load, pin and configure programs and maps that are not there yet; present ones are adopted."""

    def configure(self, settings: GuardSettings) -> bool:
        """Write settings that differ; say whether anything was written."""

    def entries(self) -> Sequence[GuardEntry]:
        """Return the entries of the guard maps."""

    def set_entries(self, entries: Iterable[GuardEntry]) -> None:
        """Add or replace entries."""

    def delete_entries(self, prefixes: Iterable[IPv4Network | IPv6Network]) -> None:
        """Delete exactly these entries; one that is gone already is no failure."""

    def attachments(self) -> Sequence[Attachment]:
        """Return our filters on all links."""

    def attach_guard(self, link: str) -> None:
        """Attach guard-egress and guard-ingress to an uplink (fixed handle and priority; foreign filters untouched)."""

    def attach_mark(self, link: str) -> None:
        """Attach the mark program to a pod-facing link."""

    def hold(self) -> None:
        """Keep what is attached alive as long as this process lives, though somebody removes what it is pinned by."""

    def detach(self, link: str) -> None:
        """Detach our programs from a link, and the clsact qdisc only if we made it and nobody uses it."""

    def unload(self) -> None:
        """Remove every filter, pin and map of ours: the last step of leaving."""

    def loaded(self) -> bool:
        """Return whether programs and maps are pinned."""

    def counters(self) -> Mapping[str, int]:
        """Return packets counted per reason, summed over CPUs."""

    def refused(self) -> Mapping[str, int]:
        """Return datagrams that the filter of the control port refused, by reason, summed over CPUs."""

    def exempt(self) -> Mapping[int, int]:
        """Return packets in clear between this node and exempt peers, both ways, by the peer's nodeID."""

    def drops(self, limit: int = 64) -> Sequence[Drop]:
        """Take up to *limit* waiting drop events out of the ring buffer, without waiting."""


class Links(Protocol):
    """Links, addresses and routes of one network namespace."""

    def links(self) -> Sequence[Link]:
        """Return all links."""
