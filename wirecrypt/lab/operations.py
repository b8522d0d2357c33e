"""Questions to the cluster and the nodes that the demo and the tests ask alike."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from wirecrypt import datafiles
from wirecrypt.errors import LabError, NotFound
from wirecrypt.lab.guest import list_tcx
from wirecrypt.lab.lab import Lab
from wirecrypt.lab.machine import outside
from wirecrypt.lab.machine.machine import GUEST_PYTHON
from wirecrypt.lab.waiting import until

LABEL = "wirecrypt.io/encryption"
GROUP = "/apis/wirecrypt.io/v1alpha1"
PROTECTED = 240.0  # seconds: the deadline for label → protected, on a loaded machine
REMOVED = 240.0
ROTATED = 300  # seconds: the deadline of a rotation
SPARE = 30.0  # seconds that a program gets beyond the deadline that it was told, to say so itself
TRIES = 3
NOT_SHOWN = 4  # exit status of `wirecrypt verify` when an agent cannot be asked
XFRM_STAT = "/proc/net/xfrm_stat"
ROOT = Path(__file__).resolve().parents[2]
RANGES: dict[str, Any] = {
    "clusterCIDRs": ["10.0.0.0/13", "fd00:10::/28"], "nodeCIDRs": ["192.0.2.0/24", "fd00:2::/64"],
    "serviceCIDRs": ["10.96.0.0/16"], "apiServers": ["192.0.2.1"],
}  # fmt: skip  # of the lab, as the configuration names them


def configure(lab: Lab, **fields: Any) -> None:  # noqa: ANN401 - any YAML
    """Write the configuration document; JSON is YAML."""
    body = {"data": {"config.yaml": json.dumps(fields)}}
    lab.kubectl("-n", "wirecrypt-system", "patch", "configmap", "wirecrypt-config", "--type=merge", "-p", json.dumps(body))


def deploy(lab: Lab, **fields: Any) -> None:  # noqa: ANN401 - any YAML
    """Apply the example of an overlay and start what it asks for, configured for the lab's address ranges."""
    lab.kubectl("apply", "-k", str(datafiles.folder("overlays/example")))
    configure(lab, **RANGES, **fields)
    lab.kubelet.sync()


def label(lab: Lab, *nodes: str) -> None:
    """Ask for encryption on nodes."""
    lab.kubectl("label", "node", *nodes, f"{LABEL}=enabled", "--overwrite")


def unlabel(lab: Lab, *nodes: str) -> None:
    """Ask for no encryption on nodes."""
    lab.kubectl("label", "node", *nodes, f"{LABEL}-")


def encrypted_node(lab: Lab, node: str) -> dict[str, Any]:
    """Return the EncryptedNode of *node*, empty when there is none."""
    try:
        return lab.api.get(f"{GROUP}/encryptednodes/{node}")
    except NotFound:
        return {}


def condition(document: dict[str, Any], kind: str) -> dict[str, Any]:
    """Return one condition of an object's status, empty when it is not there."""
    conditions: list[dict[str, Any]] = document.get("status", {}).get("conditions", [])
    return next((c for c in conditions if c["type"] == kind), {})


def is_protected(lab: Lab, node: str, peers: int) -> bool:
    """Return whether *node* reports Ready, with traffic to *peers* peers protected."""
    found = encrypted_node(lab, node)
    protected = found.get("status", {}).get("peers", {}).get("protected", -1)
    return condition(found, "Ready").get("status") == "True" and protected == peers


def wait_protected(lab: Lab, nodes: Iterable[str], seconds: float = PROTECTED) -> dict[str, float]:
    """Wait until all *nodes* are protected from each other; return when each was, by the guest's clock."""
    waiting = list(nodes)
    peers = len(waiting) - 1
    seen: dict[str, float] = {}

    def all_seen() -> bool:
        for node in [n for n in waiting if n not in seen]:
            if is_protected(lab, node, peers):
                seen[node] = lab.time()
        return len(seen) == len(waiting)

    until(all_seen, what=lambda: f"{', '.join(waiting)} are protected: {summary(lab)}", seconds=seconds, every=0.1)
    return seen


def wait_removed(lab: Lab, nodes: Iterable[str], seconds: float = REMOVED) -> None:
    """Wait until the objects of *nodes* are gone."""
    left = list(nodes)
    until(
        lambda: not any(encrypted_node(lab, n) for n in left),
        what=f"the EncryptedNodes of {', '.join(left)} are gone",
        seconds=seconds,
        every=0.2,
    )


def summary(lab: Lab) -> str:
    """Return what the cluster says of itself, for messages."""
    return lab.kubectl("get", "encryptednodes,keyrotations", "-o", "wide", check=False).strip()


