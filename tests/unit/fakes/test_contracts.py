"""What stands in for kernel, state file and control port keeps what the ports promise; the real ones are tried on it, too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from tests.fakes.channel import Channel
from tests.fakes.contracts import (
    GUARD,
    XFRM,
    a_channel_has_nothing_once_it_is_closed,
    a_state_is_kept_until_it_is_removed,
)
from tests.fakes.kernel import Kernel
from tests.fakes.store import Store
from tests.unit.agent.written_state import STATE
from wirecrypt.agent.store.statefile import open_state
from wirecrypt.model.guard import GuardSettings
from wirecrypt.ports import Guard, Xfrm

SETTINGS = GuardSettings(
    mark_shift=20, strict=True, vxlan_ports=(), geneve_ports=(), control_port=14500, node_id=16, own=(),
    esp_keeps_mark=False,
)  # fmt: skip


@pytest.mark.parametrize("promise", XFRM, ids=lambda promise: promise.__name__)
def test_sas_and_policies_in_memory(promise: Callable[[Xfrm], None]) -> None:
    """As those of the kernel."""
    promise(Kernel())


@pytest.mark.parametrize("promise", GUARD, ids=lambda promise: promise.__name__)
def test_a_guard_in_memory(promise: Callable[[Guard, GuardSettings], None]) -> None:
    """As the programs and maps of the kernel."""
    promise(Kernel().guard, SETTINGS)


def test_a_state_in_memory_and_one_on_disk(tmp_path: Path) -> None:
    """Both are kept in one way."""
    other = replace(STATE, last_session=STATE.last_session + 1)
    a_state_is_kept_until_it_is_removed(Store(), STATE, other)
    with open_state(tmp_path / "state.json") as file:
        a_state_is_kept_until_it_is_removed(file, STATE, other)


def test_a_control_port_in_memory() -> None:
    """As the sockets of the kernel (tests/kernel/test_control_socket.py)."""
    a_channel_has_nothing_once_it_is_closed(Channel(lambda *_: True), [ip_address("192.0.2.1")], 14500)
