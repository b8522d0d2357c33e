"""The machine's own kernel as a vehicle: whether it can carry a lab, and whether it should without being asked."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

from wirecrypt.kernel.probe import ProbeResult, probe

NEEDS_ESP = ("esp-ipv4", "esp-ipv6", "aes-256-gcm", "esn", "clsact", "bpf")
TRIAL = """
ip link add wire type bridge
ip link add one type veth peer name two
mount -t tmpfs trial /mnt
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work trial /mnt/root
"""  # what a lab's guest does, in namespaces that vanish with the trial
OWN = [Path(path) for path in ("/proc", "/sys", "/dev", "/run", "/mnt", "/tmp")]  # noqa: S108  # a guest has its own


def version() -> str:
    """Return the running kernel's version in two numbers."""
    return ".".join(platform.release().split("-")[0].split(".")[:2])


def objections(*, require_esp: bool = True) -> list[str]:
    """Return why this kernel cannot carry a lab, empty when it can; what is tried leaves nothing but loaded modules."""
    if os.geteuid() != 0:
        return ["root is needed"]
    missing = [f for f in probe() if f.name in NEEDS_ESP and f.verdict is not ProbeResult.YES] if require_esp else []
    found = [f"{feature.name}: {feature.reason}" for feature in missing]
    trial = ["unshare", "--net", "--mount", "sh", "-ec", TRIAL]
    done = subprocess.run(trial, capture_output=True, text=True, check=False)
    return found + ([f"bridge, veth and overlay: {done.stderr.strip()}"] if done.returncode else [])


def foreign() -> list[str]:
    """Return IPsec objects in this process's network namespace: someone's VPN, whose kernel no lab should borrow unasked."""
    found = []
    for kind in ("state", "policy"):
        listing = subprocess.run(["ip", "-o", "xfrm", kind], capture_output=True, text=True, check=False).stdout
        found += [f"{kind} {line.strip()}" for line in listing.splitlines() if line.startswith("src ")]
    return found


def disks(mounts: str = "/proc/self/mounts") -> list[str]:
    """Return file systems besides the root's that hold /usr or this Python: an overlay over the root does not show them."""
    needed = [Path(path).resolve() for path in ("/usr", sys.prefix, sys.base_prefix)]
    found = []
    for line in Path(mounts).read_text().splitlines():
        path = Path(line.split()[1].encode().decode("unicode_escape"))
        holds = any(need.is_relative_to(path) for need in needed) or path.is_relative_to("/usr")
        if path != Path("/") and holds and not any(path.is_relative_to(own) for own in OWN):
            found.append(str(path))
    return found
