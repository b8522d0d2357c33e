"""What an agent is made of; the command line puts it together from real adapters."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from wirecrypt.agent.datapath.guard_attachment import GuardKeeper
from wirecrypt.agent.datapath.writes import Datapath
from wirecrypt.agent.store.blocklist import PairsOnDisk
from wirecrypt.agent.store.session_keeper import Keeper, Offer
from wirecrypt.agent.view.cluster_view import Copies
from wirecrypt.model.spi import MAX_LANES
from wirecrypt.model.xfrm import Algorithm
from wirecrypt.ports import Cluster, ControlChannel, Xfrm
from wirecrypt.settings import Settings

BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
CPUINFO: Final = Path("/proc/cpuinfo")


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


def offer(settings: Settings) -> Offer:
    """Return what new sessions offer: configured, or by what this machine has."""
    lanes = settings.lanes or min(os.cpu_count() or 1, MAX_LANES)
    return Offer(lanes, settings.algorithm or default_algorithm())


def default_algorithm() -> Algorithm:
    """Return AES-GCM on a CPU with AES instructions, else ChaCha20-Poly1305."""
    flags = next((line for line in CPUINFO.read_text().splitlines() if line.startswith("flags")), "")
    return Algorithm.AES_256_GCM if " aes " in f"{flags} " else Algorithm.CHACHA20_POLY1305
