"""The guard of a node: eBPF programs at tc and their maps, pinned, adopted, configured (port `Guard`).

Programs are attached by tcx where the kernel has it, because that loses no packet, else by filters of a clsact qdisc.
Filters that an older version left on a kernel with tcx go once their programs are attached by tcx: make before break.

Nothing here keeps state but `hold`: each call opens the pins, does its work and closes them, so a restarted agent finds what
the last one left and writes nothing. The packets' rules are in bpf/wirecrypt.c.

Order of an upgrade: `load` pins the new programs next to maps that stay; `attach_*` replaces each program atomically. Only
if the layout of the prefixes changed do the new maps start empty, and then `attach_guard` leaves an older guard in
place until entries are written: in between the old one goes on with its own.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Final

from wirecrypt.errors import LinkError
from wirecrypt.kernel.bpf import cache, records, syscall, tc
from wirecrypt.kernel.bpf import load as bpf_load
from wirecrypt.kernel.bpf import ring as bpf_ring
from wirecrypt.kernel.bpf.pins import Pins, remove, remove_folder
from wirecrypt.kernel.bpf.syscall import TcxHook, tcx_supported
from wirecrypt.kernel.bpf.tcx import Tcx
from wirecrypt.kernel.net.links import header_length
from wirecrypt.model.guard import Attachment, Drop, GuardEntry, GuardSettings

_HANDLE: Final = 0x5743
_SETTINGS_KEY: Final = bytes(4)

EXEMPT: Final = "node_to_node"  # the reason that is counted by peer


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a program is attached: at a priority among filters, behind another one of ours in a chain of tcx."""

    program: str
    direction: tc.TcDirection
    priority: int
    behind: str = ""

    @property
    def hook(self) -> TcxHook:
        return TcxHook.INGRESS if self.direction == "ingress" else TcxHook.EGRESS


# The guard comes before anyone whose verdict would end the chain, and before a mark would hide that of decryption.
_GUARD: Final = (_Place("wirecrypt_guard_egress", "egress", 1), _Place("wirecrypt_guard_ingress", "ingress", 1))
_MARK: Final = _Place("wirecrypt_mark", "ingress", 2, behind="wirecrypt_guard_ingress")
_PLACES: Final = (*_GUARD, _MARK)


