"""What a process sees: a node's disk, network and host name; a pod's network; a container's volumes and privileges.

A node or pod is a paused process that holds its namespaces, as the pause container does on a real node. Its process id is
written below `REGISTRY`, under its name.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wirecrypt.lab.guest import syscalls

REGISTRY = Path("/run/lab")
HOST = "/.host"
MODULES = "/usr/lib/modules"
STAGE = "/mnt"
PATH_MTU_KNOWN = "86400"  # seconds; a kernel that asks again, after ten minutes, has a full packet refused: no test could count
COVERED = ("/run", "/var/lib", "/tmp", "/sys/fs/bpf")  # noqa: S108  # what a container sees only as its own volumes


def resolve(name: str) -> int:
    """Process id that holds the namespaces called *name*; `guest` is the guest itself, a number stands for itself."""
    if name == "guest":
        return 1
    if name.isdigit():
        return int(name)
    try:
        return int(_entry(name).read_text())
    except FileNotFoundError:
        raise LookupError(f"no node, pod or container is called {name}; there are: {', '.join(names())}") from None


def names() -> list[str]:
    """Return all nodes, pods and containers, sorted."""
    return sorted(entry.name.replace(":", "/") for entry in (REGISTRY / "names").glob("*"))


def register(name: str, pid: int) -> None:
    """Remember that process *pid* holds the namespaces called *name*."""
    entry = _entry(name)
    entry.parent.mkdir(parents=True, exist_ok=True)
    entry.write_text(str(pid))


def forget(name: str) -> None:
    """Remove *name* from the registry."""
    _entry(name).unlink(missing_ok=True)


def _entry(name: str) -> Path:
    return REGISTRY / "names" / name.replace("/", ":")


def become_node(name: str, shares: list[str], boot_id: str) -> None:
    """Turn the calling process into node *name*: own network, host name, /run, /sys, and a disk that outlives it."""
    syscalls.unshare(syscalls.CLONE_NEWNS | syscalls.CLONE_NEWNET | syscalls.CLONE_NEWUTS)
    syscalls.mount("", "/", flags=syscalls.MS_REC | syscalls.MS_PRIVATE)
    socket.sethostname(name)
    disk, root = REGISTRY / "disks" / name, REGISTRY / "roots" / name
    for folder in (disk / "upper", disk / "work", root):
        folder.mkdir(parents=True, exist_ok=True)
    syscalls.mount("node", str(root), "overlay", 0, f"lowerdir={HOST},upperdir={disk}/upper,workdir={disk}/work")
    for kind, target, options in (
        ("proc", "proc", ""),
        ("sysfs", "sys", ""),
        ("bpf", "sys/fs/bpf", "mode=700"),
        ("cgroup2", "sys/fs/cgroup", ""),
        ("tmpfs", "run", "mode=755"),
        ("tmpfs", "tmp", "mode=1777"),
    ):
        syscalls.mount(kind, f"{root}/{target}", kind, 0, options)
    for path in ("/dev", MODULES, *shares):
        if Path(path).is_dir():
            (root / path[1:]).mkdir(parents=True, exist_ok=True)
            syscalls.bind(path, f"{root}{path}")
    for above in {parent for share in shares for parent in Path(share).parents}:
        (root / str(above)[1:]).chmod(0o755)
    boot = root / "run/boot_id"
    boot.write_text(boot_id + "\n")
    syscalls.bind(str(boot), str(root / "proc/sys/kernel/random/boot_id"))
    syscalls.pivot(str(root))
    syscalls.link_up("lo")


def become_pod(node: str, name: str) -> None:
    """Turn the calling process into pod *name* on *node*: the node's disk, a network of its own with the loopback link up."""
    syscalls.enter(resolve(node))
    syscalls.unshare(syscalls.CLONE_NEWNS | syscalls.CLONE_NEWNET | syscalls.CLONE_NEWUTS)
    syscalls.mount("", "/", flags=syscalls.MS_REC | syscalls.MS_PRIVATE)
    socket.sethostname(name)
    syscalls.mount("sys", "/sys", "sysfs")
    syscalls.link_up("lo")
    for scope in ("all", "default"):
        Path(f"/proc/sys/net/ipv6/conf/{scope}/accept_dad").write_text("0")
    for family in ("ipv4", "ipv6"):
        Path(f"/proc/sys/net/{family}/route/mtu_expires").write_text(PATH_MTU_KNOWN)


@dataclass(frozen=True, slots=True)
class Container:
    """What sets a container's process apart: *mounts* as (source, target, read-only), user, capabilities, read-only root.

    Without *own_disk* only the privileges are taken: for one more process in a container that runs.
    """

    mounts: list[tuple[str, str, bool]] = field(default_factory=list)
    uid: int = 0
    gid: int = 0
    groups: list[int] = field(default_factory=list)
    capabilities: list[int] | None = None
    new_privileges: bool = True
    read_only_root: bool = False
    own_disk: bool = True
    shares: list[str] = field(default_factory=list)

    @classmethod
    def parse(cls, document: dict[str, Any]) -> Container:
        """Read what `asdict` and JSON made of a Container."""
        mounts = [(source, target, read_only) for source, target, read_only in document["mounts"]]
        return cls(**{**document, "mounts": mounts})

    def enter(self) -> None:
        """Give the calling process, which sees a node or pod, this container's view of the disk and its privileges."""
        if self.own_disk:
            syscalls.unshare(syscalls.CLONE_NEWNS)
            syscalls.mount("", "/", flags=syscalls.MS_REC | syscalls.MS_PRIVATE)
            self._mount()
        self._give_up_privileges()

    def _mount(self) -> None:
        shares = [(share, share, False) for share in self.shares if share.startswith(COVERED)]
        mounts = [(source, os.path.realpath(target), read_only) for source, target, read_only in self.mounts]
        wanted = sorted([*shares, *mounts], key=_target)  # what is above comes first, or it would hide what is below
        syscalls.mount("stage", STAGE, "tmpfs")
        for number, (source, target, _) in enumerate(wanted):
            _make_target(source, f"{STAGE}/{number}")
            syscalls.bind(source, f"{STAGE}/{number}")
            if not target.startswith(COVERED):
                _make_target(source, target)
        for path in COVERED:
            syscalls.mount("empty", path, "tmpfs", 0, "mode=1777" if path == "/tmp" else "mode=755")  # noqa: S108
        for number, (_, target, _) in enumerate(wanted):
            _make_target(f"{STAGE}/{number}", target)
            syscalls.mount(f"{STAGE}/{number}", target, flags=syscalls.MS_MOVE)
        syscalls.unmount(STAGE)
        for target in [target for _, target, read_only in wanted if read_only]:
            syscalls.make_read_only(target)
        if self.read_only_root:
            for path in {"/", *COVERED} - {target for _, target, _ in wanted}:
                syscalls.make_read_only(path)

    def _give_up_privileges(self) -> None:
        if self.capabilities is not None:
            syscalls.drop_capabilities(frozenset(self.capabilities))
        if not self.new_privileges:
            syscalls.no_new_privileges()
        os.setgroups(self.groups)
        os.setresgid(self.gid, self.gid, self.gid)
        os.setresuid(self.uid, self.uid, self.uid)


def _target(mount: tuple[str, str, bool]) -> str:
    return mount[1]


def _make_target(source: str, target: str) -> None:
    """Make an empty folder or file, as *source* is, to mount it on."""
    if Path(source).is_dir():
        Path(target).mkdir(parents=True, exist_ok=True)
    else:
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        Path(target).touch()
