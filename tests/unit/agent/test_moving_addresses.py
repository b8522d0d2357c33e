"""An address that a peer holds next to its endpoints: reached by ESP, and in no moment of a move by nothing."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

from tests.unit.agent.cloud import Cloud, Machine, active
from wirecrypt.model.xfrm import Address, Direction, host

VIP = ip_address("198.51.100.7")


def put(cloud: Cloud, holder: str) -> None:
    """Have the kernel of *holder* alone list the address, as its event says."""
    for name, machine in cloud.machines.items():
        machine.uplink.addresses = (*machine.addresses, VIP) if name == holder else machine.addresses
        machine.agent.links_changed()
    cloud.run(0.5)


def grant(cloud: Cloud, name: str, *addresses: Address) -> None:
    """Write what the controller grants, and let the agents see it."""
    cloud.api.peers[name] = replace(cloud.api.peers[name], addresses=addresses)
    cloud.run(0.5)


def ways(machine: Machine) -> set[Address | None]:
    """Return the ends of the tunnels by which *machine* sends to the address, None for a policy without a tunnel."""
    found = [p for p in machine.kernel.policies.values() if p.direction is Direction.OUT and p.selector.dst == host(VIP)]
    return {p.templates[0].dst if p.templates else None for p in found}


def test_an_address_is_proposed_and_once_it_is_granted_peers_send_to_it_by_esp(tmp_path: Path) -> None:
    """To the node's endpoint, and take what comes from it; its own node has no policy for it."""
    cloud = active(tmp_path, "a", "b", "c")
    put(cloud, "b")
    assert cloud.peer("b").proposed == (*cloud.peer("b").endpoints, VIP)
    assert ways(cloud.machines["a"]) == set()
    grant(cloud, "b", VIP)
    place = cloud.machines["b"].addresses[0]
    assert [ways(cloud.machines[name]) for name in "abc"] == [{place}, set(), {place}]
    arriving = [p for p in cloud.machines["a"].kernel.policies.values() if p.selector.src == host(VIP)]
    assert {p.direction for p in arriving} == {Direction.IN, Direction.FWD}


def test_an_address_that_moves_is_replaced_in_the_kernel_and_never_missing(tmp_path: Path) -> None:
    """◆R20 Withdrawn, granted to the new one, taken from the old one: at each step peers have a way by ESP, and one."""
    cloud = active(tmp_path, "a", "b", "c")
    put(cloud, "b")
    grant(cloud, "b", VIP)
    watched = cloud.machines["a"]
    old, new = (cloud.machines[name].addresses[0] for name in ("b", "c"))
    watched.journal.clear()
    put(cloud, "c")
    proposed = [[a for a in cloud.peer(name).proposed or () if a not in cloud.peer(name).endpoints] for name in "bc"]
    assert (proposed, ways(watched)) == ([[], [VIP]], {old})
    grant(cloud, "c", VIP)
    assert ways(watched) == {new}
    assert ways(cloud.machines["b"]) == {new}
    grant(cloud, "b")
    assert ways(watched) == {new}
    assert not [line for line in watched.journal if line.startswith(("delete", "unguard")) and str(VIP) in line]


def test_an_address_of_a_node_that_vanished_goes_on_to_whoever_is_shown_with_it(tmp_path: Path) -> None:
    """The NodePeer of the old holder is not shown any more: its claim stands until another one has the address."""
    cloud = active(tmp_path, "a", "b", "c")
    put(cloud, "b")
    grant(cloud, "b", VIP)
    cloud.api.hidden.add("b")
    cloud.run(0.5, "a", "c")
    place = cloud.machines["b"].addresses[0]
    assert ways(cloud.machines["a"]) == {place}
    grant(cloud, "c", VIP)
    assert ways(cloud.machines["a"]) == {cloud.machines["c"].addresses[0]}