class KernelGuard:
    """Implement `Guard` with pins below *bpffs_dir*/wirecrypt; *writes* counts every change made in the kernel.

    The compiled programs are kept in *programs_dir*, private to this user.
    Raises `BpfError` (programs, maps, pins) and `LinkError` (links, qdiscs, filters).
    """

    def __init__(self, bpffs_dir: Path, *, programs_dir: Path = cache.FOLDER) -> None:
        self._programs_dir = programs_dir
        self._pins = Pins(bpffs_dir)
        self._tcx = Tcx(self._pins.attached)
        self.writes = 0

    def compile_ahead(self) -> bool:
        """Compile the programs if they are not, for `load` to find, and say whether that was done; no kernel object is made."""
        return cache.ensure(self._programs_dir)

    def load(self, settings: GuardSettings) -> None:
        """Load, pin and configure what is not there yet; then remove the pins of other versions."""
        if not self.loaded():
            bpf_load.load(self._pins, cache.programs(self._programs_dir))
            self.writes += 1
        self.configure(settings)
        for path in self._pins.stale():
            remove(path)
            self.writes += 1
        self.writes += self._tcx.remove_gone()

    def loaded(self) -> bool:
        """Return whether programs and maps of this version are pinned."""
        return self._pins.wanted() <= self._pins.present()

    def configure(self, settings: GuardSettings) -> bool:
        """Write settings that differ; say whether anything was written. Raises `InputError` before any write."""
        with self._map("settings") as table:
            present = _settings(table)
            wanted = records.pack_settings(settings, bare_links=records.has_bare_links(present))
            if present == wanted:
                return False
            table.set(_SETTINGS_KEY, wanted)
        self.writes += 1
        return True

    def entries(self) -> Sequence[GuardEntry]:
        """Return the entries of the guard maps, IPv4 first, in the order of their prefixes."""
        with self._entry_maps() as tables:
            found = [records.unpack_entry(name, *item) for name, table in tables.items() for item in table.items()]
        return sorted(found, key=lambda e: (e.prefix.version, int(e.prefix.network_address), e.prefix.prefixlen))

    def set_entries(self, entries: Iterable[GuardEntry]) -> None:
        with self._entry_maps() as tables:
            for entry in entries:
                tables[records.map_of(entry.prefix)].set(records.pack_prefix(entry.prefix), records.pack_actions(entry))
                self.writes += 1

    def delete_entries(self, prefixes: Iterable[IPv4Network | IPv6Network]) -> None:
        with self._entry_maps() as tables:
            for prefix in prefixes:
                self.writes += tables[records.map_of(prefix)].delete(records.pack_prefix(prefix))

    def attachments(self) -> Sequence[Attachment]:
        """Return our programs on all links, sorted; current is false for a program of another version."""
        ids = {place.program: self._program_id(place.program) for place in _PLACES}
        names = dict(socket.if_nameindex())
        return sorted(
            (
                Attachment(names[index], program, current=found == ids.get(program, 0) != 0)
                for index, programs in self._attached().items()
                for program, found in programs.items()
                if index in names
            ),
            key=lambda a: (a.link, a.program),
        )

    def attach_guard(self, link: str) -> None:
        """Attach guard-egress and guard-ingress to an uplink; what is current there is left as it is.

        While the maps are empty an older guard is left too, and its attachment stays not current: it goes on with its
        own maps until a later pass, with entries written, replaces it.
        """
        attached = self._attached().get(_index(link), {})
        older = [name for name in attached if name != _MARK.program and attached[name] != self._program_id(name)]
        if older and not self.entries():
            return
        self._attach(link, _GUARD)

    def attach_mark(self, link: str) -> None:
        """Attach the mark program to a pod-facing link; one that is current there is left as it is."""
        self._attach(link, (_MARK,))

    def hold(self) -> None:
        self.writes += self._tcx.hold()

    def detach(self, link: str) -> None:
        try:
            index = socket.if_nametoindex(link)
        except OSError:
            return
        self._detach(index)

    def unload(self) -> None:
        for index, _ in socket.if_nameindex():
            self._detach(index)
        self.writes += self._tcx.remove_all()
        for path in sorted(self._pins.present()):
            remove(path)
            self.writes += 1
        self.writes += remove_folder(self._pins.folder)

    def counters(self) -> Mapping[str, int]:
        """Return packets counted per reason, summed over CPUs, and over peers where they are counted by peer."""
        return self._sums("counters", records.reason_names()) | {EXEMPT: sum(self.exempt().values())}

    def refused(self) -> Mapping[str, int]:
        return self._sums("refused", records.refusal_names())

    def exempt(self) -> Mapping[int, int]:
        with self._map("exempt") as table:
            return {int.from_bytes(key, sys.byteorder): records.sum_counter(value) for key, value in table.items()}

    def drops(self, limit: int = 64) -> Sequence[Drop]:
        """Take up to *limit* waiting drop events out of the ring buffer, without waiting (one reader at a time)."""
        with self._map("events") as ring:
            return [records.unpack_event(r) for r in bpf_ring.take(ring.fd, ring.shape.max_entries, limit)]

    def _sums(self, counters: str, names: Mapping[int, str]) -> dict[str, int]:
        """Return what a map of counters holds by name, summed over CPUs."""
        with self._map(counters) as table:
            keys = {name: number.to_bytes(4, sys.byteorder) for number, name in names.items()}
            return {name: records.sum_counter(table.get(key) or b"") for name, key in keys.items()}

    @contextmanager
    def _entry_maps(self) -> Iterator[Mapping[str, syscall.Map]]:
        """Open the maps that entries stand in, by name."""
        with ExitStack() as stack:
            yield {name: stack.enter_context(self._map(name)) for name in records.ENTRY_MAPS}

    def _map(self, name: str) -> AbstractContextManager[syscall.Map]:
        return syscall.opened_map(self._pins.map(name))

    def _program_id(self, program: str) -> int:
        path = self._pins.program(program)
        if path not in self._pins.present():
            return 0
        with syscall.opened(path) as fd:
            return syscall.program_id(fd)

    def _attached(self) -> dict[int, dict[str, int]]:
        """Return the program ids of ours by link and name.

        Listing filters is slow, so that is done only for links that are noted and have nothing at tcx.
        """
        found: dict[int, dict[str, int]] = {}
        for one in self._tcx.attached():
            found.setdefault(one.index, {})[one.program] = one.program_id
        for index in self._noted() - found.keys():
            if filters := _filters(index):
                found[index] = filters
        return found

    def _noted(self) -> set[int]:
        """Return the indexes of links that programs may be attached to: all when no map tells."""
        present = {index for index, _ in socket.if_nameindex()}
        if not self._pins.map("links").exists():
            return present
        with self._map("links") as table:
            return present & {int.from_bytes(key, sys.byteorder) for key in table.keys()}  # noqa: SIM118 - a Map is no dict

    def _attach(self, link: str, places: Iterable[_Place]) -> None:
        index = _index(link)
        by_tcx = tcx_supported(index)
        known = self._note_link(index, link, made=not by_tcx and tc.ensure_clsact(index))
        for place in places:
            with syscall.opened(self._pins.program(place.program)) as fd:
                if by_tcx:
                    self.writes += self._tcx.attach(index, place.hook, place.program, fd, after=place.behind)
                    self.writes += known and _remove_filter(index, place)
                else:
                    self.writes += _put_filter(index, place, fd)

    def _note_link(self, index: int, link: str, *, made: bool) -> bool:
        """Record what the programs and a later `detach` must know, before anything is attached; say if the link was known."""
        self.writes += made
        header = header_length(link)
        if not header:
            self._note_bare()
        key = index.to_bytes(4, sys.byteorder)
        with self._map("links") as table:
            present = table.get(key)
            known = records.unpack("wc_link", present) if present else None
            made = made or bool(known and known.clsact_made)
            wanted = records.pack("wc_link", header=header, clsact_made=made)
            if present != wanted:
                _forget_gone(table)
                self._tcx.remove_gone()
                table.set(key, wanted)
                self.writes += 1
        return present is not None

    def _note_bare(self) -> None:
        """Have the programs ask whether a link has an Ethernet header, from before the first that has none; that stays so."""
        with self._map("settings") as table:
            present = _settings(table)
            if not records.has_bare_links(present):
                table.set(_SETTINGS_KEY, records.with_bare_links(present))
                self.writes += 1

    def _detach(self, index: int) -> None:
        self.writes += self._tcx.detach(index)
        for place in _PLACES:
            self.writes += _remove_filter(index, place)
        if not self._pins.map("links").exists():
            return
        key = index.to_bytes(4, sys.byteorder)
        with self._map("links") as table:
            present = table.get(key)
            if present is None:
                return
            if records.unpack("wc_link", present).clsact_made:
                self.writes += tc.remove_clsact_if_empty(index)
            self.writes += table.delete(key)


