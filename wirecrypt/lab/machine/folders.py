"""State folders of labs: one per lab, locked while a process of that lab lives, and removed by nobody who cannot prove it.

All that a lab makes on this machine is its folder and processes that end with it. The file `lock` in the folder records that a
lab of this name made just this folder: with its device and inode, so that a copy is none. What merely has a lab's name has no
such record: it is somebody's, and stays as it is. A folder with a record and without a holder is left over, and removed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import shutil
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

from wirecrypt.errors import InputError, LabError

if TYPE_CHECKING:
    from collections.abc import Iterator

LOCK: Final = "lock"
LONGEST: Final = 40  # characters of a name
_NAME: Final = re.compile(rf"[a-z0-9-]{{1,{LONGEST}}}")
_BASE: Final = re.compile(r"/[A-Za-z0-9/._+-]{0,45}")  # with a name and a socket's, it fits into the 107 bytes of unix(7)
_NO_WAIT: Final = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # what is there may be anything, a pipe too


def base() -> Path:
    """Folder that holds all labs' state folders; InputError for one that paths of sockets cannot lead to."""
    path = os.environ.get("WIRECRYPT_LAB_DIR") or "/run/wirecrypt-lab"
    if not _BASE.fullmatch(path):
        hint = "an absolute path of at most 46 letters, digits and . _ + - /"
        raise InputError("take WIRECRYPT_LAB_DIR as the folder of labs", what=path, answer="not possible", hint=hint)
    return Path(path)


def place(name: str) -> Path:
    """Return where the state folder of lab *name* is, or would be.

    Raises InputError for what is no name, LabError for who is not root: nobody else makes, sees or ends a lab.
    """
    if not _NAME.fullmatch(name):
        hint = f"1 to {LONGEST} of a-z, 0-9 and -"
        raise InputError("take the name for a lab", what=name, answer="no such name is possible", hint=hint)
    if os.geteuid() != 0:
        raise LabError("a lab needs root", what=name, answer=f"this is user {os.geteuid()}", hint="run it as root")
    return base() / name


def create(name: str = "") -> tuple[Path, int]:
    """Make the state folder of lab *name* (default: a random one); return it with the descriptor that holds its lock.

    LabError when a lab of this name is up, something else has the name, or the folder cannot be made.
    """
    folder = place(name or f"wc-{secrets.token_hex(4)}")
    try:
        base().mkdir(mode=0o700, parents=True, exist_ok=True)
        with _all_labs():
            _remove_unheld()
            if os.path.lexists(folder):
                raise _taken(folder)
            folder.mkdir(mode=0o700)
            return folder, _claim(folder)
    except OSError as error:
        hint = "see that there is a folder that can be written, and room"
        raise LabError("cannot make the lab's folder", what=str(folder), answer=str(error), hint=hint) from error


def refuse_taken(folder: Path) -> None:
    """Raise LabError when something is in the place of *folder*."""
    with _all_labs():
        if os.path.lexists(folder) and not _left_over(folder):
            raise _taken(folder)


def refuse_foreign(folder: Path) -> None:
    """Raise LabError when something is in the place of *folder* that no lab made."""
    with _all_labs():
        if os.path.lexists(folder) and not recorded(folder):
            raise _taken(folder)


def remove(folder: Path) -> bool:
    """Remove what an ended lab has left, and return whether nothing is there; LabError for what is no lab's, or not ended."""
    with _all_labs():
        if not os.path.lexists(folder):
            return True
        if not _left_over(folder):
            raise _taken(folder)
        return _erase(folder)


def remove_leftovers() -> list[str]:
    """Remove the folders of all labs that ended without cleaning up; return their names."""
    with _all_labs():
        return _remove_unheld()


def give_back(folder: Path, descriptor: int) -> None:
    """Remove *folder* as the holder of its lock; where another one has the place by now, nothing is done."""
    with contextlib.suppress(OSError):
        if os.path.samestat((folder / LOCK).lstat(), os.fstat(descriptor)):
            _erase(folder)


def held(folder: Path) -> bool:
    """Return whether a living process holds *folder*."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        descriptor = os.open(folder / LOCK, os.O_RDONLY | _NO_WAIT)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
    return False


def recorded(folder: Path) -> bool:
    """Return whether a lab of this name recorded that it made just this folder, for this user."""
    try:
        found = folder.lstat()
        descriptor = os.open(folder / LOCK, os.O_RDONLY | _NO_WAIT)
        try:
            record = os.read(descriptor, 1000)
        finally:
            os.close(descriptor)
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and record == _record(folder)


def _record(folder: Path) -> bytes:
    found = folder.lstat()
    return f"wirecrypt lab {folder.name} made {found.st_dev}:{found.st_ino}\n".encode()


def _claim(folder: Path) -> int:
    """Record that *folder* is this lab's and return the descriptor that holds the lock; what fails leaves no folder."""
    try:
        descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        os.write(descriptor, _record(folder))
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return descriptor


def _taken(folder: Path) -> LabError:
    if recorded(folder):
        hint = f"`wirecrypt lab down --name {folder.name}` ends it"
        return LabError("a lab of this name is up already", what=folder.name, hint=hint)
    hint = "look what it is and remove it yourself, or take another name"
    return LabError("no lab made what has this lab's name", what=str(folder), answer="it is left as it is", hint=hint)


def _left_over(folder: Path) -> bool:
    return recorded(folder) and not held(folder)


@contextlib.contextmanager
def _all_labs() -> Iterator[None]:
    """Hold the lock over the list of labs, so that nobody judges a folder that is being made; no list, no labs."""
    if not base().is_dir():
        yield
        return
    try:
        descriptor = os.open(base() / ".lock", os.O_RDWR | os.O_CREAT | _NO_WAIT, 0o600)
    except OSError as error:
        raise LabError("cannot lock the list of labs", what=str(base()), answer=str(error)) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _remove_unheld() -> list[str]:
    left = [folder for folder in sorted(base().glob("*")) if _left_over(folder)]
    return [folder.name for folder in left if _erase(folder)]


def _erase(folder: Path) -> bool:
    """Remove *folder*, its record last: what could not be removed is known for a lab's. Return whether all of it is gone."""
    for entry in folder.iterdir():
        if entry.name != LOCK:
            _remove_entry(entry)
    if [entry.name for entry in folder.iterdir()] != [LOCK]:
        return False
    (folder / LOCK).unlink()
    folder.rmdir()
    return True


def _remove_entry(entry: Path) -> None:
    if entry.is_dir() and not entry.is_symlink():
        shutil.rmtree(entry, ignore_errors=True)
    else:
        entry.unlink(missing_ok=True)
