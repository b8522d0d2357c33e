"""What is asked of the guard, and where it attaches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network

import pytest

from wirecrypt.agent.datapath.guard_attachment import EGRESS, INGRESS, MARK, GuardAttachment, guard_settings
from wirecrypt.errors import LinkError
from wirecrypt.model.guard import Attachment, GuardSettings
from wirecrypt.model.link import Link
from wirecrypt.model.pair import End
from wirecrypt.ports import Guard, Links
from wirecrypt.settings import Settings

ADDRESS = ip_address("192.0.2.1")
OWN = End("a", 16, "uid-a", (ADDRESS,), (ip_network("10.1.0.0/24"),))


def link(name: str, **what: object) -> Link:
    values: dict[str, object] = {"kind": "", "master": None, "foreign_peer": False, "addresses": (), **what}
    return Link(len(name), name, mtu=1500, up=True, **values)  # type: ignore[arg-type]  # as given


@dataclass
class Memory:
    """A guard and links in memory."""

    found: list[Link] = field(default_factory=lambda: [link("eth0", addresses=(ADDRESS,)), link("eth1"), link("eth2")])
    programs: list[tuple[str, str]] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    unloaded: int = 0
    present: bool = False

    def loaded(self) -> bool:
        """Return whether this version is pinned."""
        return self.present

    def load(self, _settings: GuardSettings) -> None:
        """Be loaded."""
        self.present = True

    def configure(self, _settings: GuardSettings) -> bool:
        """Take any settings."""
        return False

    def attachments(self) -> Sequence[Attachment]:
        """Return what is attached."""
        return [Attachment(name, program, current=True) for name, program in self.programs]

    def attach_guard(self, name: str) -> None:
        """Note the link."""
        self.done.append(f"guard {name}")
        self.programs += [(name, EGRESS), (name, INGRESS)]

    def hold(self) -> None:
        """Be held."""

    def detach(self, name: str) -> None:
        """Note the link."""
        self.done.append(f"detach {name}")
        self.programs = [entry for entry in self.programs if entry[0] != name]

    def unload(self) -> None:
        """Count it."""
        self.unloaded += 1

    def links(self) -> Sequence[Link]:
        """Return what there is."""
        return self.found


def attachment(memory: Memory) -> GuardAttachment:
    guard: Guard = memory  # type: ignore[assignment]  # only what is asked for
    links: Links = memory  # type: ignore[assignment]  # as above
    return GuardAttachment(guard, links)


def attached(memory: Memory, settings: Settings | None = None) -> list[str]:
    settings = settings or Settings()
    attachment(memory).attach(OWN, settings, guard_settings(OWN, settings, marks=settings.mark.layout, esp_keeps_mark=False))
    return memory.done


def test_the_guard_sits_wherever_a_packet_can_leave_the_node() -> None:
    """No route is asked for: one that is made later leads by a link that has the guard already."""
    assert attached(Memory()) == ["guard eth0", "guard eth1", "guard eth2"]


def test_what_is_attached_is_left_as_it_is() -> None:
    """A second look does nothing."""
    memory = Memory()
    assert attached(memory) == attached(memory)


def test_a_list_in_the_configuration_is_all_there_is() -> None:
    """Others stay without."""
    assert attached(Memory(), Settings(uplinks=("eth1",))) == ["guard eth1"]


def test_a_list_that_names_no_link_is_an_error_and_attaches_nothing() -> None:
    """Whoever asked learns that the node has no guard."""
    memory = Memory()
    with pytest.raises(LinkError, match="eht0"):
        attached(memory, Settings(uplinks=("eht0",)))
    assert memory.done == []


def test_a_veth_that_turns_out_to_be_the_wire_loses_the_mark() -> None:
    """It was taken for a pod's while it had neither address nor route."""
    memory = Memory([link("upl", kind="veth", foreign_peer=True, addresses=(ADDRESS,))], [("upl", MARK)])
    assert attached(memory) == ["detach upl", "guard upl"]
    assert ("upl", MARK) not in memory.programs


def test_a_node_that_left_unloads_whatever_version_is_there() -> None:
    """That the present version is not pinned does not mean that nothing is: an older one may be."""
    memory = Memory(present=False)
    attachment(memory).remove()
    assert memory.unloaded == 1
