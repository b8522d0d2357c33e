"""Whose marks collide with ours: rules as ip, nft and iptables-save really print them (iproute2 6.1, nftables 1.0.6)."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wirecrypt.doctor.mark_users import ALL, MarkUse, collisions, ip_rules, iptables_rules, nft_rules

MARK = {"meta": {"key": "mark"}}
OURS = 0x0FF00000


def nft(*statements: dict[str, Any]) -> list[tuple[int, int]]:
    """Return what is written and compared by one rule of these statements."""
    rule = {"rule": {"family": "ip", "table": "t", "chain": "c", "handle": 2, "expr": list(statements)}}
    text = json.dumps({"nftables": [{"metainfo": {}}, {"table": {}}, rule]})
    return [(u.written, u.compared) for u in nft_rules(text)]


def mangle(value: object) -> dict[str, Any]:
    return {"mangle": {"key": MARK, "value": value}}


def match(left: object, right: object = 1, op: str = "==") -> dict[str, Any]:
    return {"match": {"op": op, "left": left, "right": right}}


@pytest.mark.parametrize(
    ("statement", "bits"),
    [
        (mangle({"|": [MARK, 16384]}), (0x4000, 0)),
        (mangle({"^": [MARK, 16384]}), (0x4000, 0)),
        (mangle({"|": [{"&": [MARK, 4028628991]}, 1048576]}), (0x0FF00000 & ~4028628991 | 0x100000, 0)),
        (mangle(1), (ALL, 0)),
        (mangle({"ct": {"key": "mark"}}), (ALL, 0)),
        (mangle({"jhash": {"mod": 2, "expr": {"payload": {"protocol": "ip", "field": "saddr"}}}}), (ALL, 0)),
        (match({"&": [MARK, 16384]}, 16384), (0, 0x4000)),
        (match({"&": [MARK, 4026531840]}, {"set": [268435456, 536870912]}), (0, 0xF0000000)),
        (match(MARK, 1337), (0, ALL)),
        (match(MARK, 0, "!="), (0, ALL)),
    ],
)
def test_nft_statements(statement: dict[str, Any], bits: tuple[int, int]) -> None:
    """Each way to write or compare a mark gives exactly its bits."""
    assert nft(statement) == [bits]


@pytest.mark.parametrize(
    "statement",
    [
        {"mangle": {"key": {"ct": {"key": "mark"}}, "value": MARK}},
        match({"payload": {"protocol": "ip", "field": "daddr"}}, "10.0.0.1"),
        {"counter": {"packets": 0, "bytes": 0}},
        {"accept": None},
        {"xt": {"type": "target", "name": "MARK"}},
    ],
)
def test_statements_without_packet_marks(statement: dict[str, Any]) -> None:
    """Connection marks, addresses and counters are nobody's business here (iptables' own rules are read by its tool)."""
    assert nft(statement) == []


@pytest.mark.parametrize(
    ("line", "bits"),
    [
        ("-A FORWARD -j MARK --set-xmark 0x4000/0x4000", (0x4000, 0)),
        ("-A FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT", (0, 0x4000)),
        ("-A FORWARD -m mark ! --mark 0x4000 -j MARK --set-xmark 0x1/0xffffffff", (ALL, ALL)),
        ("-A FORWARD -j CONNMARK --restore-mark --nfmask 0xffff0000 --ctmask 0xffffffff", (0xFFFF0000, 0)),
        ("-A FORWARD -j CONNMARK --save-mark --nfmask 0xffff0000 --ctmask 0xffffffff", (0, 0)),
        ("-A FORWARD -j MARK --set-xmark 0x100000/0x100000", (0x100000, 0)),
        ("-A FORWARD -s 10.0.0.0/8 -j ACCEPT", (0, 0)),
        (":FORWARD ACCEPT [0:0]", (0, 0)),
    ],
)
def test_iptables_lines(line: str, bits: tuple[int, int]) -> None:
    """Lines of iptables-save: set, compare, restore; saving to the connection changes no packet."""
    assert [(u.written, u.compared) for u in iptables_rules(line)] == ([bits] if any(bits) else [])


def test_ip_rules() -> None:
    """`ip -j rule`: a mask that is not told is the whole mark; rules without a mark are left out."""
    text = json.dumps(
        [
            {"priority": 0, "src": "all", "table": "local"},
            {"priority": 32763, "not": None, "src": "all", "fwmark": "0x80000", "fwmask": "0xff0000", "table": "7"},
            {"priority": 32764, "src": "all", "fwmark": "0x1", "table": "5"},
        ]
    )
    assert [u.compared for u in ip_rules(text)] == [0xFF0000, ALL]
    assert list(ip_rules("")) == []


@pytest.mark.parametrize(
    ("bits", "owner"),
    [
        (0x4000, "kube-proxy (masquerade)"),
        (0x8000, "kube-proxy (drop)"),
        (0x539, "Istio"),
        (0xF00, "Cilium"),
        (0x30000, "Tailscale or Calico"),
        (0xFFFF0000, "Calico"),
        (ALL, ""),
    ],
)
def test_owners_are_guessed_by_their_bits(bits: int, owner: str) -> None:
    """Well-known programs are named by the bits that they use; a whole mark is nobody's."""
    assert MarkUse("nftables", "", written=bits).owner == owner


@given(written=st.integers(0, ALL), compared=st.integers(0, ALL), mask=st.integers(1, ALL))
def test_a_collision_is_a_common_bit(written: int, compared: int, mask: int) -> None:
    """Exactly the rules that share a bit with our field collide."""
    use = MarkUse("nftables", "", written, compared)
    assert bool(list(collisions([use], mask))) == bool((written | compared) & mask)


def test_meaning_our_bits_is_worse_than_taking_all() -> None:
    """A rule for some of our bits means them; one that writes or compares the whole mark just is in the way."""
    meant, complete = MarkUse("x", "a", written=0x100000), MarkUse("x", "b", compared=ALL)
    assert list(collisions([meant, complete, MarkUse("x", "c", written=0x4000)], OURS)) == [(meant, True), (complete, False)]
