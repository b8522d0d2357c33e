"""Foreign IPsec on the same node is neither taken for ours nor touched."""

import shlex
import socket
import struct
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from tests.kernel.conftest import Netns
from tests.unit.plan.made import B, decision, desired
from wirecrypt.agent.datapath.writes import Datapath
from wirecrypt.kernel.bpf.guard import KernelGuard
from wirecrypt.kernel.xfrm.adapter import KernelXfrm
from wirecrypt.model.mark import MarkLayout
from wirecrypt.model.secret import SecretBytes
from wirecrypt.model.xfrm import Algorithm, Direction, Policy, PolicyAction, Sa, Selector, Template
from wirecrypt.pairs.inputs import Out
from wirecrypt.plan.diff import plan

KEY = "0x" + bytes(range(36)).hex()
ENDS = "src 192.0.2.1 dst 192.0.2.2"
GCM = f"mode tunnel aead 'rfc4106(gcm(aes))' {KEY} 128 replay-window 4096 flag esn flag af-unspec"
STATES = (
    f"{ENDS} proto esp spi 1 mode transport aead 'rfc4106(gcm(aes))' {KEY} 128",
    f"{ENDS} proto esp spi 2 mode tunnel enc 'cbc(aes)' {KEY[:34]} auth-trunc 'hmac(sha256)' {KEY} 128",
    f"{ENDS} proto esp spi 3 {GCM} if_id 7",
    f"{ENDS} proto esp spi 4 {GCM} encap espinudp 4500 4500 0.0.0.0",
    f"{ENDS} proto esp spi 5 {GCM} extra-flag dont-encap-dscp",
    f"{ENDS} proto esp spi 6 {GCM} limit time-hard 3600",
)
POLICIES = (
    f"dir out src 10.1.0.0/24 dst 10.9.0.0/24 priority 1000 tmpl {ENDS} proto esp mode transport",
    f"dir out src 10.1.0.0/24 dst 10.2.0.0/24 if_id 7 tmpl {ENDS} proto esp mode tunnel",
    f"dir in src 10.9.0.0/24 dst 10.1.0.0/24 dev lo tmpl {ENDS} proto ah mode tunnel",
)
# by kind: what is added to the selector, the rest, and whether the kernel takes it for the same policy as ours
SAME_SELECTOR = {
    "transport": ("", f"tmpl {ENDS} proto esp mode transport", True),
    "ah": ("", f"tmpl {ENDS} proto ah mode tunnel", True),
    "time limit": ("", f"limit time-hard 3600 tmpl {ENDS} proto esp mode tunnel", True),
    "flag icmp": ("", f"flag icmp tmpl {ENDS} proto esp mode tunnel", True),
    "interface id": ("", f"if_id 7 tmpl {ENDS} proto esp mode tunnel", False),
    "link": ("dev lo", f"tmpl {ENDS} proto esp mode tunnel", False),
}
EXPRESSIBLE = f"{ENDS} proto esp spi 0x10 reqid 9 {GCM}"
SOCKET_POLICY = struct.Struct("=56s8Q4QII4B4x")
IP_XFRM_POLICY = 17


@pytest.fixture
def foreign(netns: Netns, xfrm: KernelXfrm) -> Iterator[Netns]:
    """Return a namespace with the states and policies of somebody else, one of them held by a socket."""
    for line in (*STATES, EXPRESSIBLE):
        netns.run("ip", "xfrm", "state", "add", *shlex.split(line))
    for line in POLICIES:
        netns.run("ip", "xfrm", "policy", "add", *shlex.split(line))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        limits = (2**64 - 1,) * 4 + (0,) * 8
        bypass = SOCKET_POLICY.pack(bytes(40) + struct.pack("=H14x", socket.AF_INET), *limits, 0, 0, 1, 0, 0, 0)
        s.setsockopt(socket.IPPROTO_IP, IP_XFRM_POLICY, bypass)
        yield netns


def shown(netns: Netns) -> str:
    return netns.run("ip", "-d", "xfrm", "state") + netns.run("ip", "-d", "xfrm", "policy")


