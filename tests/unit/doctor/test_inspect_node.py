"""From facts of a node to findings."""

from dataclasses import replace
from pathlib import Path

import pytest

from wirecrypt.doctor.counters import COUNTERS
from wirecrypt.doctor.facts import NodeInspection
from wirecrypt.doctor.finding import Finding, Severity
from wirecrypt.doctor.inspect_node import CHECKS, FORWARD, UNPRIVILEGED_BPF, inspect_node
from wirecrypt.doctor.mark_users import MarkUse
from wirecrypt.kernel.probe import Feature, ProbeResult

FEATURES = ("esp-ipv4", "esp-ipv6", "aes-256-gcm", "chacha20-poly1305", "esn", "so-rcvmark", "clsact", "bpf")
GOOD = NodeInspection(
    mask=0x0FF00000,
    root=True,
    release="6.12.0",
    features=[Feature(name, ProbeResult.YES, "was tried") for name in FEATURES],
    mark_uses=[MarkUse("iptables", "-A X", written=0x4000)],
    foreign=[],
    sysctls={UNPRIVILEGED_BPF: 2, **dict.fromkeys(FORWARD, 1)},
    stats=dict.fromkeys(COUNTERS, 0),
    counters={"passed": 7, "egress_unknown": 0},
    unguarded=(),
)


def bad(facts: NodeInspection) -> list[Finding]:
    return [f for f in inspect_node(facts) if f.severity is not Severity.OK]


def test_a_good_node_has_one_line_per_check() -> None:
    """All is well: each check says so, nothing else."""
    found = inspect_node(GOOD)
    assert [f.check for f in found] == [c.name for c in CHECKS if c.name != "privileges"]
    assert bad(GOOD) == []


def test_without_root_nothing_is_claimed() -> None:
    """Not root: one warning that says how to look, no statement about the node."""
    (finding,) = inspect_node(NodeInspection(mask=0xFF, root=False, release="6.1"))
    assert (finding.severity, finding.check) == (Severity.WARNING, "privileges")


def feature(name: str, verdict: ProbeResult) -> NodeInspection:
    return replace(GOOD, features=[Feature(f.name, verdict, "why") if f.name == name else f for f in GOOD.features])


@pytest.mark.parametrize(
    ("name", "verdict", "severity"),
    [
        ("esp-ipv4", ProbeResult.NO, Severity.ERROR),
        ("bpf", ProbeResult.NO, Severity.ERROR),
        ("aes-256-gcm", ProbeResult.NO, Severity.WARNING),
        ("clsact", ProbeResult.UNKNOWN, Severity.WARNING),
    ],
)
def test_what_the_kernel_lacks(name: str, verdict: ProbeResult, severity: Severity) -> None:
    """A missing feature is an error, one cipher of two a warning, an unknown answer never an ok."""
    (finding,) = bad(feature(name, verdict))
    assert (finding.check, finding.severity, name in finding.sentence) == ("kernel", severity, True)


CASES = {
    "marks": {"mark_uses": [MarkUse("nftables", "r", written=0x100000)]},
    "foreign-ipsec": {"foreign": ["state 192.0.2.1 > 192.0.2.2 spi 0x00000777"]},
    "unprivileged-bpf": {"sysctls": {**GOOD.sysctls, UNPRIVILEGED_BPF: 0}},
    "guard-links": {"unguarded": ("eth1",)},
    "forwarding": {"sysctls": {**GOOD.sysctls, FORWARD[0]: 0}},
    "xfrm-counters": {"stats": {"XfrmInTmplMismatch": 3}},
    "guard-counters": {"counters": {"egress_peer_cleartext": 2}},
}


@pytest.mark.parametrize("check", CASES)
def test_each_fault_is_one_finding_with_a_next_step(check: str) -> None:
    """One thing wrong gives one finding of its check, with a sentence and a next step."""
    (finding,) = bad(replace(GOOD, **CASES[check]))  # type: ignore[arg-type]
    assert finding.check == check
    assert finding.next_step
    assert finding.severity is (Severity.ERROR if check in {"marks", "guard-links"} else Severity.WARNING)


@pytest.mark.parametrize(
    ("check", "more"),
    [
        ("foreign-ipsec", {"foreign": None, "unseen": {"foreign": "no"}}),
        ("xfrm-counters", {"stats": None, "unseen": {"stats": "no"}}),
        ("guard-counters", {"counters": None, "unseen": {"counters": "no"}}),
        ("marks", {"unseen": {"marks nft": "no"}}),
        ("unprivileged-bpf", {"sysctls": dict.fromkeys(FORWARD, 1), "unseen": {UNPRIVILEGED_BPF: "no"}}),
        ("forwarding", {"sysctls": {UNPRIVILEGED_BPF: 2, FORWARD[0]: 1}, "unseen": {FORWARD[1]: "no"}}),
    ],
)
def test_what_could_not_be_looked_at_is_never_ok(check: str, more: dict[str, object]) -> None:
    """A check that could not be made warns and says why."""
    found = [f for f in bad(replace(GOOD, **more)) if f.check == check]  # type: ignore[arg-type]
    assert [f.severity for f in found] == [Severity.WARNING]
    assert "could not be looked at" in found[0].sentence


def test_an_idle_node_has_no_guard() -> None:
    """A node that is not enabled has no guard loaded, and that is well."""
    assert bad(replace(GOOD, counters=None)) == []


def test_what_is_exempt_is_counted_and_no_fault() -> None:
    """Cleartext between nodes of which one has an API server is what the configuration says."""
    assert bad(replace(GOOD, counters={"node_to_node": 9})) == []
    assert any("node_to_node 9" in f.sentence for f in inspect_node(replace(GOOD, counters={"node_to_node": 9})))


def test_cilium_is_told() -> None:
    """Where Cilium's link is, its invisible use of marks is a warning."""
    (finding,) = bad(replace(GOOD, links=frozenset({"lo", "cilium_host"})))
    assert "Cilium" in finding.sentence


def test_every_counter_has_words() -> None:
    """Each counter ends in a sentence and has a next step; 32 of them, as Linux 7.2 has."""
    assert len(COUNTERS) == 32
    assert all(m.sentence.endswith(".") and m.next_step for m in COUNTERS.values())


def test_every_counter_of_the_running_kernel_has_words() -> None:
    """Also of the kernel that these tests run on, when it has IPsec."""
    path = Path("/proc/net/xfrm_stat")
    names = {line.split()[0] for line in path.read_text(encoding="ascii").splitlines()} if path.exists() else set()
    assert names - COUNTERS.keys() == set()
