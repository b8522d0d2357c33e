"""The guard in memory: its programs on one uplink, and what they do with a packet."""

# ruff: noqa: ARG002, D102 - the ports say what their methods do

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from tests.fakes.packet import Packet, Prefix
from wirecrypt.errors import BpfError
from wirecrypt.model.guard import Attachment, Drop, GuardAction, GuardEntry, GuardSettings
from wirecrypt.model.spi import Spi
from wirecrypt.model.xfrm import Address, Network

_NEVER = (GuardAction.OWN, GuardAction.DROP, GuardAction.UNKNOWN)


class Filters:
    """The guard: programs on one uplink, their settings and entries. *refusal*: loading, attaching or writing fails with it."""

    def __init__(self, told: Callable[[str], object] = lambda _: None) -> None:
        self._indexed: list[tuple[Prefix, GuardEntry]] | None = None
        self._found: dict[tuple[int, int], GuardEntry | None] = {}
        self.settings: GuardSettings | None = None
        self.table: dict[Network, GuardEntry] = {}
        self.attached: set[str] = set()
        self.refusal = ""
        self._told = told

    # ---- the port

    def load(self, settings: GuardSettings) -> None:
        self._may("load")
        self.settings = settings
        self._changed("load")

    def configure(self, settings: GuardSettings) -> bool:
        changed, self.settings = settings != self.settings, settings
        if changed:
            self._changed("configure")
        return changed

    def entries(self) -> Sequence[GuardEntry]:
        return list(self.table.values())

    def set_entries(self, entries: Iterable[GuardEntry]) -> None:
        for entry in entries:
            self._may(f"guard {entry.prefix}")
            self.table[entry.prefix] = entry
            self._changed(f"guard {entry.prefix}")

    def delete_entries(self, prefixes: Iterable[Network]) -> None:
        for prefix in prefixes:
            self.table.pop(prefix, None)
            self._changed(f"unguard {prefix}")

    def attachments(self) -> Sequence[Attachment]:
        names = ("wirecrypt_guard_egress", "wirecrypt_guard_ingress")
        return [Attachment(link, name, current=True) for link in sorted(self.attached) for name in names]

    def attach_guard(self, link: str) -> None:
        self._may(f"attach {link}")
        self.attached.add(link)
        self._changed(f"attach {link}")

    def attach_mark(self, link: str) -> None:
        raise AssertionError(link)

    def hold(self) -> None:
        pass

    def detach(self, link: str) -> None:
        self.attached.discard(link)
        self._changed(f"detach {link}")

    def unload(self) -> None:
        if self.loaded():
            self.settings, self.table, self.attached = None, {}, set()
            self._changed("unload")

    def loaded(self) -> bool:
        return self.settings is not None

    def counters(self) -> Mapping[str, int]:
        return {}

    def refused(self) -> Mapping[str, int]:
        return {}

    def exempt(self) -> Mapping[int, int]:
        return {}

    def drops(self, limit: int = 64) -> Sequence[Drop]:
        return ()

    # ---- packets

    def action(self, address: Address, *, egress: bool) -> GuardAction | None:
        """Return what is to be done with cleartext to (*egress*) or from this address, None where nothing is said."""
        entry = self._entry(address)
        return None if entry is None else entry.egress if egress else entry.ingress

    def refuses(self, packet: Packet, *, egress: bool) -> bool:
        """Return whether cleartext is dropped."""
        remote, local = (packet.dst, packet.src) if egress else (packet.src, packet.dst)
        action = self.action(remote, egress=egress)
        if action is GuardAction.NODE:
            return (egress and packet.from_pod) or self.action(local, egress=egress) in _NEVER
        return action in _NEVER or action is GuardAction.SEALED

    def passes_esp(self, remote: Address, spi: int, *, egress: bool) -> bool:
        """Return whether ESP passes: at an address that a node owns only with the owner of its source as its sender."""
        entry = self._entry(remote)
        action = None if entry is None else entry.egress if egress else entry.ingress
        if entry is None or action is None or action is GuardAction.PASS:
            return True
        if action in _NEVER or self.settings is None:
            return False
        return _sender(spi) == (self.settings.node_id if egress else entry.node_id)

    def owns(self, src: Address, spi: int) -> bool:
        """Return whether what came out of an SA may have this source: nobody's, or its sender's."""
        entry = self._entry(src)
        return entry is None or entry.node_id in (0, _sender(spi))

    def _may(self, what: str) -> None:
        if self.refusal:
            raise BpfError(what, answer=self.refusal)

    def _changed(self, what: str) -> None:
        self._indexed = None
        self._found.clear()
        self._told(what)

    def _entry(self, address: Address) -> GuardEntry | None:
        if not self.attached:
            return None
        key = address.version, int(address)
        if key not in self._found:
            self._found[key] = self._longest(address)
        return self._found[key]

    def _longest(self, address: Address) -> GuardEntry | None:
        fits = [entry for prefix, entry in self._prefixes() if prefix.holds(address)]
        return max(fits, key=lambda e: e.prefix.prefixlen, default=None)

    def _prefixes(self) -> list[tuple[Prefix, GuardEntry]]:
        if self._indexed is None:
            self._indexed = [(Prefix(prefix), entry) for prefix, entry in self.table.items()]
        return self._indexed


def _sender(spi: int) -> int:
    found = Spi.decode(spi)
    return found.sender if found else -1
