"""A lab removes what a lab recorded that it made, and nothing else; names are refused before anything is made."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from wirecrypt.errors import InputError, LabError
from wirecrypt.lab.machine import folders

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a lab needs root")

BAD = ["", ".", "..", "../x", "/tmp/x", "a/b", "LAB", "a b", "a\n", "a_b", "ä", "a" * 41, "$(id)", "a'b", "a.b"]  # noqa: S108


@pytest.fixture
def labs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a folder for labs, with a path that sockets can have."""
    with tempfile.TemporaryDirectory(prefix="wirecrypt-", dir="/tmp") as folder:
        monkeypatch.setenv("WIRECRYPT_LAB_DIR", f"{folder}/labs")
        yield Path(folder) / "labs"


def left_over(name: str) -> Path:
    """Return the folder of a lab whose processes are all gone."""
    folder, lock = folders.create(name)
    (folder / "deep").mkdir()
    (folder / "deep/file").write_text("")
    (folder / "link").symlink_to("/")
    os.close(lock)
    return folder


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_name_is_refused_before_anything_is_made(labs: Path, name: str) -> None:
    """Wherever it comes from: all that a lab does begins with its place."""
    with pytest.raises(InputError, match="no such name is possible"):
        folders.place(name)
    if name:
        with pytest.raises(InputError):
            folders.create(name)
    assert not labs.exists()


@pytest.mark.parametrize("name", ["a", "-", "-a", "0", "wc-12ab", "a" * folders.LONGEST])
def test_names_are_lower_case_letters_digits_and_hyphens(labs: Path, name: str) -> None:
    """Up to a length with which paths of sockets are short enough."""
    assert folders.place(name) == labs / name
    longest = Path("/" + "a" * 45) / ("a" * folders.LONGEST) / "uml/XXXXXX/mconsole"
    assert len(str(longest)) <= 107


