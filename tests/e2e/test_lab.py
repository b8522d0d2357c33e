"""The lab is what it says: real nodes, pods and tokens, an observer that misses nothing, and nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.guests import GuestRun
from wirecrypt.errors import LabError
from wirecrypt.lab.addresses import NodeAddresses
from wirecrypt.lab.guest.sandbox import Container
from wirecrypt.lab.lab import Lab
from wirecrypt.lab.machine import folders
from wirecrypt.lab.machine.channel import Command
from wirecrypt.lab.streams import Tcp, Udp
from wirecrypt.lab.waiting import DEADLINE, until
from wirecrypt.lab.wire import observer
from wirecrypt.lab.wire.capture import Capture

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wirecrypt.lab.machine.kernels import Kernel

NEWEST_KERNEL = True  # what is judged here does not depend on the kernel; joining and rotating are tried on all

MANIFESTS = Path(__file__).parent / "lab-manifests"
PODS_1, PODS_2 = (["10.1.0.0/24", "fd00:11::/64"], ["10.2.0.0/24", "fd00:12::/64"])
WHO_AM_I = """
import json, os, ssl, urllib.request
folder = "/var/run/secrets/kubernetes.io/serviceaccount/"
request = urllib.request.Request(
    "https://{KUBERNETES_SERVICE_HOST}:{KUBERNETES_SERVICE_PORT}/apis/authentication.k8s.io/v1/selfsubjectreviews".format(**os.environ),
    json.dumps({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}).encode(),
    {"Authorization": "Bearer " + open(folder + "token").read(), "Content-Type": "application/json"})
