"""Which maps there are, and under which names maps and programs are pinned below one folder of a bpf file system.

A map's name carries a hash of its layout and a program's name one of the sources: a map whose layout did not
change is kept by an upgrade, with all its entries, while the programs next to it are replaced.
"""

from __future__ import annotations

import ctypes
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from wirecrypt.errors import BpfError
from wirecrypt.kernel.bpf.header import SharedHeader, header
from wirecrypt.kernel.bpf.source import PROGRAMS, version
from wirecrypt.kernel.bpf.syscall import BPF_F_NO_PREALLOC, MapShape, MapType

FOLDER: Final = "wirecrypt"


@dataclass(frozen=True, slots=True)
class MapSpec:
    """One map: its name in the C source, its shape, and the layout hash of the header blocks it is made of."""

    name: str
    shape: MapShape
    layout: str

    @property
    def pin(self) -> str:
        """Return the name under which this layout of the map is pinned."""
        text = f"{self.layout} {self.shape}"
        return f"{self.name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def map_numbers() -> dict[int, str]:
    """Return the maps' names by the numbers that compiled programs name them by."""
    return {number: name.removeprefix("WC_MAP_").lower() for name, number in header().enums["wc_map"].items()}


def maps() -> tuple[MapSpec, ...]:
    """Return every map, as the header lays it out."""
    h = header()
    count = h.numbers
    tries, hashes = ((kind, count["WC_ENTRIES_MAX"]) for kind in (MapType.LPM_TRIE, MapType.HASH))
    action = ("wc_action",)
    return (
        _spec(h, "settings", (MapType.ARRAY, 1), "wc_settings"),
        _spec(h, "prefixes4", tries, "wc_key4", "wc_entry", extra=action, flags=BPF_F_NO_PREALLOC),
        _spec(h, "prefixes6", tries, "wc_key6", "wc_entry", extra=action, flags=BPF_F_NO_PREALLOC),
        _spec(h, "addresses4", hashes, "wc_entry", extra=action, flags=BPF_F_NO_PREALLOC),
        _spec(h, "addresses6", hashes, "wc_address", "wc_entry", extra=action, flags=BPF_F_NO_PREALLOC),
        _spec(h, "links", (MapType.HASH, count["WC_LINKS_MAX"]), "wc_link"),
        _spec(h, "counters", (MapType.PERCPU_ARRAY, count["WC_REASONS"]), extra=("wc_reason",)),
        _spec(h, "exempt", (MapType.PERCPU_HASH, count["WC_PEERS_MAX"]), flags=BPF_F_NO_PREALLOC),
        _spec(h, "senders", (MapType.HASH, count["WC_PEERS_MAX"]), "wc_address", "wc_sender", flags=BPF_F_NO_PREALLOC),
        _spec(h, "refused", (MapType.PERCPU_ARRAY, count["WC_REFUSALS"]), extra=("wc_refused",)),
        _spec(h, "pace", (MapType.PERCPU_ARRAY, 1), "wc_pace"),
        _ring(h, count["WC_EVENT_BYTES"]),
    )


def _spec(
    h: SharedHeader, name: str, kind: tuple[MapType, int], *structs: str, extra: tuple[str, ...] = (), flags: int = 0
) -> MapSpec:
    """Keys are __u32 and values __u64 unless structs say otherwise: one is the value, two are key and value."""
    key = ctypes.sizeof(h.structs[structs[0]]) if len(structs) > 1 else ctypes.sizeof(ctypes.c_uint32)
    value = ctypes.sizeof(h.structs[structs[-1]]) if structs else ctypes.sizeof(ctypes.c_uint64)
    return MapSpec(name, MapShape(kind[0], key, value, kind[1], flags), h.layout((*structs, *extra)))


def _ring(h: SharedHeader, size: int) -> MapSpec:
    return MapSpec("events", MapShape(MapType.RINGBUF, 0, 0, size), h.layout(("wc_event", "wc_reason")))


class Pins:
    """The paths below *folder*/wirecrypt; *attached* is the folder of the attachments (`tcx`), which no version owns."""

    def __init__(self, bpffs_dir: Path) -> None:
        self.folder = bpffs_dir / FOLDER
        self.attached = self.folder / "attached"
        self._maps = {spec.name: self.folder / spec.pin for spec in maps()}

    def map(self, name: str) -> Path:
        """Return where the map of this name and the present layout is pinned."""
        return self._maps[name]

    def program(self, name: str) -> Path:
        """Return where the program of this name and the present version is pinned."""
        return self.folder / f"{name}-{version()}"

    def wanted(self) -> frozenset[Path]:
        """Return every path that a complete load has made."""
        return frozenset(self._maps.values()) | {self.program(name) for name in PROGRAMS}

    def present(self) -> frozenset[Path]:
        """Return the path of every map and program that is there, of whichever version."""
        try:
            return frozenset(self.folder.iterdir()) - {self.attached}
        except FileNotFoundError:
            return frozenset()

    def stale(self) -> Iterator[Path]:
        """Yield pins of other versions and layouts, sorted."""
        yield from sorted(self.present() - self.wanted())


def make_folder(folder: Path) -> bool:
    """Make a folder of pins; say whether it was missing. Raises `BpfError`."""
    if folder.is_dir():
        return False
    try:
        folder.mkdir(mode=0o700)
    except OSError as error:
        hint = "mount a bpf file system there: mount -t bpf bpf /sys/fs/bpf"
        raise BpfError("make the folder of pins", what=str(folder), answer=str(error), hint=hint) from error
    return True


def remove(path: Path) -> None:
    """Remove one pin; one that is gone is no failure. Raises `BpfError`."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise BpfError("remove a pin", what=str(path), answer=str(error), hint="run as root") from error


def remove_folder(folder: Path) -> bool:
    """Remove an empty folder; say whether it was there. Raises `BpfError`."""
    try:
        folder.rmdir()
    except FileNotFoundError:
        return False
    except OSError as error:
        hint = "see what else is pinned there"
        raise BpfError("remove the folder of pins", what=str(folder), answer=str(error), hint=hint) from error
    return True
