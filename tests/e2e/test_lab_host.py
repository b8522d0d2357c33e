"""The vehicle `host`: a lab on the machine's own kernel, ESP or not: nodes, pods, the observer, and nothing left behind."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from wirecrypt.errors import LabError
from wirecrypt.lab.lab import Lab
from wirecrypt.lab.machine import folders, hostkernel, kernels
from wirecrypt.lab.waiting import DEADLINE, until
from wirecrypt.lab.wire.capture import Capture

if TYPE_CHECKING:
    from collections.abc import Iterator

MANIFESTS = Path(__file__).parent / "lab-manifests"
SEND = "import socket, sys; socket.socket(socket.{family}, socket.SOCK_DGRAM).sendto(sys.argv[2].encode(), (sys.argv[1], 9))"


@pytest.fixture(scope="module")
def host_lab() -> Iterator[Lab]:
    """Return a lab of two nodes on this machine's own kernel."""
    with Lab.up(2, kernel=kernels.find("host", require_esp=False)) as running:
        yield running


def outside() -> set[str]:
    """Return what a lab must not change: links, routes and mounts of this process."""
    found = {"link " + line.split(":")[0].strip() for line in Path("/proc/net/dev").read_text().splitlines()}
    for table in ("/proc/net/route", "/proc/net/ipv6_route"):
        found |= {f"{table} {line.split()[0]} {line.split()[-1]}" for line in Path(table).read_text().splitlines()}
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    return found | {f"mount {line}" for line in mounts if " /run/netns" not in line}  # those are of other programs


def processes(namespace: str) -> list[str]:
    """Return the processes that are in a network namespace."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if str((process / "ns/net").readlink()) == namespace:
                found.append((process / "cmdline").read_text().replace("\0", " "))
    return found


def inside(folder: Path) -> set[str]:
    """Return the network namespaces of a lab's processes: those of its supervisor and all its descendants."""
    parents = {}
    roots = set()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parents[process.name] = (process / "stat").read_text().rpartition(")")[2].split()[1]
            if str(folder) in (process / "cmdline").read_text() and str((process / "ns/net").readlink()) != own_network():
                roots.add(process.name)
    grown: set[str] = set()
    while grown != roots:
        grown = set(roots)
        roots |= {pid for pid, parent in parents.items() if parent in grown}
    found = set()
    for pid in roots:
        with contextlib.suppress(OSError):
            found.add(str(Path(f"/proc/{pid}/ns/net").readlink()))
    return found


def own_network() -> str:
    """Return the network namespace of the tests."""
    return str(Path("/proc/self/ns/net").readlink())


@pytest.mark.parametrize("family", [4, 6])
def test_pods_on_the_machines_kernel_reach_one_another(host_lab: Lab, family: int) -> None:
    """Pods ping across nodes, and the kernel under them is this machine's."""
    pod = host_lab.pods["pod/node-2/b"]
    host_lab.exec("pod/node-1/a", ["ping", "-c1", "-W5", pod.ip4 if family == 4 else pod.ip6])
    assert host_lab.exec("node-1", ["uname", "-r"]).stdout.strip() == platform.release()


@pytest.mark.parametrize("family", [4, 6])
def test_the_wire_shows_a_packet_between_pods_once(host_lab: Lab, tmp_path: Path, family: int) -> None:
    """A marker in one packet is in the capture exactly once: nothing is missed, nothing is seen twice."""
    source, target = (host_lab.pods[f"pod/node-{node}/a"] for node in (1, 2))
    ends = (source.ip4, target.ip4) if family == 4 else (source.ip6, target.ip6)
    marker = f"marker-{family}-{os.getpid()}"
    program = SEND.format(family="AF_INET" if family == 4 else "AF_INET6")
    with Capture.start(host_lab, tmp_path / "wire.pcap") as wire:
        host_lab.exec("pod/node-1/a", ["/usr/bin/python3", "-c", program, ends[1], marker])
        seen = wire.observe()
    assert seen.marked(marker.encode())[ends] == 1  # the answer, port unreachable, quotes it the other way
    clear = seen.cleartext([f"{ends[0]}/{32 if family == 4 else 128}"], [f"{ends[1]}/{32 if family == 4 else 128}"])
    assert [(str(c.source), c.depth) for c in clear] == [(ends[0], 0), (ends[1], 0), (ends[0], 1)]


