"""What an agent is made of; the command line puts it together from real adapters."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from wirecrypt.agent.datapath.guard_attachment import GuardKeeper
from wirecrypt.agent.datapath.writes import Datapath
from wirecrypt.agent.store.blocklist import PairsOnDisk
from wirecrypt.agent.store.session_keeper import Keeper
from wirecrypt.agent.view.cluster_view import Copies
from wirecrypt.ports import Cluster, ControlChannel, Xfrm

BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Parts:
    """The outside of one agent, and the two files it keeps."""

    node: str
    copies: Copies
    cluster: Cluster
    xfrm: Xfrm
    channel: ControlChannel
    datapath: Datapath
    guarding: GuardKeeper
    keeper: Keeper
    pairs_on_disk: PairsOnDisk
    boot_id: str
    versions: tuple[tuple[str, str], ...]


def boot_id() -> str:
    """Return the kernel's id of this boot."""
    return BOOT_ID.read_text().strip()
