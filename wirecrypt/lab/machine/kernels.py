"""Vehicles: which kernel carries the lab's nodes, and how it is started.

`uml`   user-mode Linux, a kernel that is a program: the prebuilt one of the distribution or an own build, named by its version.
`host`  the machine's own kernel, in namespaces of the lab's own. It is refused where that kernel has no ESP. Root in such a lab
        is root of that kernel: modules that are loaded stay, and settings outside network namespaces are the machine's.
`qemu`  a stock distribution kernel under emulation, from scripts/get-qemu: 4 to 25 times slower, with BTF and the BPF JIT.
`auto`  `uml` where a prebuilt kernel with tcx (6.6 or newer) is in the cache, and for a named version. Else `host`, when it has
        tcx, can carry a lab and no IPsec of someone else is on the machine; else `uml`. Without tcx a link loses packets at the
        moment programs are attached to it.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wirecrypt.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

DISTRIBUTION_MODULES = Path("/usr/lib/uml/modules")
EMULATOR = "qemu-system-x86_64"
VEHICLES = ("auto", "host", "uml", "qemu")
TCX = (6, 6)  # the first kernel that attaches programs to links under load without losing a packet


def cache() -> Path:
    """Folder in which the scripts keep what they download and build."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "wirecrypt"


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel: its *version* in two numbers, its program, *arguments* that it wants, its modules' folder, its *vehicle*.

    The program of `qemu` is a folder with `vmlinuz` and `initrd`; `host` has none. *traced*: it runs its processes under
    ptrace, and knows no more of their processor state than `lab.xstate` says.
    """

    version: str
    program: Path
    arguments: tuple[str, ...]
    modules: Path = DISTRIBUTION_MODULES
    vehicle: str = "uml"
    traced: bool = False


def processors() -> int:
    """Return how many processors a guest gets: two, where this process may use as many."""
    return min(2, len(os.sched_getaffinity(0)))


def available() -> list[Kernel]:
    """Return the kernels on this machine, oldest first."""
    found = sorted((cache() / "kernels").glob("linux-*.*"), key=_order)
    return [_kernel(path) for path in found if os.access(path, os.X_OK)]


def find(vehicle: str = "auto", version: str = "", *, require_esp: bool = True) -> Kernel:
    """Return the vehicle's kernel *version* (default: the prebuilt one); LabError tells what is missing and how to get it.

    Without *require_esp* the machine's own kernel is good enough even when it has no ESP: nodes and pods can be tried on it.
    """
    if vehicle not in VEHICLES:
        raise LabError("no such vehicle", what=vehicle, hint="one of " + ", ".join(VEHICLES))
    wanted = version or os.environ.get("WIRECRYPT_LAB_KERNEL", "")
    if vehicle == "auto":
        vehicle = "uml" if wanted else _choose()
    if vehicle == "host":
        return _host(version, require_esp=require_esp)
    if vehicle == "qemu":
        return _pick(emulated(), version, "scripts/get-qemu fetches QEMU and one kernel")
    hint = "scripts/get-uml installs prebuilt kernels, scripts/build-kernel builds 7.2"
    return _pick(prebuilt() + available() if wanted else prebuilt(), wanted, hint)


def prebuilt() -> list[Kernel]:
    """Return the kernels that nobody has to build, oldest first; the newest is what a lab runs on when none is named."""
    own = [kernel for kernel in available() if kernel.program.resolve().parent != cache() / "kernels"]
    found = sorted((cache() / "kernels/prebuilt").glob("linux-*.*"), key=_order)
    return own + [_kernel(path) for path in found if os.access(path, os.X_OK)]


def emulated() -> list[Kernel]:
    """Return the stock kernels that QEMU can boot here, oldest first; none when QEMU is not installed."""
    if shutil.which(EMULATOR) is None:
        return []
    found = sorted((cache() / "qemu").glob("linux-*.*"), key=_order)
    folders = [folder for folder in found if (folder / "initrd").exists()]
    return [Kernel(folder.name.removeprefix("linux-"), folder, (), folder / "lib/modules", "qemu") for folder in folders]


def choose(versions: Iterable[str], own: str, obstacles: Callable[[], Sequence[str]]) -> str:
    """Return what `auto` takes, `uml` or `host`, where *versions* are prebuilt and *own* is that of the machine's kernel.

    *obstacles* is asked only when the answer depends on it: why no lab should borrow the machine's kernel, empty when it may.
    """
    if any(_numbers(version) >= TCX for version in versions):
        return "uml"
    return "host" if _numbers(own) >= TCX and not obstacles() else "uml"


def _choose() -> str:
    from wirecrypt.lab.machine import hostkernel  # noqa: PLC0415 - it imports the kernel's adapters, and few runs need them

    versions = [kernel.version for kernel in prebuilt()]
    return choose(versions, hostkernel.version(), lambda: hostkernel.objections() or hostkernel.foreign())


def _host(version: str, *, require_esp: bool) -> Kernel:
    from wirecrypt.lab.machine import hostkernel  # noqa: PLC0415 - as above

    own = hostkernel.version()
    hint = "use --vehicle uml: it needs nothing of the machine's kernel"
    if version not in {"", own}:
        raise LabError("vehicle host has one kernel, the machine's own", what=version, answer=f"it is {own}", hint=hint)
    if reasons := hostkernel.objections(require_esp=require_esp):
        answer = "; ".join(reasons)
        raise LabError("the machine's own kernel cannot carry the lab", what=f"Linux {own}", answer=answer, hint=hint)
    return Kernel(own, Path("/"), (), Path("/usr/lib/modules"), "host")


def _pick(kernels: list[Kernel], wanted: str, hint: str) -> Kernel:
    """Return the kernel of version *wanted* (empty: the newest)."""
    for kernel in reversed(kernels):
        if wanted in {"", kernel.version}:
            return kernel
    have = ", ".join(dict.fromkeys(kernel.version for kernel in kernels)) or "none"
    raise LabError("kernel is not on this machine", what=wanted or "any", answer=f"there are: {have}", hint=hint)


def _order(path: Path) -> tuple[int, ...]:
    return _numbers(path.name.removeprefix("linux-"))


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())


def _kernel(path: Path) -> Kernel:
    version = path.name.removeprefix("linux-")
    modern = _order(path) >= (7, 0)
    arguments = ("seccomp=on", f"ncpus={processors()}") if modern else ()
    unpacked = path.resolve().parent / "lib/modules"
    modules = unpacked if unpacked.is_dir() else DISTRIBUTION_MODULES
    return Kernel(version, path, arguments, modules, traced=not modern)


def tested() -> list[str]:
    """Return the versions that tests run on when none is named: the oldest and the newest there are."""
    found = [kernel.version for kernel in available()]
    return sorted({found[0], found[-1]}, key=found.index) if found else ["6.1"]
