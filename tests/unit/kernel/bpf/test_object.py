"""The file of compiled programs: what is read is what was written, and only if nobody else could have written it."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wirecrypt.errors import BpfError
from wirecrypt.kernel.bpf import object as bpf_object
from wirecrypt.kernel.bpf.object import Program
from wirecrypt.kernel.bpf.pins import map_numbers
from wirecrypt.kernel.bpf.source import PROGRAMS

LOAD_64, MAP_FD, EXIT = 0x18, 1, 0x95


def instruction(code: int, *, source: int = 0, value: int = 0) -> bytes:
    """Return one struct bpf_insn."""
    return struct.pack("<BBhi", code, source << 4 | 1, 0, value)


def code(*numbers: int) -> bytes:
    """Return instructions that name maps by these numbers, with a plain 64-bit constant before them that looks alike."""
    constant = instruction(LOAD_64, value=3) + instruction(0, source=MAP_FD, value=LOAD_64)
    uses = b"".join(instruction(LOAD_64, source=MAP_FD, value=number) + instruction(0) for number in numbers)
    return constant + uses + instruction(EXIT)


@pytest.fixture
def programs() -> tuple[Program, ...]:
    return tuple(Program.compiled(name, code(1, 5, 1), map_numbers()) for name in PROGRAMS)


@pytest.fixture
def folder(tmp_path: Path, programs: tuple[Program, ...]) -> Path:
    """Give a folder that the programs were written to."""
    folder = tmp_path / "run"
    bpf_object.write(folder, programs)
    return folder


def test_maps_are_found_by_number_and_bound_by_name() -> None:
    """A program knows which instructions name which map, and gives them the descriptors; all others stay as they are."""
    program = Program.compiled("one", code(1, 5, 1), map_numbers())
    assert program.maps == ((2, "settings"), (4, "counters"), (6, "settings"))
    assert program.instructions == code(0, 0, 0)
    assert program.bound({"settings": 31, "counters": 1000}) == code(31, 1000, 31)


def test_an_unknown_number_is_refused() -> None:
    """Instructions that name a map which does not exist are an error with program and number."""
    with pytest.raises(BpfError, match=r"one.*\[99\]"):
        Program.compiled("one", code(1, 99), map_numbers())


def test_what_was_written_is_read(folder: Path, programs: tuple[Program, ...]) -> None:
    """Programs come back equal, from a file for this user alone in a folder for this user alone."""
    assert bpf_object.read(folder) == programs
    assert (folder.stat().st_mode & 0o777, bpf_object.path(folder).stat().st_mode & 0o777) == (0o700, 0o600)


def test_writing_replaces_and_leaves_one_file(folder: Path, programs: tuple[Program, ...]) -> None:
    """The programs of older sources go when new ones are written, other files stay, and nothing half-written is left."""
    (folder / "programs-000000000000.json").write_text("{}")
    (folder / "state.json").write_text("{}")
    bpf_object.write(folder, programs)
    assert {path.name for path in folder.iterdir()} == {bpf_object.path(folder).name, "state.json"}


def test_nothing_there_is_no_error(tmp_path: Path) -> None:
    """Neither a missing folder nor an empty one has programs."""
    assert (bpf_object.read(tmp_path / "none"), bpf_object.read(tmp_path)) == (None, None)


def cut_instruction(document: dict[str, Any]) -> None:
    program = document["programs"][0]
    program["instructions"] = program["instructions"][:-4]


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.update(format=2),
        lambda d: d.update(sources="000000000000"),
        lambda d: d["maps"][0].update(max_entries=2),
        lambda d: d["programs"].pop(),
        lambda d: d["programs"][0]["maps"].pop(),
        lambda d: d["programs"][0]["maps"].append([0, "settings"]),
        lambda d: d["programs"][0].update(maps=[[2, "settings"], [4, "other"], [6, "settings"]]),
        lambda d: d["programs"][0].update(instructions="?"),
        cut_instruction,
        lambda d: d["programs"][0].update(instructions="", maps=[]),
        lambda d: d.pop("maps"),
    ],
)
def test_another_document_counts_as_none(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Another format, other sources or maps, a missing program, maps in the wrong places: all of it is made anew."""
    path = bpf_object.path(folder)
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    assert bpf_object.read(folder) is None


@pytest.mark.parametrize("text", ["", "[]", "7", '{"format": 1', "\xff"])
def test_no_document_counts_as_none(folder: Path, text: str) -> None:
    """A file that is cut off or is no document of ours is made anew."""
    bpf_object.path(folder).write_text(text, encoding="latin-1")
    assert bpf_object.read(folder) is None


@pytest.mark.parametrize("mode", [0o770, 0o702])
def test_a_folder_that_others_can_write_is_refused(folder: Path, programs: tuple[Program, ...], mode: int) -> None:
    """Where others could have put instructions for the kernel, none are read and none are written."""
    folder.chmod(mode)
    with pytest.raises(BpfError, match=f"{mode:04o}: others may write"):
        bpf_object.read(folder)
    with pytest.raises(BpfError, match=str(folder)):
        bpf_object.write(folder, programs)


@pytest.mark.parametrize("mode", [0o620, 0o606])
def test_a_file_that_others_can_write_is_refused(folder: Path, mode: int) -> None:
    """A file with a mode that lets others write is not read."""
    bpf_object.path(folder).chmod(mode)
    with pytest.raises(BpfError, match=f"has mode {mode:04o} instead of 0600"):
        bpf_object.read(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="giving files away takes root")
@pytest.mark.parametrize("what", ["folder", "file"])
def test_what_belongs_to_another_user_is_refused(folder: Path, what: str) -> None:
    """Neither a file nor a folder of another user is trusted."""
    os.chown(folder if what == "folder" else bpf_object.path(folder), 65534, -1)
    with pytest.raises(BpfError, match="belongs to user 65534"):
        bpf_object.read(folder)


def test_symbolic_links_are_refused(folder: Path, tmp_path: Path) -> None:
    """Neither the folder nor the file may be a link to somewhere else."""
    (tmp_path / "link").symlink_to(folder)
    with pytest.raises(BpfError, match="link"):
        bpf_object.read(tmp_path / "link")
    path = bpf_object.path(folder)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BpfError, match=path.name):
        bpf_object.read(folder)


def test_a_pipe_is_refused_at_once(folder: Path) -> None:
    """Something that is no regular file is refused without waiting for it."""
    path = bpf_object.path(folder)
    path.unlink()
    os.mkfifo(path, 0o600)
    with pytest.raises(BpfError, match="no regular file"):
        bpf_object.read(folder)
