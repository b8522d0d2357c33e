"""Values of wirecrypt as the bytes of the maps, and back; layouts come from bpf/wirecrypt.h."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from functools import cache
from ipaddress import ip_address, ip_network
from typing import Any, Final

from wirecrypt.errors import InputError
from wirecrypt.kernel.bpf.header import header
from wirecrypt.model.guard import Drop, GuardAction, GuardEntry, GuardSettings
from wirecrypt.model.xfrm import Address, Network

_PREFIX: Final = "WC_REASON_"
_REFUSED: Final = "WC_REFUSED_"
ENTRY_MAPS: Final = ("prefixes4", "prefixes6", "addresses4", "addresses6")


@cache
def reason_names() -> Mapping[int, str]:
    """Return the name of each reason by its number."""
    reasons = header().enums["wc_reason"]
    return {number: name.removeprefix(_PREFIX).lower() for name, number in reasons.items()}


@cache
def refusal_names() -> Mapping[int, str]:
    """Return in words why the filter of the control port refuses, by number."""
    refused = header().enums["wc_refused"]
    return {number: name.removeprefix(_REFUSED).lower().replace("_", " ") for name, number in refused.items()}


def pack(struct: str, **values: object) -> bytes:
    """Return a struct of the header as bytes; fields that are not given are zero, sequences fill arrays from the left."""
    record: Any = header().structs[struct]()
    for field, value in values.items():
        if isinstance(value, (bytes, tuple)):
            getattr(record, field)[: len(value)] = value
        else:
            setattr(record, field, value)
    return bytes(record)


def unpack(struct: str, data: bytes) -> Any:  # noqa: ANN401 - a ctypes structure whose fields the header names
    """Return a struct of the header from its bytes."""
    return header().structs[struct].from_buffer_copy(data)


def pack_settings(settings: GuardSettings, *, bare_links: bool = False) -> bytes:
    """Return struct wc_settings, *bare_links* when a link may have no Ethernet header.

    Raises `InputError` for more ports than fit.
    """
    room = header().numbers["WC_PORTS"]
    for name, ports in (("VXLAN", settings.vxlan_ports), ("Geneve", settings.geneve_ports)):
        if len(ports) > room:
            raise InputError("configure the guard", what=f"{name} ports {ports}", answer=f"more than {room}", hint="list fewer")
    own = {address.version: address.packed for address in reversed(settings.own)}
    return pack(
        "wc_settings",
        mark_shift=settings.mark_shift,
        permissive=not settings.strict,
        control_port=settings.control_port,
        esp_keeps_mark=settings.esp_keeps_mark,
        bare_links=bare_links,
        node=settings.node_id,
        own4=own.get(4, b""),
        own6=own.get(6, b""),
        vxlan_ports=settings.vxlan_ports,
        geneve_ports=settings.geneve_ports,
    )


def has_bare_links(settings: bytes) -> bool:
    """Return whether struct wc_settings says that a link may have no Ethernet header."""
    return bool(unpack("wc_settings", settings).bare_links)


def with_bare_links(settings: bytes) -> bytes:
    """Return struct wc_settings with that said, and all else as it is."""
    record = unpack("wc_settings", settings)
    record.bare_links = 1
    return bytes(record)


def map_of(prefix: Network) -> str:
    """Return the name of the map that holds a prefix: one of addresses for a prefix that is one."""
    kind = "addresses" if prefix.prefixlen == prefix.max_prefixlen else "prefixes"
    return f"{kind}{prefix.version}"


def pack_prefix(prefix: Network) -> bytes:
    """Return the key of a prefix in its map: the address, or struct wc_key4 or wc_key6."""
    if prefix.prefixlen == prefix.max_prefixlen:
        return prefix.network_address.packed
    return pack(f"wc_key{prefix.version}", length=prefix.prefixlen, address=prefix.network_address.packed)


def pack_actions(entry: GuardEntry) -> bytes:
    """Return struct wc_entry."""
    return pack("wc_entry", egress=entry.egress.value, ingress=entry.ingress.value, node=entry.node_id)


def unpack_entry(name: str, key: bytes, value: bytes) -> GuardEntry:
    """Return one element of the map of this name, with the version of IP at its end, as an entry."""
    actions = unpack("wc_entry", value)
    if name.startswith("addresses"):
        network = ip_network(key)
    else:
        prefix = unpack(f"wc_key{name[-1]}", key)
        network = ip_network((bytes(prefix.address), prefix.length))
    return GuardEntry(network, GuardAction(actions.egress), GuardAction(actions.ingress), actions.node)


def unpack_event(data: bytes) -> Drop:
    """Return one record of the ring as a drop."""
    event = unpack("wc_event", data)
    return Drop(
        egress=bool(event.egress),
        reason=reason_names()[event.reason],
        src=_address(event.family, bytes(event.src)),
        dst=_address(event.family, bytes(event.dst)),
        proto=event.proto,
        sport=event.sport,
        dport=event.dport,
        ifindex=event.ifindex,
    )


def sum_counter(slots: bytes) -> int:
    """Return the sum over CPUs of one element of a per-CPU map of __u64."""
    return sum((ctypes.c_uint64 * (len(slots) // 8)).from_buffer_copy(slots))


def _address(family: int, data: bytes) -> Address:
    return ip_address(data[:4] if family == 4 else data)  # noqa: PLR2004 - IP versions
