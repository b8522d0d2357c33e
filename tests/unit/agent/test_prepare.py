"""What `agent prepare` does after a boot, and for a node that may be labelled later."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests.fakes.links import Uplink
from tests.unit.agent.cloud import Machine, active
from wirecrypt.agent.prepare import compile_ahead, prepare
from wirecrypt.agent.store.blocklist import load_blocklist, save_blocklist
from wirecrypt.errors import BpfError
from wirecrypt.model.guard import GuardAction
from wirecrypt.model.pair import End
from wirecrypt.model.xfrm import Direction, Policy
from wirecrypt.settings import Settings


def test_a_compiler_that_fails_does_not_keep_the_agent_from_starting() -> None:
    """The failure is told with its reason, and preparing goes on."""

    def fail() -> bool:
        raise BpfError("compile the eBPF programs", answer="no headers")

    with capture_logs() as said:
        compile_ahead(fail)
    assert [(entry["log_level"], "no headers" in entry["error"]) for entry in said] == [("warning", True)]


def test_only_what_was_compiled_is_told() -> None:
    """Programs that were there already are no event."""
    with capture_logs() as said:
        compile_ahead(lambda: False)
        compile_ahead(lambda: True)
    assert [entry["event"] for entry in said] == ["programs compiled"]


# ---- after a boot


@pytest.fixture
def booted(tmp_path: Path) -> Machine:
    """Return a node of an encrypted pair after its reboot."""
    machine = active(tmp_path, "a", "b").machines["a"]
    machine.boot()
    return machine


def run(machine: Machine) -> int:
    uplink = Uplink(machine.addresses)
    return prepare(load_blocklist(machine.pairs), machine.kernel, machine.filters, uplink, Settings())


@pytest.mark.L1
def test_the_kernel_blocks_before_the_guard_is_touched(booted: Machine) -> None:
    """◆R24 All block policies are in the kernel before a program is loaded or attached; the guard's entries come last."""
    assert run(booted) == 1
    assert booted.kernel.out(booted.cloud.peer("b")) == {"block"}
    kinds = [line.split()[0] for line in booted.journal]
    assert list(dict.fromkeys(kinds)) == ["set", "load", "attach", "guard"]
    pods = booted.cloud.machines["b"].pods
    assert {booted.filters.table[p].egress for p in pods} == {GuardAction.DROP}


@pytest.mark.L1
def test_a_guard_that_fails_leaves_the_blocks(booted: Machine) -> None:
    """The pairs are blocked, the error comes out, and comes out again when the container is started again."""
    booted.filters.refusal = "the compiler died"
    for _ in range(2):
        with pytest.raises(BpfError, match="the compiler died"):
            run(booted)
        assert booted.kernel.out(booted.cloud.peer("b")) == {"block"}
    booted.filters.refusal = ""
    run(booted)
    assert booted.filters.attached == {"upl"}
    assert run(booted) == 0


@pytest.mark.R1
def test_a_node_that_was_not_rebooted_is_left_as_it_is(tmp_path: Path) -> None:
    """What encrypts goes on: nothing is written."""
    machine = active(tmp_path, "a", "b").machines["a"]
    before = list(machine.journal)
    assert run(machine) == 0
    assert machine.journal == before


@pytest.mark.R1
def test_a_guard_that_is_there_keeps_its_settings(tmp_path: Path) -> None:
    """An entry that is gone is put back; marks and mode, which the SAs next to it were made with, are not those of a boot."""
    machine = active(tmp_path, "a", "b").machines["a"]
    assert machine.filters.settings is not None
    machine.filters.settings = settings = replace(machine.filters.settings, mark_shift=16, strict=False)
    pods = machine.cloud.machines["b"].pods
    for prefix in pods:
        del machine.filters.table[prefix]
    run(machine)
    assert machine.filters.settings == settings
    assert {machine.filters.table[p].egress for p in pods} == {GuardAction.DROP}


@pytest.mark.C3
def test_a_foreign_policy_in_the_place_of_a_block_is_told(booted: Machine) -> None:
    """It stays, it is logged, and the guard drops what the missing block would have."""
    run(booted)
    name = next(n for n in booted.kernel.policies if n.direction is Direction.OUT and not n.selector.proto)
    foreign = Policy(name.direction, name.selector, 1)
    booted.boot()
    booted.kernel.policies[name] = foreign
    with capture_logs() as said:
        run(booted)
    assert booted.kernel.policies[name] == foreign
    assert [entry["peer"] for entry in said if entry["log_level"] == "error"] == ["b"]
    assert {booted.filters.table[p].egress for p in booted.cloud.machines["b"].pods} == {GuardAction.DROP}


@pytest.mark.L1
def test_a_listed_pair_without_a_tunnel_keeps_no_other_from_being_blocked(booted: Machine) -> None:
    """A pair whose ends share no address family is left to the guard; the others are blocked as always."""
    listed = load_blocklist(booted.pairs)
    assert listed is not None
    odd = End("c", 18, "uid-c", (ip_address("fd00::9"),), (ip_network("10.5.0.0/24"),))
    save_blocklist(listed.with_peers([(odd, False)]), booted.pairs)
    assert run(booted) == 1
    assert booted.kernel.out(booted.cloud.peer("b")) == {"block"}
    assert booted.filters.table[odd.pod_cidrs[0]].egress is GuardAction.DROP
