"""`wirecrypt lab` refuses in one line what it cannot do, before anything is made, and ends nobody else's processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from wirecrypt.cli.main import cli
from wirecrypt.errors import TimedOut
from wirecrypt.lab import commands
from wirecrypt.lab.daemon import FIELDS, RECORD, began
from wirecrypt.lab.machine import folders

VERBS = {"up": [], "down": [], "status": [], "exec": ["guest", "true"], "capture": ["/nonexistent/wire.pcap"]}
root = pytest.mark.skipif(os.geteuid() != 0, reason="a lab needs root")
HOLDER = """
import fcntl, os, signal, sys
lock = os.open(sys.argv[1] + "/lock", os.O_RDWR)
fcntl.flock(lock, fcntl.LOCK_EX)
signal.signal(signal.SIGTERM, lambda *_: sys.exit())
print("held", flush=True)
signal.pause()
"""
NOBODY = """
import os, sys
import wirecrypt.cli.verbs.lab
from wirecrypt.cli.main import main
if os.geteuid() == 0:
    os.setresuid(65534, 65534, 65534)
main()
"""


@pytest.fixture
def labs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a folder for labs, with a path that sockets can have."""
    with tempfile.TemporaryDirectory(prefix="wirecrypt-", dir="/tmp") as folder:
        monkeypatch.setenv("WIRECRYPT_LAB_DIR", f"{folder}/labs")
        yield Path(folder) / "labs"


def lab(verb: str, *words: str) -> Result:
    return CliRunner().invoke(cli, ["lab", verb, *words, *VERBS[verb]], catch_exceptions=False)


def only_line(done: Result) -> str:
    (line,) = done.stderr.splitlines()
    return line


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("name", ["../x", "", "Lab", "a b", "-\n"])
def test_every_verb_refuses_what_is_no_name(labs: Path, verb: str, name: str) -> None:
    """As wrong input, before anything is made."""
    done = lab(verb, "--name", name)
    assert only_line(done).startswith("error: take the name for a lab")
    assert (done.exit_code, labs.exists()) == (2, False)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_tells_who_is_not_root(labs: Path, verb: str) -> None:
    """In one line, and nothing is made."""
    user = os.geteuid() or 65534
    words = [sys.executable, "-c", NOBODY, "lab", verb, *VERBS[verb]]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert done.stderr == f"error: a lab needs root (lab): this is user {user}. Next: run it as root\n"
    assert (done.returncode, labs.exists()) == (1, False)


@root
@pytest.mark.parametrize("kernel", ["9.9", "/nonexistent/linux", "../6.1", "6.1\n"])
def test_a_kernel_that_is_not_there_is_one_line(labs: Path, kernel: str) -> None:
    """With those that are, and how to get more; nothing is left."""
    done = lab("up", "--kernel", kernel)
    assert done.exit_code == 1
    line = done.stderr.splitlines()[-1]
    assert "kernel is not on this machine" in line
    assert "Next: scripts/get-uml" in line
    assert "Traceback" not in done.stderr
    assert not labs.exists()


@root
def test_nothing_is_enabled_that_is_not_installed(labs: Path) -> None:
    """A label that nobody reads would wait for ever."""
    done = lab("up", "--enabled")
    assert (done.exit_code, labs.exists()) == (2, False)
    assert "say --installed as well" in done.stderr


@root
@pytest.mark.parametrize("verb", ["up", "down"])
def test_a_folder_that_merely_has_the_name_stays(labs: Path, verb: str) -> None:
    """With what is in it; and it is said."""
    (labs / "mine").mkdir(parents=True)
    (labs / "mine/precious").write_text("")
    done = lab(verb, "--name", "mine")
    assert done.exit_code == 1
    assert "no lab made what has this lab's name" in only_line(done)
    assert (labs / "mine/precious").exists()


@root
def test_down_ends_quietly_where_nothing_is_up(labs: Path) -> None:
    """There is nothing to end; what a crash has left is removed."""
    assert lab("down").exit_code == 0
    folder, lock = folders.create("lab")
    os.close(lock)
    assert (lab("down").exit_code, folder.exists()) == (0, False)


@root
@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"process": 1}', "\x00"])
@pytest.mark.parametrize("verb", ["status", "exec", "capture"])
def test_a_damaged_record_is_one_line(labs: Path, verb: str, content: str) -> None:
    """With the file, and the way to end such a lab."""
    folder, lock = folders.create("lab")
    (folder / RECORD).write_text(content)
    done = lab(verb)
    assert done.exit_code == 1
    assert only_line(done).startswith(f"error: cannot read what the lab has written down ({folder / RECORD}): ")
    assert only_line(done).endswith("Next: `wirecrypt lab down --name lab` ends this lab")
    os.close(lock)


@root
@pytest.mark.parametrize("own", [True, False], ids=["its own process", "a later process of its number"])
def test_down_ends_the_very_process_that_wrote_the_record(labs: Path, monkeypatch: pytest.MonkeyPatch, own: bool) -> None:  # noqa: FBT001
    """Where the supervisor does not answer; a number alone is nobody's."""
    monkeypatch.setattr(commands, "DEADLINE", 30.0 if own else 0.5)
    folder, lock = folders.create("lab")
    os.close(lock)
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(folder)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "held\n"
        record = dict.fromkeys(FIELDS, "") | {"process": holder.pid, "began": began(holder.pid) - (not own)}
        (folder / RECORD).write_text(json.dumps(record))
        try:
            if own:
                commands.down("lab")
                assert (holder.wait(), folder.exists()) == (0, False)
            else:
                with pytest.raises(TimedOut):
                    commands.down("lab")
                assert (holder.poll(), folder.exists()) == (None, True)
        finally:
            holder.kill()