@pytest.mark.parametrize("path", ["labs", "./labs", "/tmp/a b", "/tmp/a'b", "/tmp/$x", "/" + "a" * 46, "/tmp/a\nb"])  # noqa: S108
def test_a_folder_of_labs_that_a_guest_could_not_be_told_is_refused(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    """It goes into command lines, files that a shell reads, and paths of sockets."""
    monkeypatch.setenv("WIRECRYPT_LAB_DIR", path)
    with pytest.raises(InputError, match="WIRECRYPT_LAB_DIR"):
        folders.place("lab")


def test_what_a_lab_has_left_is_removed(labs: Path) -> None:
    """Its own alone, when it is asked for by name; a link in it leads nowhere."""
    (one, lock), other = folders.create("one"), left_over("other")
    os.close(lock)
    assert folders.remove(one)
    assert folders.remove(one)  # nothing there is no error
    assert (one.exists(), (other / "deep/file").exists()) == (False, True)


def test_the_next_lab_removes_what_all_have_left(labs: Path) -> None:
    """Whatever they were called; and says which."""
    locks = [folders.create(name)[1] for name in ("one", "other")]
    for lock in locks:
        os.close(lock)
    _, lock = folders.create("next")
    assert sorted(entry.name for entry in labs.iterdir()) == [".lock", "next"]
    os.close(lock)
    assert folders.remove_leftovers() == ["next"]


def test_a_lab_that_lives_is_not_removed(labs: Path) -> None:
    """Neither by name nor as a leftover; and its name is taken."""
    folder, lock = folders.create("lab")
    for attempt in (lambda: folders.remove(folder), lambda: folders.create("lab"), lambda: folders.refuse_taken(folder)):
        with pytest.raises(LabError, match="a lab of this name is up already"):
            attempt()
    assert (folders.held(folder), folders.remove_leftovers()) == (True, [])
    folders.give_back(folder, lock)
    os.close(lock)
    assert not folder.exists()


def a_folder(place: Path) -> None:
    place.mkdir()
    (place / "precious").write_text("")


def an_empty_folder(place: Path) -> None:
    place.mkdir()


def a_file(place: Path) -> None:
    place.write_text("precious")


def a_link(place: Path) -> None:
    place.symlink_to(place.parent.parent)


def a_link_to_a_lab(place: Path) -> None:
    place.symlink_to(left_over("real"))


def an_old_lock(place: Path) -> None:
    a_folder(place)
    (place / "lock").write_text("")


def a_pipe_for_a_lock(place: Path) -> None:
    a_folder(place)
    os.mkfifo(place / "lock")


def a_linked_lock(place: Path) -> None:
    a_folder(place)
    (place / "lock").symlink_to(left_over("real") / "lock")


def a_copy_of_a_lab(place: Path) -> None:
    shutil.copytree(left_over("real"), place, symlinks=True)


def a_renamed_lab(place: Path) -> None:
    left_over("real").rename(place)


def somebody_elses(place: Path) -> None:
    os.chown(left_over(place.name), 65534, 65534)


def contents(place: Path) -> list[Path]:
    return [] if place.is_symlink() else sorted(place.rglob("*"))


FOREIGN = [
    a_folder, an_empty_folder, a_file, a_link, a_link_to_a_lab, an_old_lock, a_pipe_for_a_lock, a_linked_lock,
    a_copy_of_a_lab, a_renamed_lab, somebody_elses,
]  # fmt: skip


@pytest.mark.parametrize("make", FOREIGN, ids=lambda make: make.__name__)
def test_what_merely_has_a_labs_name_is_left_alone_and_said(labs: Path, make: Callable[[Path], None]) -> None:
    """By who asks for it to be removed, by who wants the name, and by who removes leftovers."""
    labs.mkdir()
    place = labs / "lab"
    make(place)
    before, inside = place.lstat(), contents(place)
    for attempt in (folders.remove, folders.refuse_foreign, folders.refuse_taken, lambda each: folders.create(each.name)):
        with pytest.raises(LabError, match=r"no lab made what has this lab's name .*it is left as it is"):
            attempt(place)
    folders.remove_leftovers()
    assert os.path.samestat(before, place.lstat())
    assert contents(place) == inside


def test_the_list_of_labs_destroys_no_file(labs: Path) -> None:
    """Not one that is called as its lock is, nor what a link of that name leads to."""
    labs.mkdir()
    (labs / ".lock").write_text("precious")
    os.close(folders.create("one")[1])
    assert (labs / ".lock").read_text() == "precious"
    (labs / ".lock").unlink()
    (labs.parent / "elsewhere").write_text("precious")
    (labs / ".lock").symlink_to(labs.parent / "elsewhere")
    with pytest.raises(LabError, match="cannot lock the list of labs"):
        folders.create("two")
    assert (labs.parent / "elsewhere").read_text() == "precious"


def test_of_two_that_want_one_name_at_once_one_gets_it(labs: Path) -> None:
    """The other is told."""

    def attempt(_: int) -> int:
        try:
            return folders.create("lab")[1]
        except LabError:
            return -1

    with ThreadPoolExecutor(8) as pool:
        locks = [lock for lock in pool.map(attempt, range(8)) if lock >= 0]
    assert len(locks) == 1
    os.close(locks[0])


FULL = """
import resource, signal, sys
from wirecrypt.errors import LabError
from wirecrypt.lab.machine import folders
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
try:
    folders.create("lab")
except LabError as error:
    print(error)
"""


def test_a_folder_without_room_is_an_error_and_leaves_nothing(labs: Path) -> None:
    """What cannot be recorded as made is not made."""
    done = subprocess.run([sys.executable, "-c", FULL], capture_output=True, text=True, check=True, env=dict(os.environ))
    assert "cannot make the lab's folder" in done.stdout
    assert "Next: see that there is a folder that can be written, and room" in done.stdout
    assert [entry.name for entry in labs.iterdir()] == [".lock"]


def test_a_file_in_the_place_of_the_folder_of_labs_is_an_error(labs: Path) -> None:
    """Nothing is made, and it stays."""
    labs.write_text("precious")
    with pytest.raises(LabError, match="cannot make the lab's folder"):
        folders.create("lab")
    assert labs.read_text() == "precious"
