"""Files for one user alone: replaced whole or not at all, and read only when nobody else could have written them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.agent.written_state import write
from wirecrypt import private_file
from wirecrypt.errors import StateError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.json"


def test_a_file_is_replaced_and_not_written_into(path: Path) -> None:
    """A reader that has the old file open goes on reading the old content."""
    private_file.replace(path, b"old")
    with path.open("rb") as reader:
        private_file.replace(path, b"new and longer")
        assert reader.read() == b"old"
    assert path.read_bytes() == b"new and longer"


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    """When the new file cannot take the name, the error says so, the old content stays and no temporary file does."""
    path = tmp_path / "taken"
    path.mkdir()
    (path / "inside").touch()
    with pytest.raises(StateError, match=r"replace a file \(.*taken\)"):
        private_file.replace(path, b"new")
    assert [each.name for each in tmp_path.iterdir()] == ["taken"]


def test_a_killed_writer_leaves_the_old_file_and_the_next_one_succeeds(path: Path) -> None:
    """A process that dies by SIGKILL in the middle of writing harms nothing: the half file never had the name."""
    private_file.replace(path, b"old")
    script = (
        "import os, signal, sys, pathlib\n"
        "from wirecrypt import private_file\n"
        "pathlib.Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "private_file.replace(pathlib.Path(sys.argv[1]), b'half')\n"
    )
    died = subprocess.run([sys.executable, "-c", script, str(path)], check=False)
    assert died.returncode == -9
    assert private_file.read(path) == b"old"
    assert (path.parent / ".state.json.new").exists()
    private_file.replace(path, b"new")
    assert private_file.read(path) == b"new"
    assert not (path.parent / ".state.json.new").exists()


def test_a_file_of_another_user_is_refused(path: Path) -> None:
    """A file that another user put there is not read."""
    write(path, b"{}")
    foreign = path
    if os.geteuid() == 0:
        os.chown(path, 65534, 65534)
    else:
        foreign = Path("/etc/passwd")  # every system's file that is not ours
    with pytest.raises(StateError, match="belongs to user"):
        private_file.read(foreign)


def test_links_folders_and_pipes_are_refused(path: Path) -> None:
    """Only a regular file with one name is read; a pipe does not stop the agent."""
    target = path.with_name("target")
    write(target, b"{}")
    path.symlink_to(target)
    with pytest.raises(StateError, match="symbolic links"):
        private_file.read(path)
    path.unlink()
    path.hardlink_to(target)
    with pytest.raises(StateError, match="2 names"):
        private_file.read(path)
    path.unlink()
    path.mkdir(0o600)
    with pytest.raises(StateError, match="no regular file"):
        private_file.read(path)
    path.rmdir()
    os.mkfifo(path, 0o600)
    with pytest.raises(StateError, match="no regular file"):
        private_file.read(path)