def wirecrypt(lab: Lab, *words: str, check: bool = True, timeout: float = 180) -> subprocess.CompletedProcess[str]:
    """Run the command line on this machine as the administrator.

    LabError when it fails and *check* is set, and when it takes more than *timeout* seconds.
    """
    program = str(Path(sys.executable).with_name("wirecrypt"))
    environment = {"KUBECONFIG": str(lab.kubeconfig), "COLUMNS": "160"}
    done = outside.run([program, *words], environment=environment, seconds=timeout)
    if check and done.returncode:
        raise LabError("wirecrypt failed", what=" ".join(words), answer=f"exit {done.returncode}: {done.stdout}{done.stderr}")
    return done


def verify(lab: Lab, *words: str) -> subprocess.CompletedProcess[str]:
    """Return the first verdict that shows something: beside a load an agent may be late with its evidence."""
    for _ in range(TRIES):
        done = wirecrypt(lab, "verify", *words, check=False)
        if done.returncode != NOT_SHOWN:
            break
    return done


def rotate(lab: Lab, reason: str) -> None:
    """Rotate all keys and wait for the end; LabError when it does not come in time, told by the command line itself."""
    words = ("rotate", "--wait", "--timeout", f"{ROTATED}s", "--reason", reason)
    wirecrypt(lab, *words, timeout=ROTATED + SPARE)


def spis(lab: Lab, node: str) -> set[str]:
    """Return the SPIs of all SAs of *node*."""
    text = lab.exec(node, ["ip", "xfrm", "state"]).stdout
    return {word for line in text.splitlines() if "spi" in line for word in line.split() if word.startswith("0x")}


def kernel_objects(lab: Lab, node: str) -> list[str]:
    """Return what wirecrypt has in the kernel of *node*, as the kernel's own tools tell: IPsec, programs on links, pins.

    Every state, policy and tcx program counts: nothing else puts any there in the lab.
    """
    script = f"{_OBJECTS}{GUEST_PYTHON} -SE {Path(list_tcx.__file__).resolve()}"
    found = lab.exec(node, ["sh", "-ec", script]).stdout.splitlines()
    for agent in lab.kubelet.pods("wirecrypt-agent", node):
        found += [f"pin {name}" for name in agent.exec(["ls", "/sys/fs/bpf"]).stdout.split()]
    return found


_OBJECTS = r"""
ip xfrm state | sed -n 's/.*spi \(0x[0-9a-f]*\).*/state \1/p'
ip -o xfrm policy | sed -n 's/^src.*/policy/p'
for link in /sys/class/net/*; do
  for way in ingress egress; do echo "filter show dev ${link##*/} $way"; done
done | tc -force -batch - 2>/dev/null | sed -n 's/.*\(wirecrypt[a-z_]*\).*/filter \1/p'
"""


def pairs_by_state(lab: Lab, node: str) -> dict[str, int]:
    """Return what the running agent of *node* says of its pairs: how many are in which state. Empty before its first pass.

    It is the process that is asked, not the status in the API, which a process before it may have written.
    """
    with contextlib.suppress(LabError):
        return {state: int(float(value)) for state, value in _PEERS.findall(metrics(lab, node))}
    return {}


def metrics(lab: Lab, node: str) -> str:
    """Return what the agent of *node* tells of itself, in Prometheus' format; LabError while its port is closed.

    The shell asks: who waits for an agent asks often, and an interpreter's start would take the time that the agent needs.
    """
    return lab.exec(node, ["timeout", "30", "bash", "-c", _ASK]).stdout.partition("\r\n\r\n")[2]


_ASK = r"exec 3<>/dev/tcp/127.0.0.1/14580 && printf 'GET /metrics HTTP/1.1\r\n\r\n' >&3 && cat <&3"
_PEERS = re.compile(r'^wirecrypt_peers\{state="(\w+)"\} (\S+)$', re.MULTILINE)


def xfrm_errors(lab: Lab) -> dict[str, dict[str, int]]:
    """Return every counter of xfrm_stat of every node; all of them count errors."""
    found = {}
    for node in sorted(lab.nodes):
        lines = lab.exec(node, ["cat", XFRM_STAT]).stdout.splitlines()
        found[node] = {name: int(value) for name, value in (line.split() for line in lines)}
    return found


def differences(before: dict[str, dict[str, int]], after: dict[str, dict[str, int]]) -> dict[str, int]:
    """Return the counters that moved, as `node name`."""
    return {
        f"{node} {name}": value - before[node].get(name, 0)
        for node, counters in after.items()
        for name, value in counters.items()
        if value != before[node].get(name, 0)
    }