print(urllib.request.urlopen(request, context=ssl.create_default_context(cafile=folder + "ca.crt")).read().decode())
"""


@pytest.fixture(scope="module")
def lab(lab_kernel: Kernel) -> Iterator[Lab]:
    """Return a lab for this module alone: its nodes reboot, and nobody has encrypted what its observer must read."""
    with Lab.up(3, kernel=lab_kernel) as running:
        yield running


@pytest.mark.parametrize("family", [4, 6])
def test_pods_reach_one_another_across_nodes(lab: Lab, family: int) -> None:
    pod = lab.pods["pod/node-2/b"]
    assert lab.exec("pod/node-1/a", ["ping", "-c1", pod.ip4 if family == 4 else pod.ip6]).status == 0


def test_a_node_has_its_own_network_disk_run_folder_host_name_and_boot_id(lab: Lab) -> None:
    lab.exec("node-1", ["sh", "-c", "echo mine > /run/only-here; echo mine > /var/lib/only-here; mkdir /sys/fs/bpf/only-here"])
    elsewhere = lab.exec("node-2", ["ls", "/run", "/var/lib", "/sys/fs/bpf"]).stdout
    assert "only-here" not in elsewhere
    assert not Path("/var/lib/only-here").exists()
    said = lab.exec("node-2", ["sh", "-c", "hostname; cat /proc/sys/kernel/random/boot_id; ls /sys/class/net"]).stdout.split()
    assert said[:2] == ["node-2", lab.nodes["node-2"].boot_id]
    assert "upl" in said
    assert "wire" not in said


def test_node_objects_say_what_the_nodes_are(lab: Lab) -> None:
    node = lab.api.get("/api/v1/nodes/node-3")
    assert node["spec"]["podCIDRs"] == ["10.3.0.0/24", "fd00:13::/64"]
    assert [entry["address"] for entry in node["status"]["addresses"]] == ["192.0.2.13", "fd00:2::13", "node-3"]
    assert node["status"]["nodeInfo"]["bootID"] == lab.nodes["node-3"].boot_id


def test_commands_are_told_apart_by_output_and_status(lab: Lab) -> None:
    done = lab.exec("node-1", ["sh", "-c", "cat; echo bad >&2; exit 3"], stdin="good", check=False)
    assert (done.stdout, done.stderr, done.status) == ("good", "bad\n", 3)
    with pytest.raises(LabError, match="node-1: false"):
        lab.exec("node-1", ["false"])
    with pytest.raises(LabError, match="no node, pod or container is called node-9"):
        lab.exec("node-9", ["true"])
    with pytest.raises(LabError, match="took too long"):
        lab.exec("node-1", ["sleep", "60"], timeout=0.5)


def test_background_programs_can_be_signalled_and_awaited(lab: Lab) -> None:
    process = lab.spawn("pod/node-1/a", ["sh", "-c", "trap 'echo caught; exit 7' TERM; echo up; while :; do sleep 0.05; done"])
    until(lambda: "up" in process.output(), what="the program runs", seconds=DEADLINE)
    assert process.running
    process.kill(signal.SIGTERM)
    assert process.wait() == 7
    assert "caught" in process.output()
    killed = lab.spawn("node-1", ["sleep", "60"])
    killed.kill(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL


def test_workloads_run_as_their_templates_say(lab: Lab) -> None:
    lab.apply(MANIFESTS)
    probes, callers = lab.kubelet.pods("probe"), lab.kubelet.pods("caller")
    assert [run.node for run in probes] == ["node-1", "node-2", "node-3"]
    assert len(callers) == 2
    first = probes[0]
    until(lambda: "CapEff" in first.log(), what="the probe has spoken", seconds=DEADLINE)
    assert f"node=node-1 pod={first.name} colour=blue host=192.0.2.1:26443" in first.log()
    assert "prepared" in first.log()
    assert "CapEff:\t0000008000001000" in first.log()  # NET_ADMIN and BPF alone
    view = first.exec(["sh", "-c", "touch /x; touch /run/x; touch /tmp/x && stat -fc %T /sys/fs/bpf"], check=False)
    assert view.stderr.count("Read-only file system") == 2
    assert view.stdout == "bpf_fs\n"
    assert callers[0].exec(["id", "-u"]).stdout == "65532\n"


def test_a_volume_does_not_hide_the_project_from_a_container(lab: Lab) -> None:
    """A checkout below /tmp, on which the agent has a volume: what guest and machine share is seen all the same."""
    lab.exec("node-1", ["mkdir", "-p", "/run/cover"])
    above = str(lab.folder.parent)
    command = Command(["test", "-d", f"{lab.folder}/logs"], container=Container(mounts=[("/run/cover", above, True)]))
    assert lab.channel.run("node-1", command, check=False).status == 0


def test_tokens_are_bound_to_pod_and_node(lab: Lab) -> None:
    if not lab.kubelet.pods("caller"):
        lab.apply(MANIFESTS)
    caller = lab.kubelet.pods("caller")[0]
    user = json.loads(caller.exec(["/usr/bin/python3", "-c", WHO_AM_I]).stdout)["status"]["userInfo"]
    assert user["username"] == "system:serviceaccount:lab-test:probe"
    assert user["extra"]["authentication.kubernetes.io/node-name"] == [caller.node]
    assert user["extra"]["authentication.kubernetes.io/pod-name"] == [caller.name]


def test_a_container_is_killed_and_started_again_in_the_same_pod(lab: Lab) -> None:
    if not lab.kubelet.pods("probe"):
        lab.apply(MANIFESTS)
    probe = lab.kubelet.pod("probe", "node-2")
    before = probe.process.pid
    probe.kill()
    assert not probe.running
    probe.restart()
    assert probe.running
    assert probe.process.pid != before


@pytest.mark.L1
def test_the_observer_sees_cleartext_when_nothing_is_encrypted(lab: Lab, wire: Capture) -> None:
    flows = [Udp.start(lab, "pod/node-1/b", "pod/node-2/b", family=family, rate=500) for family in (4, 6)]
    stream = Tcp.start(lab, "pod/node-2/b", "pod/node-1/b", rate=200_000)
    until(lambda: len(wire.observe().frames) > 1000, what="traffic on the wire", seconds=DEADLINE, every=0.5)
    for _ in range(10):
        wire.mark()  # looking on, however often, harms no frame
    results = [flow.stop() for flow in (*flows, stream)]
    seen = wire.observe()
    assert [result.lost for result in results] == [0, 0, 0]
    cleartext = seen.cleartext(PODS_1, PODS_2)
    assert len(cleartext) >= results[0].sent + results[1].sent
    assert {entry.depth for entry in cleartext} == {0}
    for flow, result in zip(flows, results, strict=False):
        assert sum(seen.marked(flow.marker.encode()).values()) == result.sent  # every frame once, none missed
    assert not seen.esp()


def test_the_observer_looks_into_vxlan_and_counts_esp(lab: Lab, wire: Capture) -> None:
    """Cleartext inside VXLAN is cleartext; what is inside ESP is not."""
    name, port = "wcvx", 4789
    for number, other in ((1, 2), (2, 1)):
        node, peer = NodeAddresses(number), NodeAddresses(other)
        add = f"ip link add {name} type vxlan id 7 local {node.wire4.ip} remote {peer.wire4.ip} dev upl dstport {port}"
        lab.exec(node.name, ["sh", "-ec", f"{add}; ip address add 10.{number}.0.250/32 dev {name}; ip link set {name} up"])
        lab.exec(node.name, ["ip", "route", "add", f"10.{other}.0.250/32", "dev", name])
    lab.exec("node-1", ["ping", "-c2", "-I", "10.1.0.250", "10.2.0.250"])
    for number in (1, 2):
        lab.exec(f"node-{number}", ["ip", "link", "delete", name])
    inside = [entry for entry in wire.observe().cleartext(PODS_1, PODS_2) if entry.depth == 1]
    assert len(inside) == 4
    key = "0x" + "11" * 20
    ends = [str(NodeAddresses(number).wire4.ip) for number in (1, 2)]
    for source, target, spi in ((*ends, "0x1001"), (*reversed(ends), "0x1002")):
        state_words = (
            f"ip xfrm state add src {source} dst {target} proto esp spi {spi} reqid 1 mode transport aead rfc4106(gcm(aes))"
        )
        for node in ("node-1", "node-2"):
            lab.exec(node, [*state_words.split(), key, "128"])
    for node, (source, target) in (("node-1", ends), ("node-2", ends[::-1])):
        policy = f"ip xfrm policy add src {source}/32 dst {target}/32 proto icmp dir out tmpl proto esp reqid 1 mode transport"
        lab.exec(node, policy.split())
    lab.exec("node-1", ["ping", "-c3", ends[1]])
    for node, (source, target) in (("node-1", ends), ("node-2", ends[::-1])):
        lab.exec(node, f"ip xfrm policy delete src {source}/32 dst {target}/32 proto icmp dir out".split())
        lab.exec(node, ["ip", "xfrm", "state", "flush"])
    assert wire.observe().esp() == {(*ends, 0x1001): 3, (*reversed(ends), 0x1002): 3}


def test_a_node_reboots_and_another_joins(lab: Lab) -> None:
    before = lab.nodes["node-3"].boot_id
    lab.exec("node-3", ["sh", "-c", "echo gone > /run/before; echo kept > /var/lib/before"])
    lab.reboot("node-3")
    assert lab.nodes["node-3"].boot_id != before
    assert lab.api.get("/api/v1/nodes/node-3")["status"]["nodeInfo"]["bootID"] == lab.nodes["node-3"].boot_id
    assert lab.exec("node-3", ["sh", "-c", "cat /var/lib/before; cat /run/before"], check=False).stdout == "kept\n"
    lab.add_node(4)
    lab.exec("pod/node-4/a", ["ping", "-c1", lab.pods["pod/node-3/a"].ip6])
    lab.remove_node("node-4")
    lab.api.delete("/api/v1/nodes/node-4")


def test_the_api_server_can_go_and_come_back(lab: Lab) -> None:
    lab.stop_api()
    assert not lab.api.ready()
    lab.start_api()
    assert any(key.endswith(b"/minions/node-1") for key in lab.etcd_dump())
    assert lab.audit("create")


def test_a_guest_that_dies_makes_its_tests_fail(lab_kernel: Kernel, pytestconfig: pytest.Config) -> None:
    sample = (Path(__file__).parent / "samples" / "dies.py").relative_to(pytestconfig.rootpath)
    names = [f"{sample}::{name}" for name in ("test_lives", "test_dies", "test_after")]
    run = GuestRun(pytestconfig, lab_kernel.version, names)
    try:
        outcomes = [{report.outcome for report in run.reports(name, (str(sample), 0, name))} for name in names]
    finally:
        run.end()
    assert outcomes == [{"passed"}, {"failed"}, {"failed"}]


def processes() -> str:
    """Return the whole command lines of everything that runs on this machine; `ps` cuts them to a terminal's width."""
    return subprocess.run(["ps", "-ww", "-eo", "args"], capture_output=True, text=True, check=True).stdout


