"""How a guest is started: the command line of each vehicle. Every one ends in the guest's init.sh, with two links to the lab.

`uml` and `qemu` have taps for links. The guest of `host` is a set of namespaces on the machine's own kernel: its links are veth
pairs, whose inner ends init.sh fetches from the supervisor's network namespace through descriptor 9.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from wirecrypt.lab.machine import xstate
from wirecrypt.lab.machine.kernels import EMULATOR, processors

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from wirecrypt.lab.machine.kernels import Kernel

INIT = Path(__file__).parents[1] / "guest/init.sh"
ISOLATE = "--net --mount --pid --uts --ipc --cgroup --fork --kill-child --mount-proc"


def command_line(kernel: Kernel, memory: int, folder: Path, links: Sequence[str]) -> list[str]:
    """Return what starts a guest on *kernel* with *memory* MB, the state folder *folder* and the outer ends *links*."""
    return _VEHICLES[kernel.vehicle](kernel, memory, folder, links)


def peers(kernel: Kernel | None, links: Sequence[str]) -> dict[str, str]:
    """Return the inner end of each link that is to be a veth pair; links that are not named are taps."""
    return {link: f"vec{number}" for number, link in enumerate(links)} if kernel and kernel.vehicle == "host" else {}


def _uml(kernel: Kernel, memory: int, folder: Path, links: Sequence[str]) -> list[str]:
    taps = [f"vec{number}:transport=tap,ifname={tap},depth=64" for number, tap in enumerate(links)]
    return [
        *(xstate.preload() if kernel.traced else ()),
        str(kernel.program), "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "rw", f"mem={memory}M",
        f"uml_dir={folder}/uml/", f"init={INIT}", f"WC_DIR={folder}", *taps, *kernel.arguments, "con=null", "con0=null,fd:1",
        "quiet",
    ]  # fmt: skip


def _host(_: Kernel, __: int, folder: Path, ___: Sequence[str]) -> list[str]:
    """Start init.sh as first process of new namespaces; nothing of our environment and signal settings goes in."""
    script = f"exec 9</proc/self/ns/net; exec unshare {ISOLATE} sh '{INIT}'"
    return ["env", "-i", "--default-signal", f"WC_DIR={folder}", "sh", "-c", script]


def _qemu(kernel: Kernel, memory: int, folder: Path, links: Sequence[str]) -> list[str]:
    """Boot the stock kernel with two views of this machine's disk: one that it may cache, one that it shares with us."""
    devices: list[str] = []
    for number, tap in enumerate(links):
        devices += ["-netdev", f"tap,id=net{number},ifname={tap},script=no,downscript=no,vhost=off"]
        devices += ["-device", f"virtio-net-pci,netdev=net{number},romfile="]
    for tag, access in (("root", ",readonly=on"), ("share", "")):
        devices += ["-fsdev", f"local,id={tag},path=/,security_model=none,multidevs=remap{access}"]
        devices += ["-device", f"virtio-9p-pci,fsdev={tag},mount_tag={tag}"]
    return [
        EMULATOR, "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", str(processors()),
        "-m", f"{memory}M", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio",
        "-device", "virtio-rng-pci", *devices, "-kernel", str(kernel.program / "vmlinuz"),
        "-initrd", str(kernel.program / "initrd"),
        "-append", f"console=ttyS0 quiet panic=-1 WC_DIR={folder} WC_INIT={INIT}", *kernel.arguments,
    ]  # fmt: skip


_VEHICLES: dict[str, Callable[[Kernel, int, Path, Sequence[str]], list[str]]] = {"uml": _uml, "host": _host, "qemu": _qemu}
