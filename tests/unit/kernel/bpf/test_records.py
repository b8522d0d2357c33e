"""Values as the bytes of the maps, and back."""

from __future__ import annotations

import re
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wirecrypt.errors import BpfError, InputError
from wirecrypt.kernel.bpf import pins as bpf_pins
from wirecrypt.kernel.bpf import records, source
from wirecrypt.kernel.bpf.header import header
from wirecrypt.model.guard import Drop, GuardAction, GuardEntry, GuardSettings
from wirecrypt.model.xfrm import Network
from wirecrypt.settings.fields import TUNNEL_PORTS

SETTINGS = GuardSettings(mark_shift=20, strict=True, vxlan_ports=(4789, 8472), geneve_ports=(6081,), control_port=7700)
PREFIXES = st.ip_addresses().flatmap(
    lambda address: st.integers(0, address.max_prefixlen).map(lambda n: ip_network(f"{address}/{n}", strict=False))
)


@given(PREFIXES, st.sampled_from(GuardAction), st.sampled_from(GuardAction), st.integers(0, 65535))
def test_an_entry_comes_back_equal(prefix: Network, egress: GuardAction, ingress: GuardAction, owner: int) -> None:
    """Any prefix, also one address, with any two actions and any owner is the same after a way through the map's bytes."""
    entry = GuardEntry(prefix, egress, ingress, owner)
    key, value = records.pack_prefix(entry.prefix), records.pack_actions(entry)
    assert records.unpack_entry(records.map_of(prefix), key, value) == entry


def test_a_key_is_length_in_native_order_and_address_in_network_order() -> None:
    """The bytes of a key are what the kernel's longest-prefix map compares (struct bpf_lpm_trie_key)."""
    key = records.pack_prefix(ip_network("10.244.2.0/24"))
    assert key == bytes(header().structs["wc_key4"](24))[:4] + b"\x0a\xf4\x02\x00"


def test_settings_are_strict_when_all_is_zero() -> None:
    """What was never configured must not be permissive: strict is the zero of its field."""
    assert records.unpack("wc_settings", bytes(len(records.pack("wc_settings")))).permissive == 0
    assert records.unpack("wc_settings", records.pack_settings(SETTINGS)).permissive == 0
    assert records.unpack("wc_settings", records.pack_settings(replace(SETTINGS, strict=False))).permissive == 1


def test_ports_fill_their_arrays_from_the_left() -> None:
    """Ports that are not given are zero, which means unused."""
    record = records.unpack("wc_settings", records.pack_settings(SETTINGS))
    assert (list(record.vxlan_ports), list(record.geneve_ports)) == ([4789, 8472, 0, 0], [6081, 0, 0, 0])


def test_as_many_ports_as_the_configuration_takes_fit() -> None:
    """The limit of the lists in the configuration is the room in the eBPF programs' settings."""
    assert header().numbers["WC_PORTS"] == TUNNEL_PORTS


@pytest.mark.parametrize("wrong", [
    {"vxlan_ports": (1, 2, 3, 4, 5)}, {"geneve_ports": (1, 2, 3, 4, 5)},
])  # fmt: skip
def test_settings_that_do_not_fit_are_refused(wrong: dict[str, object]) -> None:
    """Too many ports are an input error that shows the value."""
    with pytest.raises(InputError, match=re.escape(str(*wrong.values()))):
        records.pack_settings(replace(SETTINGS, **wrong))


@pytest.mark.parametrize(("family", "src", "dst"), [(4, "10.0.0.1", "10.0.0.2"), (6, "fd00::1", "fd00::2")])
def test_an_event_becomes_a_drop(family: int, src: str, dst: str) -> None:
    """An event of either family is told with its reason by name."""
    data = records.pack(
        "wc_event", ifindex=3, sport=1, dport=2, src=ip_address(src).packed, dst=ip_address(dst).packed, family=family,
        proto=17, reason=header().numbers["WC_REASON_EGRESS_UNKNOWN"], egress=1,
    )  # fmt: skip
    assert records.unpack_event(data) == Drop(
        egress=True, reason="egress_unknown", src=ip_address(src), dst=ip_address(dst), proto=17, sport=1, dport=2, ifindex=3
    )


def test_a_counter_is_the_sum_of_its_cpus() -> None:
    """A per-CPU value is summed over all slots."""
    assert records.sum_counter((5).to_bytes(8, "little") + (2**40).to_bytes(8, "little")) == 2**40 + 5


def test_every_map_of_the_source_has_its_pin_and_the_other_way_round() -> None:
    """The C source names exactly the maps that the loader pins, and the header numbers exactly these."""
    named = {name.lower() for name in re.findall(r"\bMAP\(WC_MAP_(\w+)\)", source.SOURCE.read_text())}
    assert named == {spec.name for spec in bpf_pins.maps()} == set(bpf_pins.map_numbers().values())


def test_pins_are_names_that_a_bpf_file_system_takes() -> None:
    """Names hold no dot (the kernel reserves them) and differ from one another."""
    pins = [spec.pin for spec in bpf_pins.maps()]
    assert len(set(pins)) == len(pins)
    assert [pin for pin in pins if not re.fullmatch(r"[a-z0-9]+-[0-9a-f]{8}", pin)] == []


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """The error says which folder and that a bpf file system belongs there."""
    pins = bpf_pins.Pins(tmp_path / "missing")
    with pytest.raises(BpfError, match="missing/wirecrypt"):
        bpf_pins.make_folder(pins.folder)
    assert pins.present() == frozenset()
