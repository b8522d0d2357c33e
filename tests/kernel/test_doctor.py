"""What doctor gathers on a real kernel: counters, features, foreign objects and marks of others."""

from pathlib import Path

import pytest

from tests.kernel.conftest import Host, Netns
from tests.kernel.test_xfrm_traffic import make_sas, to_peer
from wirecrypt.doctor.counters import COUNTERS
from wirecrypt.doctor.finding import Severity
from wirecrypt.doctor.gather_node import gather_node
from wirecrypt.doctor.inspect_node import inspect_node
from wirecrypt.kernel.xfrm.adapter import KernelXfrm
from wirecrypt.model.mark import MarkLayout

MARKS = MarkLayout()
BPFFS = Path("/sys/fs/bpf")


def test_every_counter_of_this_kernel_has_its_words(xfrm: KernelXfrm) -> None:
    """No counter of the running kernel is unknown to doctor."""
    assert set(xfrm.stats()) - COUNTERS.keys() == set()


def test_a_clean_node_has_no_finding_but_its_kernel(esp: None, netns: Netns) -> None:
    """In an empty namespace: all features, no foreign object, no counter, no rule on our marks, no guard."""
    with netns.entered():
        facts = gather_node(MARKS, BPFFS / "nothing-here")
    assert (facts.root, facts.foreign, facts.counters) == (True, [], None)
    assert facts.stats is not None
    assert not any(facts.stats.values())
    found = {f.check: f.severity for f in inspect_node(facts) if f.check in ("kernel", "foreign-ipsec", "xfrm-counters")}
    assert found == dict.fromkeys(found, Severity.OK)
    assert [u for u in facts.mark_uses if u.written & MARKS.mask] == []


def test_foreign_objects_are_named_and_keys_are_not(hosts: tuple[Host, Host]) -> None:
    """A state and a policy of another program are listed by their addresses; ours and all keys are not."""
    with hosts[0].netns.entered(), KernelXfrm() as xfrm:
        ends = "src 192.0.2.1 dst 192.0.2.9 proto esp"
        key = "0x" + "ab" * 36
        hosts[0].netns.ip(f"xfrm state add {ends} spi 0x777 mode tunnel reqid 5 aead rfc4106(gcm(aes)) {key} 128")
        hosts[0].netns.ip(f"xfrm policy add src 10.9.0.0/24 dst 10.8.0.0/24 dir out priority 100 tmpl {ends} mode tunnel")
        sending, _ = make_sas(*hosts, 0x00100100)
        assert xfrm.add_sas([sending]) == []
        assert xfrm.set_policies([to_peer(*hosts, 0x00100100)]) == []
        facts = gather_node(MARKS, BPFFS)
    assert facts.foreign is not None
    text = " ".join(facts.foreign)
    assert len(facts.foreign) == 2, text
    assert "0x00000777" in text
    assert "10.8.0.0/24" in text
    assert "abab" not in text


def test_the_field_that_is_looked_at_is_the_one_in_use(hosts: tuple[Host, Host]) -> None:
    """SAs carry the field where they were made, whatever the configuration says since."""
    with hosts[0].netns.entered(), KernelXfrm() as xfrm:
        _, receiving = make_sas(*hosts, 0x00100100)
        assert xfrm.add_sas([receiving]) == []
        assert gather_node(MarkLayout(8), BPFFS).mask == MARKS.mask


def test_a_rule_on_our_bits_is_an_error(netns: Netns, esp: None) -> None:
    """`ip rule` with our bits collides; one with other bits does not."""
    netns.ip(f"rule add fwmark {1 << 20:#x}/{3 << 20:#x} lookup 100")
    netns.ip("rule add fwmark 0x200/0xf00 lookup 101")
    with netns.entered():
        found = [f for f in inspect_node(gather_node(MARKS, BPFFS)) if f.check == "marks" and f.severity is Severity.ERROR]
    assert len(found) == 1
    assert "0x100000/0x300000" in found[0].sentence


def test_a_dropped_packet_is_a_finding(hosts: tuple[Host, Host]) -> None:
    """A counter that is not zero is told with its sentence and the next step."""
    with hosts[0].netns.entered(), KernelXfrm() as xfrm:
        assert xfrm.set_policies([to_peer(*hosts, 0x00100100)]) == []  # an SA that does not exist
        with pytest.raises(AssertionError):
            hosts[0].netns.run("ping", "-c", "1", "-W", "1", "-I", str(hosts[0].pod[4]), str(hosts[1].pod[4]))
        found = [f for f in inspect_node(gather_node(MARKS, BPFFS)) if f.check == "xfrm-counters"]
    assert any("XfrmOut" in f.sentence and f.severity is Severity.WARNING and f.next_step for f in found), found
