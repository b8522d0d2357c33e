"""Compiled programs as a file: JSON, one per version of the sources, in a folder that nobody else can write.

    {"format": 1,
     "sources": "0123456789ab",                       hash of all C sources (`bpf_source.version`)
     "licence": "GPL",
     "maps": [{"name": "settings", "type": 2, "key_size": 4, "value_size": 32, "max_entries": 1, "flags": 0}, …],
     "programs": [{"name": "wirecrypt_mark",
                   "instructions": "vxYAAAAAAAA=…",   base64 of struct bpf_insn, little endian; of which type: `load`
                   "maps": [[3, "settings"], …]}, …]} the instruction at this index takes this map's descriptor

What stands there is loaded into the kernel and judges every packet. So the file has to be this user's alone, and its folder
one that nobody else can write; else they are refused. A file that is not whole, or is of another
format, other sources or other maps, counts as none: it is made anew.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from wirecrypt import private_file
from wirecrypt.errors import BpfError, StateError
from wirecrypt.kernel.bpf.pins import maps
from wirecrypt.kernel.bpf.source import PROGRAMS, version

_FORMAT: Final = 1
_LICENCE: Final = "GPL"
_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH
_SIZE: Final = 8  # bytes of struct bpf_insn: code, registers, 16 bits of offset, 32 bits of immediate value
_LOAD_64: Final = 0x18  # BPF_LD | BPF_DW | BPF_IMM: takes the room of two instructions
_MAP_FD: Final = 1  # BPF_PSEUDO_MAP_FD, in the upper half of the registers


@dataclass(frozen=True, slots=True)
class Program:
    """One compiled program: its name, its instructions, and which of them (by index) take the descriptor of which map."""

    name: str
    instructions: bytes
    maps: tuple[tuple[int, str], ...]

    @classmethod
    def compiled(cls, name: str, instructions: bytes, numbers: Mapping[int, str]) -> Program:
        """Make one of what the compiler gave, where maps are named by number; raises `BpfError` for an unknown number."""
        found = dict(_map_numbers(instructions))
        if unknown := set(found.values()) - numbers.keys():
            answer = f"it names maps by the numbers {sorted(unknown)}"
            raise BpfError("read a compiled program", what=name, answer=answer, hint="see enum wc_map in bpf/wirecrypt.h")
        return cls(name, _put(instructions, dict.fromkeys(found, 0)), tuple((at, numbers[n]) for at, n in found.items()))

    def bound(self, descriptors: Mapping[str, int]) -> bytes:
        """Return the instructions with the maps' descriptors in their places."""
        return _put(self.instructions, {at: descriptors[name] for at, name in self.maps})


def path(folder: Path) -> Path:
    """Return where the programs of the present sources are kept."""
    return folder / f"programs-{version()}.json"


def read(folder: Path) -> tuple[Program, ...] | None:
    """Return the programs of the present sources, None when there are none; raises `BpfError` if others could write them."""
    if not folder.exists():
        return None
    _require_ours(folder)
    try:
        content = private_file.read(path(folder))
    except StateError as error:
        raise _refused("read", path(folder), error.answer) from error
    if content is None:
        return None
    with suppress(ValueError, KeyError, TypeError):
        return _decode(json.loads(content))
    return None


def write(folder: Path, programs: Sequence[Program]) -> None:
    """Write the programs of the present sources, whole or not at all, and remove those of others; raises `BpfError`."""
    target = path(folder)
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        _require_ours(folder)
        private_file.replace(target, json.dumps(_encode(programs)).encode(), name=secrets.token_hex(4))  # others write it, too
        for other in set(folder.glob("programs-*.json")) - {target}:
            other.unlink(missing_ok=True)
    except (OSError, StateError) as error:
        raise _refused("write", target, str(error)) from error


def _encode(programs: Sequence[Program]) -> dict[str, Any]:
    listed = [
        {"name": p.name, "instructions": base64.b64encode(p.instructions).decode(), "maps": [list(use) for use in p.maps]}
        for p in programs
    ]
    return {"format": _FORMAT, "sources": version(), "licence": _LICENCE, "maps": _maps(), "programs": listed}


def _decode(document: Any) -> tuple[Program, ...] | None:  # noqa: ANN401 - JSON: whatever stands in the file
    """Return the programs; None when they are others than the present ones. Raises the errors of a bad document."""
    wanted = {"format": _FORMAT, "sources": version(), "licence": _LICENCE, "maps": _maps()}
    if {name: document[name] for name in wanted} != wanted:
        return None
    programs = tuple(
        Program(
            str(item["name"]),
            base64.b64decode(item["instructions"], validate=True),
            tuple((int(at), str(name)) for at, name in item["maps"]),
        )
        for item in document["programs"]
    )
    return programs if tuple(p.name for p in programs) == PROGRAMS and all(map(_sound, programs)) else None


def _sound(program: Program) -> bool:
    """Return whether the instructions are whole and each that names a map has one: descriptors go nowhere else."""
    complete = len(program.instructions) > 0 and len(program.instructions) % _SIZE == 0
    named = {name for _, name in program.maps} <= {spec.name for spec in maps()}
    return complete and named and dict(_map_numbers(program.instructions)).keys() == {at for at, _ in program.maps}


def _maps() -> list[dict[str, Any]]:
    return [{"name": spec.name, **asdict(spec.shape)} for spec in maps()]


def _map_numbers(instructions: bytes) -> Iterator[tuple[int, int]]:
    """Yield (index, immediate value) of the instructions that name a map."""
    at = 0
    while at < len(instructions):
        code, registers = instructions[at : at + 2]
        if code == _LOAD_64 and registers >> 4 == _MAP_FD:
            yield at // _SIZE, int.from_bytes(instructions[at + 4 : at + _SIZE], "little")
        at += 2 * _SIZE if code == _LOAD_64 else _SIZE


def _put(instructions: bytes, values: Mapping[int, int]) -> bytes:
    changed = bytearray(instructions)
    for index, value in values.items():
        changed[index * _SIZE + 4 : (index + 1) * _SIZE] = value.to_bytes(4, "little")
    return bytes(changed)


def _require_ours(folder: Path) -> None:
    """Raise `BpfError` unless *folder* is one, of root or this process's user, that nobody else can write."""
    try:
        found = folder.lstat()
    except OSError as error:
        raise _refused("use", folder, str(error)) from error
    if not stat.S_ISDIR(found.st_mode):
        raise _refused("use", folder, "it is no folder but something else, or a link")
    if found.st_uid not in {0, os.geteuid()}:
        raise _refused("use", folder, f"it belongs to user {found.st_uid}")
    if found.st_mode & _OTHERS_WRITE:
        raise _refused("use", folder, f"it has mode {stat.S_IMODE(found.st_mode):04o}: others may write it")


def _refused(tried: str, what: Path, answer: str) -> BpfError:
    hint = "compiled programs need a folder that root alone can write: see who changed it, remove it and start again"
    return BpfError(f"{tried} the compiled eBPF programs", what=str(what), answer=answer, hint=hint)
