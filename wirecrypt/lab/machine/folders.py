"""State folders of labs: one per lab, locked by its supervisor; a folder whose lock nobody holds is left over and removed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from wirecrypt.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Iterator


def base() -> Path:
    """Folder that holds all labs' state folders."""
    return Path(os.environ.get("WIRECRYPT_LAB_DIR") or "/run/wirecrypt-lab")


def create(name: str = "") -> tuple[Path, int]:
    """Make the state folder of lab *name* (default: a random one); return it with the descriptor that holds its lock.

    LabError when a lab of this name is up.
    """
    folder = base() / (name or f"wc-{secrets.token_hex(4)}")
    try:
        base().mkdir(mode=0o700, parents=True, exist_ok=True)
        with _all_labs():
            _remove_unheld()
            folder.mkdir(mode=0o700)
            descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            return folder, descriptor
    except FileExistsError:
        hint = f"end it with `wirecrypt lab down --name {folder.name}`"
        raise LabError("a lab of this name is up already", what=folder.name, hint=hint) from None
    except OSError as error:
        raise LabError("cannot make the lab's folder", what=str(folder), answer=str(error), hint="run as root") from error


def remove_leftovers() -> list[str]:
    """Remove folders of labs that ended without cleaning up; return their names."""
    if not base().is_dir():
        return []
    with _all_labs():
        return _remove_unheld()


@contextlib.contextmanager
def _all_labs() -> Iterator[None]:
    """Hold the lock over the list of labs, so that no folder is taken for a leftover before its own lock is held."""
    with (base() / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _remove_unheld() -> list[str]:
    removed = []
    for folder in sorted(base().glob("*/")):
        if not held(folder):
            shutil.rmtree(folder, ignore_errors=True)
            removed.append(folder.name)
    return removed


def held(folder: Path) -> bool:
    """Return whether a living lab holds *folder*."""
    with contextlib.suppress(FileNotFoundError):
        descriptor = os.open(folder / "lock", os.O_RDWR)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
    return False


def identity(folder: Path) -> tuple[int, ...]:
    """Return what tells this lab's folder from a later one of the same name, empty when there is none."""
    with contextlib.suppress(FileNotFoundError):
        found = (folder / "lock").stat()
        return (found.st_dev, found.st_ino, found.st_mtime_ns)
    return ()
