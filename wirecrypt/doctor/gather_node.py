"""Read what this machine shows: its kernel, marks of others, IPsec objects, counters. Nothing is changed."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from wirecrypt.doctor.facts import LocalMachine, NodeInspection, seen
from wirecrypt.doctor.inspect_node import FORWARD, UNPRIVILEGED_BPF
from wirecrypt.doctor.mark_users import MarkUse, ip_rules, iptables_rules, nft_rules
from wirecrypt.errors import LinkError
from wirecrypt.kernel.bpf.guard import KernelGuard
from wirecrypt.kernel.net.links import KernelLinks
from wirecrypt.kernel.probe import probe
from wirecrypt.kernel.xfrm.adapter import KernelXfrm
from wirecrypt.model.mark import MarkLayout
from wirecrypt.model.spi import Spi
from wirecrypt.model.xfrm import Policy, Sa
from wirecrypt.plan.marks import kept
from wirecrypt.plan.uplinks import unguarded

BPFFS: Final = Path("/sys/fs/bpf")
_SYSCTLS: Final = Path("/proc/sys")
_SECONDS: Final = 20.0
_LOOKS: Final[tuple[tuple[tuple[str, ...], Callable[[str], Iterable[MarkUse]]], ...]] = (
    (("ip", "-j", "rule"), ip_rules),
    (("ip", "-6", "-j", "rule"), ip_rules),
    (("nft", "-j", "list", "ruleset"), nft_rules),
    (("iptables-save",), iptables_rules),
    (("ip6tables-save",), lambda text: iptables_rules(text, "ip6tables")),
)
_LEGACY: Final = (("iptables-legacy-save",), ("ip6tables-legacy-save",))  # next to the first two, where they differ


def gather_machine() -> LocalMachine:
    """Return by what a Node of this machine would be known; every user may see it."""
    names = {socket.gethostname(), os.environ.get("NODE_NAME", "")} - {""}  # the manifest gives the agent's pod its Node's name
    try:
        held = {a for link in KernelLinks().links() for a in link.addresses if not (a.is_loopback or a.is_link_local)}
    except LinkError:
        return LocalMachine(frozenset(names), None)
    return LocalMachine(frozenset(names), frozenset(held))


def gather_node(marks: MarkLayout, bpffs: Path = BPFFS) -> NodeInspection:
    """Return what this machine shows; *marks* is where our field of packet marks is to be. Only root sees most of it."""
    if os.geteuid():
        return NodeInspection(mask=marks.mask, root=False, release=platform.release())
    unseen: dict[str, str] = {}

    in_use = seen(unseen, "marks SAs", lambda: _in_use(marks)) or marks
    return NodeInspection(
        mask=in_use.mask,
        root=True,
        release=platform.release(),
        features=probe(),
        mark_uses=_mark_uses(unseen),
        links=frozenset(name for _, name in socket.if_nameindex()),
        foreign=seen(unseen, "foreign", _foreign),
        sysctls=_sysctls((UNPRIVILEGED_BPF, *FORWARD), unseen),
        stats=seen(unseen, "stats", _stats),
        counters=seen(unseen, "counters", lambda: _counters(bpffs)),
        unguarded=seen(unseen, "unguarded", lambda: _unguarded(bpffs)),
        unseen=unseen,
    )


def _in_use(marks: MarkLayout) -> MarkLayout:
    """Return where the field of packet marks is: where the SAs carry it, whatever the configuration says."""
    with KernelXfrm() as xfrm:
        return kept(marks, [entry.sa for entry in xfrm.list_sas()])[0]


def _mark_uses(unseen: dict[str, str]) -> list[MarkUse]:
    found: list[MarkUse] = []
    for command, understand in (*_LOOKS, *((c, iptables_rules) for c in _LEGACY if shutil.which(c[0]))):
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
            text = done.stdout
            if done.returncode:
                unseen[f"marks {command[0]}"] = (done.stderr.strip() or f"exit status {done.returncode}")[:200]
            else:
                found += understand(text)
        except FileNotFoundError:
            unseen[f"marks {command[0]}"] = "not installed"
        except (OSError, subprocess.TimeoutExpired, ValueError) as error:
            unseen[f"marks {command[0]}"] = str(error)[:200]
    return list(dict.fromkeys(found))


def _foreign() -> Sequence[str]:
    """Return the IPsec objects that are not ours, in words without any key."""
    with KernelXfrm() as xfrm:
        states = [*map(str, xfrm.foreign_sas()), *(_state(e.sa) for e in xfrm.list_sas() if not ours(e.sa))]
        policies = [*map(str, xfrm.foreign_policies()), *(_policy(p) for p in xfrm.list_policies() if not p.ours)]
    return [*states, *policies]


def ours(sa: Sa) -> bool:
    """Return whether an SA can be ours: its reqid is its SPI, which names a node."""
    return sa.reqid == sa.spi and Spi.decode(sa.spi) is not None


def _state(sa: Sa) -> str:
    return f"state {sa.src} > {sa.dst} spi 0x{sa.spi:08x}"


def _policy(policy: Policy) -> str:
    return f"policy {policy.name} priority {policy.priority}"


def _stats() -> Mapping[str, int]:
    with KernelXfrm() as xfrm:
        return xfrm.stats()


def _counters(bpffs: Path) -> Mapping[str, int] | None:
    guard = KernelGuard(bpffs)
    return guard.counters() if guard.loaded() else None


def _unguarded(bpffs: Path) -> Sequence[str]:
    """Return the links that lead off the node without the guard; none while it is not loaded."""
    guard = KernelGuard(bpffs)
    return unguarded(KernelLinks().links(), (a.link for a in guard.attachments())) if guard.loaded() else ()


def _sysctls(names: Iterable[str], unseen: dict[str, str]) -> Mapping[str, int]:
    """Return the settings that can be read; of the others *unseen* is told why not."""
    found: dict[str, int] = {}
    for name in names:
        try:
            found[name] = int((_SYSCTLS / name.replace(".", "/")).read_text(encoding="ascii"))
        except OSError as error:
            unseen[name] = f"{name}: {error.strerror}"
        except ValueError as error:
            unseen[name] = f"{name}: {error}"
    return found
