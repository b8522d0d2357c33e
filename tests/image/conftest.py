"""The image of this checkout, built once a run by buildah on a base of our own, and removed afterwards.

`--isolation chroot` and the storage driver `vfs` work where no container engine does; both need root. What costs time twice
(the base) stays in the cache; scripts/get-base-image makes it.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from wirecrypt.lab.machine.kernels import cache

ROOT = Path(__file__).resolve().parents[2]
BASE, IMAGE = "localhost/wirecrypt-base", "localhost/wirecrypt"
AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")
SECCOMP = Path("/usr/share/containers/seccomp.json")  # comes with buildah
PIP_CONFIGURATIONS = (Path("/etc/pip.conf"), Path.home() / ".config/pip/pip.conf", Path.home() / ".pip/pip.conf")


class Failed(AssertionError):
    """A command of the build or inside the image failed; its words are the message."""


@dataclass(frozen=True, slots=True)
class Store:
    """A storage folder of buildah's, used by nobody else."""

    folder: Path

    def buildah(self, verb: str, *words: str, prefix: tuple[str, ...] = ()) -> str:
        """Run a verb of buildah on this store and return what it printed; raises `Failed`."""
        driver = os.environ.get("STORAGE_DRIVER", "vfs")
        where = ["--root", str(self.folder / "root"), "--runroot", str(self.folder / "run"), "--storage-driver", driver]
        done = subprocess.run([*prefix, "buildah", *where, verb, *words], capture_output=True, text=True, check=False)
        if done.returncode:
            raise Failed(f"buildah {verb} {' '.join(words)}: {done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}")
        return done.stdout

    def build(self, tag: str, *words: str) -> None:
        """Build an image called *tag*."""
        self.buildah("bud", "--isolation", "chroot", "--layers=false", "--quiet", "-t", tag, *words)


@dataclass(frozen=True, slots=True)
class Image:
    """A container of the built image: `run` runs in it, `root` is its file system."""

    store: Store
    container: str
    root: Path

    def run(self, *argv: str, options: tuple[str, ...] = (), prefix: tuple[str, ...] = ()) -> str:
        """Run a program in it, as its user, and return what it printed; raises `Failed`."""
        words = ("--isolation", "chroot", *options, self.container, "--", *argv)
        return self.store.buildah("run", *words, prefix=prefix)

    def configuration(self) -> dict[str, Any]:
        """Return the part of its description that a container engine obeys."""
        document = json.loads(self.store.buildah("inspect", "--type", "image", IMAGE))
        found: dict[str, Any] = document["OCIv1"]["config"]
        return found

    def size(self) -> int:
        """Return the bytes of its files, as they are, not as blocks."""
        return sum(path.lstat().st_size for path in self.root.rglob("*") if path.is_file() and not path.is_symlink())


@contextmanager
def own_store() -> Iterator[Store]:
    """Lend an empty store in the cache and remove it; what a killed run left is removed first."""
    folder = cache() / "image" / "store"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        try:
            yield Store(folder)
        finally:
            shutil.rmtree(folder)


def secrets(folder: Path) -> Iterator[str]:
    """Yield options that let the build reach the package index as this machine does."""
    if AUTHORITIES.exists():
        yield f"--secret=id=ca,src={AUTHORITIES}"
    found = next((path for path in PIP_CONFIGURATIONS if path.exists()), None)
    if index := os.environ.get("PIP_INDEX_URL"):
        found = folder / "pip.conf"
        found.write_text(f"[global]\nindex-url = {index}\n")
        found.chmod(0o600)
    if found:
        yield f"--secret=id=pip,src={found}"


def build(store: Store) -> None:
    """Build the image of this checkout on the cached base."""
    context = store.folder / "base"
    context.mkdir()
    (context / "Dockerfile").write_text("FROM scratch\nADD base.tar /\n")
    os.link(cache() / "image" / "base.tar", context / "base.tar")
    store.build(BASE, str(context))
    revision = subprocess.run(["git", "-C", ROOT, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout
    arguments = (f"--build-arg=BASE={BASE}", f"--build-arg=REVISION={revision.strip()}")
    store.build(IMAGE, *arguments, *secrets(store.folder), str(ROOT))


def seccomp_profile(folder: Path) -> Path:
    """Write the default filter of system calls as runtimes of today have it: CAP_BPF is enough for bpf().

    So since Docker 23 (moby pull request 43987) and containerd 1.7 (7301); buildah's own of Debian 12 still wants SYS_ADMIN.
    """
    profile = json.loads(SECCOMP.read_text())
    for rule in profile["syscalls"]:
        rule["names"] = [name for name in rule["names"] if name != "bpf"]
    rule = {"names": ["bpf"], "action": "SCMP_ACT_ALLOW", "args": [], "includes": {"caps": ["CAP_BPF"]}, "excludes": {}}
    profile["syscalls"] = [*(rule for rule in profile["syscalls"] if rule["names"]), rule]
    path = folder / "seccomp.json"
    path.write_text(json.dumps(profile))
    return path


@pytest.fixture(scope="session")
def image() -> Iterator[Image]:
    """Return the built image of this checkout, as a container."""
    if os.geteuid():
        pytest.skip("buildah --isolation chroot needs root, and this is user " + str(os.geteuid()))
    subprocess.run([ROOT / "scripts/get-base-image"], check=True)
    with own_store() as store:
        build(store)
        container = store.buildah("from", f"--security-opt=seccomp={seccomp_profile(store.folder)}", IMAGE).strip()
        root = Path(store.buildah("mount", container).strip())
        try:
            yield Image(store, container, root)
        finally:
            store.buildah("umount", container)
            store.buildah("rm", container)
