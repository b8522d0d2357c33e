"""From facts of a node to findings."""

from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from tests.unit.cli.fake_cli_client import NOW, node_label
from wirecrypt.doctor.counters import COUNTERS
from wirecrypt.doctor.facts import ClusterFacts, LocalMachine, NodeInspection
from wirecrypt.doctor.finding import Finding, Severity
from wirecrypt.doctor.inspect_node import CHECKS, FORWARD, UNPRIVILEGED_BPF, inspect_node, no_node
from wirecrypt.doctor.mark_users import MarkUse
from wirecrypt.kernel.probe import Feature, ProbeResult
from wirecrypt.model.objects import Node

NO, UNKNOWN = ProbeResult.NO, ProbeResult.UNKNOWN
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
    assert [f.check for f in found] == [c.name for c in CHECKS if c.name not in ("machine", "privileges")]
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


def without(**verdicts: ProbeResult) -> NodeInspection:
    """Return a node where nothing of IPsec can be tried for want of what is NO."""
    missing = tuple(name.replace("_", "-") for name, verdict in verdicts.items() if verdict is ProbeResult.NO)
    named = {name.replace("_", "-"): verdict for name, verdict in verdicts.items()}
    features = [
        Feature(f.name, named[f.name], f"why {f.name}", () if f.name in missing else missing) if f.name in named else f
        for f in GOOD.features
    ]
    return replace(GOOD, features=features)


@pytest.mark.parametrize(
    "facts",
    [
        without(esp_ipv4=NO, esp_ipv6=NO, aes_256_gcm=UNKNOWN, chacha20_poly1305=UNKNOWN, esn=UNKNOWN),
        without(esp_ipv4=UNKNOWN, esp_ipv6=UNKNOWN, aes_256_gcm=NO, chacha20_poly1305=NO, esn=UNKNOWN),
    ],
    ids=["no ESP", "no cipher"],
)
def test_one_missing_part_of_ipsec_is_one_finding(facts: NodeInspection) -> None:
    """What could not be tried for want of it is named there, and is no finding of its own."""
    (finding,) = bad(facts)
    assert (finding.check, finding.severity) == ("kernel", Severity.ERROR)
    assert all(name in finding.sentence for name in FEATURES[:5])
    assert finding.next_step


def test_one_reason_for_not_knowing_is_one_finding() -> None:
    """All features, tried without a right; all tools, none of them installed."""
    unknown = [Feature(name, UNKNOWN, "run as root") for name in FEATURES]
    unseen = {f"marks {tool}": "not installed" for tool in ("nft", "iptables-save")} | {"marks ip": "exit status 1"}
    found = [f.sentence for f in bad(replace(GOOD, features=unknown, unseen=unseen))]
    assert found == [
        f"could not be looked at: {', '.join(FEATURES)}: run as root",
        "could not be looked at: ip: exit status 1",
        "could not be looked at: iptables-save, nft: not installed",
    ]


CLUSTER = ClusterFacts(
    now=NOW,
    node_labels=[node_label("one"), node_label("two")],
    nodes=[Node("one", "u", None, (ip_address("192.0.2.1"),), (), NOW), Node("two", "v", None, (), (), NOW)],
)
WORKSTATION = LocalMachine(frozenset({"desk"}), frozenset({ip_address("198.51.100.7")}))


@pytest.mark.parametrize(
    ("more", "machine"),
    [
        ({}, LocalMachine(frozenset({"two"}), frozenset())),
        ({}, LocalMachine(frozenset({"desk"}), frozenset({ip_address("192.0.2.1")}))),
        ({}, LocalMachine(frozenset({"desk"}), None)),
        ({"node_labels": None}, WORKSTATION),
        ({"nodes": None}, WORKSTATION),
        ({"unseen": {"claims two": "no address"}}, WORKSTATION),
    ],
    ids=["its name", "its address", "own addresses unread", "Nodes unread", "claims unread", "one Node unread"],
)
def test_a_machine_that_may_be_a_node_is_looked_at(more: dict[str, object], machine: LocalMachine) -> None:
    """By name or by address; and where nobody can tell."""
    assert no_node(machine, replace(CLUSTER, **more)) == []  # type: ignore[arg-type]


@pytest.mark.parametrize("cluster", [CLUSTER, replace(CLUSTER, node_labels=[], nodes=[])])
def test_a_machine_that_is_no_node_is_told_so_once(cluster: ClusterFacts) -> None:
    """An administrator's own: one finding with its name, that it was not looked at, and how to look all the same."""
    (finding,) = no_node(WORKSTATION, cluster)
    assert (finding.check, finding.severity, finding.seen) == ("machine", Severity.WARNING, False)
    assert "desk" in finding.sentence
    assert "--only node" in finding.next_step


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
