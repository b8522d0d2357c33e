"""What an agent is made of; the command line puts it together from real adapters."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from wirecrypt.agent.datapath.guard_attachment import GuardAttachment
from wirecrypt.agent.datapath.writes import Datapath
from wirecrypt.agent.store.blocklist import PairsOnDisk
from wirecrypt.agent.store.session_keeper import SessionKeeper
from wirecrypt.agent.view.cluster_view import ObjectCache
from wirecrypt.ports import AgentApi, ControlChannel, Xfrm

BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Components:
    """The outside of one agent, and the two files it keeps."""

    node: str
    cache: ObjectCache
    api: AgentApi
    xfrm: Xfrm
    channel: ControlChannel
    datapath: Datapath
    guard_attachment: GuardAttachment
    session_keeper: SessionKeeper
    pairs_on_disk: PairsOnDisk
    boot_id: str
    versions: tuple[tuple[str, str], ...]


def boot_id() -> str:
    """Return the kernel's id of this boot."""
    return BOOT_ID.read_text().strip()