def test_kubelets_run_workloads_on_the_machines_kernel(host_lab: Lab) -> None:
    """Containers get their volumes and privileges, and their tokens are asked for as their node."""
    host_lab.apply(MANIFESTS)
    probes = host_lab.kubelet.pods("probe")
    assert [run.node for run in probes] == ["node-1", "node-2"]
    until(lambda: "CapEff" in probes[0].log(), what="the probe has spoken", seconds=DEADLINE)
    assert "CapEff:\t0000008000001000" in probes[0].log()  # NET_ADMIN and BPF alone
    assert probes[0].exec(["stat", "-fc", "%T", "/sys/fs/bpf"]).stdout == "bpf_fs\n"
    assert host_lab.kubelet.pods("caller")[0].exec(["id", "-u"]).stdout == "65532\n"


def test_what_a_node_writes_and_sees_is_its_own(host_lab: Lab) -> None:
    """Files, processes, devices and host name of the machine are out of reach; its disk can be read and not be written."""
    name = f"only-here-{os.getpid()}"
    host_lab.exec("node-1", ["sh", "-c", f"echo x >/var/lib/{name}; echo x >/etc/{name}; echo x >/run/{name}"])
    assert not [path for path in ("/var/lib", "/etc", "/run") if Path(path, name).exists()]
    assert f"/etc/{name}" not in host_lab.exec("node-2", ["find", "/etc", "-name", name]).stdout
    seen = host_lab.exec("guest", ["sh", "-c", "ps -ww -eo args; hostname; ls /dev /.host/proc"]).stdout
    assert "kube-apiserver" not in seen
    assert not [device for device in ("vda", "sda", "kvm", "mem") if device in seen.split()]
    assert host_lab.exec("guest", ["touch", f"/.host/etc/{name}"], check=False).status != 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_lab_on_the_machines_kernel_leaves_nothing(number: int) -> None:
    """Ended or killed, no process, namespace, link, route, mount or folder is left; while it runs, none is added here."""
    before, name = outside(), f"wc-host-{os.getpid()}"
    options = {"name": name, "nodes": 1, "cni": "bridge", "vehicle": "host", "kernel": "", "require_esp": False}
    argv = [sys.executable, "-m", "wirecrypt.lab.daemon", json.dumps(options)]
    folder = folders.base() / name
    daemon = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    try:
        assert daemon.stdout
        lines = [json.loads(line) for line in daemon.stdout]
        assert "ready" in lines[-1], lines
        inner = inside(folder)
        assert len(inner) >= 5  # of the lab, the guest, a node, two pods
        assert outside() == before
        daemon.send_signal(number)
        daemon.wait(DEADLINE)
    finally:
        if daemon.poll() is None:
            daemon.kill()
        daemon.communicate()
    until(lambda: not folder.exists(), what="the end of the lab, with its folder", seconds=DEADLINE)
    until(lambda: not [p for n in inner for p in processes(n)], what="the end of its processes", seconds=DEADLINE)
    assert outside() == before


def test_without_esp_the_machines_kernel_is_refused_with_the_reason() -> None:
    """A demo on a kernel that cannot encrypt is an error that names what is missing and what to take instead."""
    if not (reasons := hostkernel.objections()):
        assert kernels.find("host").vehicle == "host"
        return
    with pytest.raises(LabError, match="cannot carry the lab") as refused:
        kernels.find("host")
    assert reasons[0] in str(refused.value)
    assert "--vehicle uml" in str(refused.value)


def test_a_kernel_that_is_not_the_machines_is_refused() -> None:
    """`--vehicle host --kernel 1.0` cannot be had."""
    with pytest.raises(LabError, match="the machine's own"):
        kernels.find("host", "1.0", require_esp=False)


def test_auto_takes_the_prebuilt_kernel_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """After scripts/setup, and for a named version, it is user-mode Linux, whatever the machine's own kernel can do."""
    monkeypatch.delenv("WIRECRYPT_LAB_KERNEL", raising=False)
    assert kernels.find("auto").vehicle == "uml"
    assert kernels.find("auto", kernels.available()[0].version).vehicle == "uml"


def test_file_systems_that_hold_programs_are_found(tmp_path: Path) -> None:
    """A separate /usr must be shown to the guest by itself; disks with data alone need not."""
    lines = ["/dev/a / ext4", "proc /proc proc", "/dev/b /usr ext4", r"/dev/c /usr/local/a\040b ext4", "/dev/d /var ext4"]
    (tmp_path / "mounts").write_text("".join(f"{line} rw 0 0\n" for line in lines))
    assert hostkernel.disks(str(tmp_path / "mounts")) == ["/usr", "/usr/local/a b"]
