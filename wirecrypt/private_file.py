"""Files for this process's user alone: read only when nobody else could have written them, replaced whole or not at all.

A reader, also one after a power cut, sees the old content or the new one. What is read is never part of an error.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from wirecrypt.errors import StateError

MODE: Final = 0o600
_ASIDE: Final = ".unreadable"
_HEX: Final = b"0123456789abcdefABCDEF"
_BLANK: Final = bytes.maketrans(_HEX, b"0" * len(_HEX))
_SAFE: Final = os.O_NOFOLLOW | os.O_CLOEXEC


def read(path: Path) -> bytes | None:
    """Return the content of *path*, None when there is no such file.

    Raises `StateError` for anything but a regular file of this user with mode 0600 and one name, or when the system
    refuses to read it.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | _SAFE)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _refused("read", path, error) from error
    try:
        _require_private(path, os.fstat(handle))
        with os.fdopen(handle, "rb", closefd=False) as file:
            return file.read()
    except OSError as error:
        raise _refused("read", path, error) from error
    finally:
        os.close(handle)


def replace(path: Path, content: bytes, *, name: str = "new") -> None:
    """Replace *path* by a file with *content*, mode 0600, on stable storage when this returns.

    The new file is complete before it gets its name. Until then it has a name that ends in *name*: where several processes
    write at a time, each needs another. Raises `StateError` when the system refuses; the old file stays.
    """
    new = path.with_name(f".{path.name}.{name}")
    try:
        new.unlink(missing_ok=True)
        _write(new, content)
        new.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise _refused("replace", path, error) from error
    finally:
        new.unlink(missing_ok=True)


def rename(path: Path, to: Path) -> None:
    """Give *path* another name in its folder, durably. Raises `StateError` when the system refuses."""
    try:
        path.rename(to)
        _sync_folder(path.parent)
    except OSError as error:
        raise _refused("rename", path, error) from error


def aside(path: Path) -> Path:
    """Return the name that *path* gets when it cannot be read, and is kept for a person to look at."""
    return path.with_name(f"{path.name}{_ASIDE}")


def blank(path: Path) -> None:
    """Make every hex digit in *path* a 0, so that no key is left in it, and its mode 0600; it keeps its owner and time.

    What is no regular file, or has another name as well, stays as it is. Raises `StateError` when the system refuses.
    """
    try:
        found = path.lstat()
        if stat.S_ISREG(found.st_mode) and found.st_nlink == 1:
            path.chmod(MODE)
            _overwrite(path, found)
    except OSError as error:
        raise _refused("blank", path, error) from error


def remove(path: Path) -> None:
    """Remove *path*, durably; one that is gone already is no failure. Raises `StateError` when the system refuses."""
    try:
        path.unlink(missing_ok=True)
        _sync_folder(path.parent)
    except OSError as error:
        raise _refused("remove", path, error) from error


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file *path* for the time of the block; the kernel gives it back when the process ends.

    Raises `StateError` at once when another process (or another block of this one) holds it.
    """
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | _SAFE, MODE)
    except OSError as error:
        raise _refused("lock", path, error) from error
    try:
        _lock(handle, path)
        yield
    finally:
        os.close(handle)


def _lock(handle: int, path: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        hint = "stop the other agent of this node, or give this one a state folder of its own"
        raise StateError("lock a file", what=str(path), answer="another agent holds it", hint=hint) from error
    except OSError as error:
        raise _refused("lock", path, error) from error


def _write(path: Path, content: bytes) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _SAFE, MODE)
    with os.fdopen(handle, "wb") as file:
        os.fchmod(handle, MODE)  # an umask may have taken more than it should
        file.write(content)
        file.flush()
        os.fsync(handle)


def _overwrite(path: Path, found: os.stat_result) -> None:
    handle = os.open(path, os.O_RDWR | os.O_NONBLOCK | _SAFE)
    with os.fdopen(handle, "r+b") as file:
        content = file.read()
        file.seek(0)
        file.write(content.translate(_BLANK))
        file.flush()
        os.fsync(handle)
        os.utime(handle, ns=(found.st_atime_ns, found.st_mtime_ns))


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | _SAFE)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _require_private(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        problem = "is no regular file"
    elif found.st_uid != os.geteuid():
        problem = f"belongs to user {found.st_uid} instead of {os.geteuid()}"
    elif stat.S_IMODE(found.st_mode) != MODE:
        problem = f"has mode {stat.S_IMODE(found.st_mode):04o} instead of {MODE:04o}"
    elif found.st_nlink != 1:
        problem = f"has {found.st_nlink} names instead of one"
    else:
        return
    hint = "somebody else may have read or written it: find out who, remove it and restart the agent"
    raise StateError("read a file", what=str(path), answer=problem, hint=hint)


def _refused(tried: str, path: Path, error: OSError) -> StateError:
    hint = "the agent needs a folder of its own that it may write"
    return StateError(f"{tried} a file", what=str(path), answer=error.strerror or type(error).__name__, hint=hint)
