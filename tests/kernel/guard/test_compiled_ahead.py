"""Programs are compiled ahead, by a process that the kernel hears nothing of, and loaded without a compiler."""

from __future__ import annotations

import errno
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernel.guard.conftest import SETTINGS
from wirecrypt.errors import BpfError
from wirecrypt.kernel.bpf import object as bpf_object
from wirecrypt.kernel.bpf import syscall
from wirecrypt.kernel.bpf.guard import KernelGuard
from wirecrypt.kernel.bpf.syscall import MapShape, MapType

ROOT = Path(__file__).parents[3]
RETURN_ZERO = struct.pack("<BBhiBBhi", 0xB7, 0, 0, 0, 0x95, 0, 0, 0)
RETURN_NOTHING = struct.pack("<BBhi", 0x95, 0, 0, 0)  # register 0 has no value


@pytest.fixture
def elsewhere(bpffs: Path) -> Iterator[Path]:
    folder = bpffs / "ahead"
    folder.mkdir()
    yield folder
    KernelGuard(folder).unload()
    folder.rmdir()


@pytest.fixture
def compiled(tmp_path: Path) -> Path:
    """Give a folder that the programs were compiled to."""
    assert KernelGuard(tmp_path / "no bpf file system", programs_dir=tmp_path / "run").compile_ahead()
    return tmp_path / "run"


@pytest.fixture
def no_headers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Leave nothing to compile with."""
    monkeypatch.setenv("BCC_KERNEL_SOURCE", str(tmp_path))


def newest_ids() -> tuple[int, int]:
    """Return the ids that the kernel gives to a map and a program made now: each one more than the last one's."""
    table, program = syscall.create_map("id", MapShape(MapType.ARRAY, 4, 4, 1)), syscall.load_program("id", RETURN_ZERO)
    try:
        return said(table, "map_id"), said(program, "prog_id")
    finally:
        os.close(table)
        os.close(program)


def said(fd: int, field: str) -> int:
    """Return a number that the kernel tells of a descriptor."""
    lines = Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines()
    return int(dict(line.split(":", 1) for line in lines)[field])


def test_compiling_takes_no_privilege_and_makes_no_kernel_object(tmp_path: Path) -> None:
    """Root without any capability compiles, and the kernel gives out no id of a map or program meanwhile."""
    command = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"]
    command += [sys.executable, "-m", "wirecrypt.kernel.bpf.compile", str(tmp_path / "run")]
    before = newest_ids()
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False)
    after = newest_ids()
    assert (done.returncode, done.stderr) == (0, "")
    assert after == (before[0] + 1, before[1] + 1)
    assert [path.name for path in (tmp_path / "run").iterdir()] == [bpf_object.path(tmp_path).name]


def test_what_is_compiled_is_not_compiled_again(compiled: Path) -> None:
    """The second one who wants the programs finds them, and writes nothing."""
    before = bpf_object.path(compiled).stat()
    assert not KernelGuard(compiled, programs_dir=compiled).compile_ahead()
    after = bpf_object.path(compiled).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_loading_needs_no_compiler(compiled: Path, no_headers: None, elsewhere: Path) -> None:
    """With the programs in their folder a node is guarded where compiling is impossible."""
    guard = KernelGuard(elsewhere, programs_dir=compiled)
    guard.load(SETTINGS)
    assert guard.loaded()


def test_loading_compiles_when_nobody_has(tmp_path: Path, elsewhere: Path) -> None:
    """Without the programs in their folder they are compiled all the same, and are there for the next time."""
    guard = KernelGuard(elsewhere, programs_dir=tmp_path / "run")
    guard.load(SETTINGS)
    assert guard.loaded()
    assert bpf_object.read(tmp_path / "run") is not None


@pytest.mark.usefixtures("no_headers")
def test_a_failed_compilation_leaves_nothing(tmp_path: Path, elsewhere: Path) -> None:
    """The error carries the compiler's words, and neither maps nor pins nor files are left behind."""
    guard = KernelGuard(elsewhere, programs_dir=tmp_path / "run")
    with pytest.raises(BpfError, match="BCC_KERNEL_SOURCE"):
        guard.load(SETTINGS)
    assert not list(elsewhere.iterdir())
    assert not (tmp_path / "run").exists()


def test_programs_that_others_could_write_are_not_loaded(compiled: Path, elsewhere: Path) -> None:
    """Instructions from a folder that others can write do not reach the kernel."""
    compiled.chmod(0o777)
    with pytest.raises(BpfError, match="others may write"):
        KernelGuard(elsewhere, programs_dir=compiled).load(SETTINGS)
    assert not list(elsewhere.iterdir())


def test_a_refusal_carries_the_last_words_of_the_verifier() -> None:
    """A program that the kernel does not accept is an error with its name and the verifier's reason."""
    with pytest.raises(BpfError, match=r"(?s)bad.*R0 !read_ok") as refused:
        syscall.load_program("bad", RETURN_NOTHING)
    assert refused.value.errno == errno.EACCES