def _settings(table: syscall.Map) -> bytes:
    return table.get(_SETTINGS_KEY) or bytes(table.value_bytes)


def _filters(index: int) -> dict[str, int]:
    """Return the program ids of our filters on a link: ours by name, direction, priority and handle."""
    listed = {(f.name, f.direction, f.prio, f.handle): f.prog_id for f in tc.filters(index)}
    places = ((place, (place.program, place.direction, place.priority, _HANDLE)) for place in _PLACES)
    return {place.program: listed[where] for place, where in places if where in listed}


def _put_filter(index: int, place: _Place, fd: int) -> bool:
    return tc.attach(index, direction=place.direction, fd=fd, name=place.program, prio=place.priority, handle=_HANDLE)


def _remove_filter(index: int, place: _Place) -> bool:
    return tc.detach(index, place.direction, place.priority, _HANDLE, place.program)


def _forget_gone(table: syscall.Map) -> None:
    """Drop the records of links that do not exist any more."""
    alive = {index.to_bytes(4, sys.byteorder) for index, _ in socket.if_nameindex()}
    for key in [key for key in table.keys() if key not in alive]:  # noqa: SIM118 - a Map is no dict
        table.delete(key)


def _index(link: str) -> int:
    try:
        return socket.if_nametoindex(link)
    except OSError as error:
        raise LinkError("find a link", what=link, answer=str(error), hint="see `ip link`", errno=error.errno or 0) from error