def nothing_is_left(folder: Path, *more: str) -> None:
    """Wait until the lab's *folder* is gone, and whatever has it, or one of *more*, in its command line.

    The last process of a lab removes the folder and ends then: for a moment it is there without.
    """
    until(lambda: not folder.exists(), what="the end of the lab, with its folder", seconds=DEADLINE)
    until(
        lambda: not any(word in processes() for word in (str(folder), *more)),
        what=f"the end of what ran in {folder}",
        seconds=DEADLINE,
    )


def end(process: subprocess.Popen[str]) -> None:
    """Kill a process that a failed test would leave behind; one that has ended is none."""
    if process.poll() is None:
        process.kill()
    process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_lab_vanishes_with_its_process(number: int, lab_kernel: Kernel) -> None:
    name = f"wc-test-{os.getpid()}"
    options = {"name": name, "nodes": 1, "cni": "ptp", "vehicle": "uml", "kernel": lab_kernel.version}
    folder = folders.base() / name
    daemon = subprocess.Popen(
        [sys.executable, "-m", "wirecrypt.lab.daemon", json.dumps(options)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert daemon.stdout
        assert any("ready" in json.loads(line) for line in daemon.stdout)
        assert folders.held(folder)
        daemon.send_signal(number)
        daemon.wait(DEADLINE)
    finally:
        end(daemon)
    nothing_is_left(folder)
    assert "wclab" not in subprocess.run(["ip", "link"], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("way", ["down", "Ctrl-C", "kill -9"])
def test_a_lab_that_is_still_starting_can_be_ended(way: str, make_cli: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    """`lab down`, Ctrl-C on `lab up`, or its death, ends what has begun: no folder and no process is left."""
    name = f"wc-begun-{os.getpid()}"
    folder = folders.base() / name
    argv = [str(Path(sys.executable).parent / "wirecrypt"), "lab", "up", "--name", name, "--nodes", "2", "--vehicle", "uml"]
    starting = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        until(lambda: folders.held(folder), what="the lab has begun", seconds=DEADLINE)
        if way == "down":
            assert make_cli("down", "--name", name).returncode == 0
        else:
            starting.send_signal(signal.SIGINT if way == "Ctrl-C" else signal.SIGKILL)
        said = starting.communicate(timeout=DEADLINE)[0]
        assert starting.returncode != 0, said
        assert "export KUBECONFIG" not in said
        assert "Traceback" not in said
        nothing_is_left(folder, f'"name": "{name}"')
    finally:
        end(starting)
        make_cli("down", "--name", name)


@pytest.mark.parametrize("what", ["the supervisor is killed", "the supervisor hangs", "the record is damaged"])
def test_a_broken_lab_leaves_nothing(what: str, make_cli: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    """It ends by itself, or `lab down` ends it; its daemon stays in no case."""
    name = f"wc-broken-{os.getpid()}"
    folder = folders.base() / name
    try:
        assert make_cli("up", "--name", name, "--nodes", "1").returncode == 0
        if what == "the record is damaged":
            (folder / "lab.json").write_text('{"process": 1')
            assert "cannot read what the lab has written down" in make_cli("status", "--name", name).stderr
        else:
            number = signal.SIGKILL if what == "the supervisor is killed" else signal.SIGSTOP
            os.kill(supervisor(folder), number)
        if what != "the supervisor is killed":
            done = make_cli("down", "--name", name)
            assert (done.returncode, done.stderr) == (0, "")
        nothing_is_left(folder, f'"name": "{name}"')
    finally:
        make_cli("down", "--name", name)


def supervisor(folder: Path) -> int:
    """Return the process that is the first one in the namespaces of the lab in *folder*."""
    argv = ["pgrep", "--full", f"^[^ ]*python[^ ]* -m wirecrypt.lab.machine.supervisor {folder}/"]
    return int(subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split()[-1])


def test_two_that_start_a_lab_of_one_name_get_one(make_cli: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    """The other is told so, and ends nothing of the first one's."""
    name = f"wc-twice-{os.getpid()}"
    try:
        with ThreadPoolExecutor() as pool:
            done = list(pool.map(lambda _: make_cli("up", "--name", name, "--nodes", "1"), range(2)))
        assert sorted(each.returncode for each in done) == [0, 1]
        refused = next(each for each in done if each.returncode)
        assert f"a lab of this name is up already ({name})" in refused.stderr.splitlines()[-1]
        assert make_cli("exec", "--name", name, "node-1", "--", "true").returncode == 0
    finally:
        make_cli("down", "--name", name)


def test_the_lab_command_stays_up_and_goes_down(
    tmp_path: Path, make_cli: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    """`up` prints how to use it, `exec` and `capture` work and can be repeated, and after `down` nothing is there."""
    name = f"wc-cli-{os.getpid()}"
    try:
        assert "export KUBECONFIG=" in make_cli("up", "--name", name, "--nodes", "2").stdout
        assert "node-2" in make_cli("status", "--name", name).stdout
        assert make_cli("exec", "--name", name, "pod/node-1/a", "--", "ping", "-c1", "10.2.0.2").returncode == 0
        assert make_cli("exec", "--name", name, "node-1", "--", "sh", "-c", "exit 4").returncode == 4
        refused = make_cli("capture", "--name", name, str(tmp_path / "nowhere/wire.pcap"))
        assert (refused.returncode, len(refused.stderr.splitlines())) == (1, 1)
        for file in (tmp_path / "first.pcap", tmp_path / "second.pcap"):
            done = make_cli("capture", "--name", name, str(file), "--seconds", "1")
            assert done.returncode == 0, done.stderr
            observer.read(file)
    finally:
        make_cli("down", "--name", name)
    assert not (folders.base() / name).exists()
    assert make_cli("status", "--name", name).returncode != 0
