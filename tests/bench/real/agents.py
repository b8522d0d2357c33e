"""Whole agents of many nodes in one process: the real loop, watches and requests; kernel, links and state file in memory.

python3 -m tests.bench.real.agents FILE runs those that FILE lists, until its input ends. To each line of input it answers
with a line: how many reads and writes all of them have sent, without what keeps watches up; how many have all copies, and
how many watch NodePeers.
"""

# ruff: noqa: D102 - the port and the class above say what the methods do
from __future__ import annotations

import gc
import json
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from tests.bench.real.loopback import IndexedKernel, LoopbackChannel
from tests.fakes.links import Uplink
from tests.fakes.store import Store
from wirecrypt import logs
from wirecrypt.agent.components import Components
from wirecrypt.agent.datapath.guard_attachment import GuardAttachment
from wirecrypt.agent.datapath.writes import Datapath
from wirecrypt.agent.reconciler import Reconciler
from wirecrypt.agent.runner import Runner
from wirecrypt.agent.store.blocklist import PairsOnDisk
from wirecrypt.agent.store.session_keeper import SessionKeeper
from wirecrypt.cli.beginning import GARBAGE
from wirecrypt.cluster.agent_client import AgentClient
from wirecrypt.cluster.answer import Answer, Json
from wirecrypt.cluster.api import Api
from wirecrypt.cluster.informers import Informers
from wirecrypt.model.xfrm import SaKey


class _Nothing:
    """The events of a kernel in which nobody else writes, and no limit is reached."""

    def files(self) -> list[int]:
        return []

    def expired(self) -> list[SaKey]:
        return []

    def links_changed(self) -> bool:
        return False

    def touched(self) -> bool:
        return False


class CountedApi(Api):
    """An API whose *upkeep* counts the requests by which a watch is taken up again: they come by time, whatever happens."""

    upkeep = 0

    def named(self, path: str, name: str) -> tuple[list[Json], str]:
        self.upkeep += 1
        return super().named(path, name)

    @contextmanager
    def stream(self, path: str, *, version: str, seconds: int) -> Iterator[Answer]:
        self.upkeep += 1
        with super().stream(path, version=version, seconds=seconds) as answer:
            yield answer


class WholeAgent:
    """The agent of node *name* as its command line makes it, but for what it has of the machine."""

    def __init__(self, name: str, address: str, kubeconfig: Path, pairs: Path) -> None:
        self.api = CountedApi.connect(kubeconfig)
        client, self.informers, kernel = AgentClient(self.api), Informers(self.api), IndexedKernel()
        channel, booted = LoopbackChannel(kernel), f"boot-{name}"
        components = Components(
            node=name,
            cache=self.informers,
            api=client,
            xfrm=kernel,
            channel=channel,
            datapath=Datapath(kernel, kernel.guard),
            guard_attachment=GuardAttachment(kernel.guard, Uplink((ip_address(address),))),
            session_keeper=SessionKeeper(Store(), client, booted),
            pairs_on_disk=PairsOnDisk(pairs),
            boot_id=booted,
            versions=(("agent", "0"),),
        )
        self.runner = Runner(Reconciler(components), self.informers, _Nothing(), channel)

    def start(self) -> None:
        """Run in a thread of its own, which ends with the process."""
        threading.Thread(target=self.runner.run, name="agent", daemon=True).start()


def main(file: Path) -> None:
    """Run the agents that *file* lists until the input ends."""
    logs.setup("error", "json")
    gc.set_threshold(*GARBAGE)
    listed: list[dict[str, Any]] = json.loads(file.read_text())
    agents = [WholeAgent(each["name"], each["address"], Path(each["kubeconfig"]), Path(each["pairs"])) for each in listed]
    for agent in agents:
        agent.start()
    for _ in sys.stdin:
        reads, writes = sum(a.api.reads - a.api.upkeep for a in agents), sum(a.api.writes for a in agents)
        answer = {"reads": reads, "writes": writes, "synced": sum(a.informers.synced() for a in agents), "watches": len(agents)}
        sys.stdout.write(f"{json.dumps(answer)}\n")
        sys.stdout.flush()
    os._exit(0)  # the threads wait for the API server, and nothing of theirs is to be kept


if __name__ == "__main__":
    main(Path(sys.argv[1]))
