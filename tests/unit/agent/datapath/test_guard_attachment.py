"""What the keeper of the guard asks for, and where it attaches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network

from wirecrypt.agent.datapath.guard_attachment import GuardAttachment
from wirecrypt.model.guard import Attachment, GuardAction, GuardEntry, GuardSettings
from wirecrypt.model.link import Link
from wirecrypt.model.xfrm import Address
from wirecrypt.ports import Guard, Links
from wirecrypt.settings import Settings

OWN = ip_address("192.0.2.1")


@dataclass
class Memory:
    """A guard and links in memory; routes are by destination, as asked for."""

    entered: list[GuardEntry] = field(default_factory=list)
    routes: dict[str, list[str]] = field(default_factory=dict)
    defaults: list[str] = field(default_factory=list)
    attached: list[str] = field(default_factory=list)
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

    def entries(self) -> Sequence[GuardEntry]:
        """Return what is entered."""
        return self.entered

    def attachments(self) -> Sequence[Attachment]:
        """Return none."""
        return ()

    def attach_guard(self, link: str) -> None:
        """Note the link."""
        self.attached.append(link)

    def unload(self) -> None:
        """Count it."""
        self.unloaded += 1

    def links(self) -> Sequence[Link]:
        """Return four links, the node's address on the first."""
        addresses = {"eth0": (OWN,)}
        names = ("eth0", "eth1", "eth2", "eth3")
        return [
            Link(n, name, "", 1500, up=True, master=None, foreign_peer=False, addresses=addresses.get(name, ()))
            for n, name in enumerate(names)
        ]

    def route_links(self, destinations: Iterable[Address]) -> Sequence[str]:
        """Return the links of all routes that were asked for."""
        return [name for one in destinations for name in self.routes.get(str(one), ())]

    def default_links(self) -> Sequence[str]:
        """Return those with a default route."""
        return self.defaults


def session_keeper(memory: Memory) -> GuardAttachment:
    guard: Guard = memory  # type: ignore[assignment]  # only what the keeper asks for
    links: Links = memory  # type: ignore[assignment]  # as above
    return GuardAttachment(guard, links)


def attached(memory: Memory, *peers: object, settings: Settings | None = None) -> list[str]:
    session_keeper(memory).attach([OWN], peers, settings or Settings(), lanes=1)  # type: ignore[arg-type]  # addresses and prefixes
    return memory.attached


def test_the_guard_sits_where_anything_may_leave_for_another_node() -> None:
    """The node's own address, the default route, and all next hops towards peers and towards their pods."""
    pods = GuardEntry(ip_network("10.2.0.0/24"), GuardAction.DROP, GuardAction.PASS, 17)
    memory = Memory([pods], {"192.0.2.2": ["eth0"], "10.2.0.1": ["eth2", "eth3"]}, ["eth1"])
    assert attached(memory, ip_address("192.0.2.2")) == ["eth0", "eth1", "eth2", "eth3"]


def test_prefixes_that_are_not_entered_yet_are_asked_for_too() -> None:
    """A prefix among the peers stands for its first address, one of a single address for that."""
    memory = Memory(routes={"10.2.0.1": ["eth2"], "10.3.0.7": ["eth3"]})
    assert attached(memory, ip_network("10.2.0.0/24"), ip_network("10.3.0.7/32")) == ["eth0", "eth2", "eth3"]


def test_what_is_entered_of_plain_nodes_makes_no_uplink() -> None:
    """A prefix in clear by decision needs no guard on its way."""
    plain = GuardEntry(ip_network("10.2.0.0/24"), GuardAction.PASS, GuardAction.PASS)
    assert attached(Memory([plain], {"10.2.0.1": ["eth2"]})) == ["eth0"]


def test_a_list_in_the_configuration_is_all_there_is() -> None:
    """No route is looked up where the links are named."""
    memory = Memory(routes={"192.0.2.2": ["eth2"]}, defaults=["eth1"])
    assert attached(memory, ip_address("192.0.2.2"), settings=Settings(uplinks=("eth3",))) == ["eth3"]


def test_a_node_that_left_unloads_whatever_version_is_there() -> None:
    """That the present version is not pinned does not mean that nothing is: an older one may be."""
    memory = Memory(present=False)
    session_keeper(memory).remove()
    assert memory.unloaded == 1
