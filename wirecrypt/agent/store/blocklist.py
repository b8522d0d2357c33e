"""The pairs that a boot must block, on disk: JSON with a version, mode 0600, replaced whole; no secret is in it.

It is there from the first look at the own NodePeer on, before the kernel has anything, and says whether that was last seen
`Leaving`: the only farewell that lets a node that the API server does not show any more be stripped. A file that cannot be
read is kept aside, for a person to look at, and the list begins anew: the API server still says which pairs are over with
plaintext.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from ipaddress import ip_address, ip_network
from itertools import count
from pathlib import Path
from typing import Final

from wirecrypt import logs, private_file
from wirecrypt.agent.store.state_fields import CHECKSUM, by_version, encode, parse
from wirecrypt.documents import Fields
from wirecrypt.errors import StateError
from wirecrypt.model.pair import End, Pair

log = logs.get(__name__)
PATH: Final = Path("/var/lib/wirecrypt/pairs.json")
VERSION: Final = 4


@dataclass(frozen=True)
class Blocklist:
    """This node's end, and each peer's.

    *leaving*: the own NodePeer was Leaving when it was last seen. *exempt*: UIDs of peers with which node→node is in clear.
    """

    own: End
    peers: tuple[End, ...] = ()
    leaving: bool = False
    exempt: frozenset[str] = frozenset()

    def pairs(self) -> tuple[Pair, ...]:
        """Return the pairs to block."""
        return tuple(Pair(self.own, peer) for peer in self.peers)

    @cached_property
    def uids(self) -> frozenset[str]:
        """The node UIDs of all peers."""
        return frozenset(peer.node_uid for peer in self.peers)

    @cached_property
    def ends(self) -> Mapping[str, End]:
        """All peers by their node UIDs."""
        return {peer.node_uid: peer for peer in self.peers}

    def has(self, peer: End, *, exempt: bool) -> bool:
        """Return whether the list says just this of a peer."""
        known = self.ends.get(peer.node_uid)
        return (known is peer or known == peer) and (peer.node_uid in self.exempt) == exempt

    def with_peers(self, added: Iterable[tuple[End, bool]]) -> Blocklist:
        """Return the list with peers, each with whether it is exempt, in the place of what was known of their node UIDs."""
        ends = dict(self.ends)
        exempt = set(self.exempt)
        for peer, is_exempt in added:
            ends[peer.node_uid] = peer
            (exempt.add if is_exempt else exempt.discard)(peer.node_uid)
        return replace(self, peers=tuple(ends[uid] for uid in sorted(ends)), exempt=frozenset(exempt))

    def without_peers(self, *node_uids: str) -> Blocklist:
        """Return the list without the peers of these node UIDs."""
        peers = tuple(each for each in self.peers if each.node_uid not in node_uids)
        return replace(self, peers=peers, exempt=self.exempt - {*node_uids})


class PairsOnDisk:
    """The list of one node: read once, written before a pair is reported as ready.

    *refused*: why the last change is not on disk, empty when it is. A pair that is not on disk is not in the list either.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.refused = ""
        self.list, self._unread = open_blocklist(path)

    @property
    def trouble(self) -> str:
        """Return what is wrong while a file that could not be read waits for a person, empty when none does."""
        kept = private_file.aside(self._path)
        if not os.path.lexists(kept):
            return self._unread
        return f"{self._path} could not be read, a boot may have blocked too few pairs; look at {kept}, then remove it"

    def has(self, node_uid: str) -> bool:
        """Return whether the pair with this peer is on disk."""
        return self.list is not None and node_uid in self.list.uids

    def exempts(self, node_uid: str) -> bool:
        """Return whether node→node with this peer is in clear, as far as the list says."""
        return self.list is not None and node_uid in self.list.exempt

    def add(self, own: End, peers: Sequence[tuple[End, bool]]) -> None:
        """Put pairs on disk, or their newer claims, each with whether it is exempt; on stable storage when `has` says so."""
        before = self.list if self.list is not None and self.list.own.name == own.name else Blocklist(own)
        if peers and not (before is self.list and before.own == own and all(before.has(p, exempt=e) for p, e in peers)):
            self._save(replace(before, own=own).with_peers(peers))

    def note(self, own: End, *, leaving: bool) -> None:
        """Put on disk that this node is enabled, and whether it is Leaving; another identity's list of pairs stays."""
        if self.list is None or (not self.list.peers and self.list.own.node_uid != own.node_uid):
            self._save(Blocklist(own, leaving=leaving))
        elif self.list.own.node_uid == own.node_uid:
            self._save(replace(self.list, leaving=leaving))

    def drop(self, node_uids: Collection[str]) -> None:
        """Take pairs off the list: they left, or their peers are gone."""
        if self.list is not None and not self.list.uids.isdisjoint(node_uids):
            self._save(self.list.without_peers(*node_uids))

    def remove(self) -> None:
        """Remove the list: the node left. Raises `StateError` when the system refuses."""
        if os.path.lexists(self._path):
            private_file.remove(self._path)
        self.list, self.refused = None, ""

    def _save(self, blocklist: Blocklist) -> None:
        if blocklist == self.list:
            return
        try:
            save_blocklist(blocklist, self._path)
        except StateError as error:
            if str(error) != self.refused:
                log.error("pairs to block not written", error=str(error))  # noqa: TRY400 - the message says all
            self.refused = str(error)
            return
        self.list, self.refused = blocklist, ""