@pytest.mark.C3
def test_foreign_objects_are_never_equal_to_ours(foreign: Netns, xfrm: KernelXfrm) -> None:
    """What our values cannot express is left out of the lists and described for a person instead."""
    assert [entry.sa.spi for entry in xfrm.list_sas()] == [0x10]
    assert xfrm.list_policies() == []
    described = sorted(str(one) for one in xfrm.foreign_sas())
    assert described[0] == "state to 192.0.2.2 proto esp spi 0x00000001: the mode is not tunnel"
    assert len(described) == len(STATES)
    assert sum("belongs to a socket" in str(one) for one in xfrm.foreign_policies()) == 1
    assert len(xfrm.foreign_policies()) == len(POLICIES) + 1
    assert KEY[2:] not in str(described)


@pytest.mark.C3
def test_foreign_objects_stay_untouched(foreign: Netns, xfrm: KernelXfrm) -> None:
    """After we came, changed and deleted all that is ours, foreign states and policies are exactly what they were."""
    before = shown(foreign)
    src, dst = ip_address("192.0.2.1"), ip_address("192.0.2.2")
    sas = [
        Sa(src=src, dst=dst, spi=spi, reqid=spi, algorithm=Algorithm.AES_256_GCM, key=SecretBytes(bytes(36)))
        for spi in range(0x100, 0x200)
    ]
    selector = Selector(ip_network("10.1.0.0/24"), ip_network("10.2.0.0/24"))
    policies = [
        Policy(Direction.OUT, selector, 0x5710, templates=(Template(src, dst, spi=spi, reqid=spi),)) for spi in (0x100, 0x101)
    ]
    assert [*xfrm.add_sas(sas), *xfrm.set_policies(policies)] == []
    assert shown(foreign) != before
    assert xfrm.delete_policies([policies[0].name]) == []
    assert xfrm.delete_sas([sa.name for sa in sas]) == []
    assert shown(foreign) == before


@pytest.mark.C3
def test_state_at_a_foreign_spi_is_refused(foreign: Netns, xfrm: KernelXfrm) -> None:
    """A state whose destination and SPI somebody else has is a failure; theirs stays."""
    before = shown(foreign)
    theirs = xfrm.list_sas()[0].sa
    (failure,) = xfrm.add_sas([theirs])
    assert failure.error.errno == 17
    assert shown(foreign) == before


@pytest.mark.C3
@pytest.mark.parametrize(("link", "rest", "same"), SAME_SELECTOR.values(), ids=SAME_SELECTOR)
def test_foreign_policies_that_ours_would_replace_are_named(
    netns: Netns, xfrm: KernelXfrm, link: str, rest: str, *, same: bool
) -> None:
    """Of what no `Policy` expresses, exactly that is named which the kernel drops when a policy of ours is written."""
    selector, mark = Selector(ip_network("10.1.0.0/24"), ip_network("10.2.0.0/24")), MarkLayout().encrypt(1)
    ours = Policy(Direction.OUT, selector, 0x5710, verdict=PolicyAction.BLOCK, mark=mark)
    words = f"src {selector.src} dst {selector.dst} {link} dir out mark {mark.value} mask {mark.mask} priority 99 {rest}"
    netns.run("ip", "xfrm", "policy", "add", *words.split())
    policies, foreign = xfrm.list_all_policies()
    assert (policies, list(foreign)) == ([], [ours.name] if same else [])
    assert xfrm.set_policies([ours]) == []
    assert len(xfrm.foreign_policies()) == (0 if same else 1)


@pytest.mark.C3
def test_a_plan_leaves_what_it_would_replace(netns: Netns, xfrm: KernelXfrm, tmp_path: Path) -> None:
    """A foreign policy in transport mode with a selector of ours is what it was after a plan; our other policies are set."""
    words = f"dir out src 0.0.0.0/0 dst {B.pod_cidrs[0]} tmpl {ENDS} proto esp mode transport"
    netns.run("ip", "xfrm", "policy", "add", *words.split())
    before = netns.run("ip", "-d", "xfrm", "policy")
    datapath = Datapath(xfrm, KernelGuard(tmp_path))
    desired_pairs = [desired(decision(Out.BLOCK))]
    assert datapath.apply(plan(desired_pairs, {}, datapath.snapshot())) == {}
    wanted = {p.name for p in desired_pairs[0].policies}
    present = {p.name for p in xfrm.list_policies()}
    assert len(wanted - present) == 1
    assert before in netns.run("ip", "-d", "xfrm", "policy")
    assert plan(desired_pairs, {}, datapath.snapshot()) == []