def open_blocklist(path: Path = PATH) -> tuple[Blocklist | None, str]:
    """Return the list, None when there is none or it cannot be read: then the file is kept aside.

    When it stands where it stood because the system refused that too, the text says why.
    """
    try:
        return load_blocklist(path), ""
    except StateError as error:
        log.error("pairs to block not read", path=str(path), error=str(error))  # noqa: TRY400 - the message says all
    try:
        private_file.rename(path, next(_aside(path)))
    except StateError as error:
        log.error("file not kept aside", path=str(path), error=str(error))  # noqa: TRY400 - the message says all
        return None, str(error)
    return None, ""


def load_blocklist(path: Path = PATH) -> Blocklist | None:
    """Return the pairs to block, None when there is no file.

    Raises `StateError` when the file could have been touched by others, is malformed, changed or of an unknown version.
    """
    content = private_file.read(path)
    if content is None:
        return None
    top = parse(str(path), content)
    return by_version(str(path), top, _READERS)(top)


def save_blocklist(blocklist: Blocklist, path: Path = PATH) -> None:
    """Replace the file; on stable storage when this returns. Raises `StateError` when the system refuses."""
    peers = [{**_end(peer), "exempt": peer.node_uid in blocklist.exempt} for peer in blocklist.peers]
    content = {"version": VERSION, "own": _end(blocklist.own), "peers": peers, "leaving": blocklist.leaving}
    private_file.replace(path, encode(content))


def _aside(path: Path) -> Iterator[Path]:
    """Yield the names under which an unreadable file may be kept: those that nothing has, in order."""
    first = private_file.aside(path)
    for number in count():
        name = first.with_name(f"{first.name}.{number}") if number else first
        if not os.path.lexists(name):
            yield name


def _end(end: End) -> dict[str, object]:
    return {
        "name": end.name,
        "node_id": end.node_id,
        "node_uid": end.node_uid,
        "endpoints": [str(address) for address in end.endpoints],
        "pod_cidrs": [str(prefix) for prefix in end.pod_cidrs],
        "addresses": [str(address) for address in end.addresses],
    }


_END: Final = ("name", "node_id", "node_uid", "endpoints", "pod_cidrs")


def _read_old_end(fields: Fields) -> End:
    """Read an end of a time that knew no address but endpoints."""
    fields.only(*_END)
    return _old_end(fields)


def _read_end(fields: Fields, *more: str) -> End:
    fields.only(*_END, "addresses", *more)
    return replace(_old_end(fields), addresses=fields.each("addresses", ip_address))


def _old_end(fields: Fields) -> End:
    return End(
        name=fields.text("name"),
        node_id=fields.number("node_id"),
        node_uid=fields.text("node_uid"),
        endpoints=fields.each("endpoints", ip_address),
        pod_cidrs=fields.each("pod_cidrs", ip_network),
    )


def _read_1(top: Fields) -> Blocklist:
    """Read what knew no farewell: none was seen."""
    top.only("version", "own", "peers")
    return _old_list(top, leaving=False)


def _read_2(top: Fields) -> Blocklist:
    top.only("version", "own", "peers", "leaving")
    return _old_list(top, leaving=top.flag("leaving"))


def _old_list(top: Fields, *, leaving: bool) -> Blocklist:
    """Read peers of a time that sealed no node→node: a boot goes on like that, until the pairs are proved again."""
    peers = tuple(_read_old_end(each) for each in top.groups("peers"))
    return Blocklist(_read_old_end(top.group("own")), peers, leaving, frozenset(peer.node_uid for peer in peers))


def _read_3(top: Fields) -> Blocklist:
    """Read what had no checksum."""
    return _read_list(top.only("version", "own", "peers", "leaving"))


def _read_4(top: Fields) -> Blocklist:
    return _read_list(top.only("version", "own", "peers", "leaving", CHECKSUM))


def _read_list(top: Fields) -> Blocklist:
    listed = [(_read_end(each, "exempt"), each.flag("exempt")) for each in top.groups("peers")]
    exempt = frozenset(peer.node_uid for peer, in_clear in listed if in_clear)
    return Blocklist(_read_end(top.group("own")), tuple(peer for peer, _ in listed), top.flag("leaving"), exempt)


_READERS: Final = {1: _read_1, 2: _read_2, 3: _read_3, 4: _read_4}
