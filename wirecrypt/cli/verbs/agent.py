"""`wirecrypt agent run` and `wirecrypt agent prepare`: the DaemonSet's containers."""

from __future__ import annotations

import platform
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

import click

from wirecrypt import __version__, logs
from wirecrypt.agent.components import Components, boot_id
from wirecrypt.agent.datapath.guard_attachment import GuardAttachment
from wirecrypt.agent.datapath.writes import Datapath
from wirecrypt.agent.prepare import compile_ahead
from wirecrypt.agent.prepare import prepare as prepare_node
from wirecrypt.agent.reconciler import Reconciler
from wirecrypt.agent.runner import Runner
from wirecrypt.agent.serve.endpoints import AgentEndpoints
from wirecrypt.agent.serve.gate import Gate
from wirecrypt.agent.serve.inspector import Inspector, Readers
from wirecrypt.agent.serve.metrics_page import MetricsPage
from wirecrypt.agent.store.blocklist import PATH as BLOCKLIST_PATH
from wirecrypt.agent.store.blocklist import PairsOnDisk, open_blocklist
from wirecrypt.agent.store.session_keeper import SessionKeeper
from wirecrypt.agent.store.statefile import STATE_PATH, open_state
from wirecrypt.cli.beginning import begin
from wirecrypt.cluster.access.reviews import Reviews
from wirecrypt.cluster.agent_client import AgentClient
from wirecrypt.cluster.api import Api
from wirecrypt.cluster.informers import Informers
from wirecrypt.kernel.bpf.guard import KernelGuard
from wirecrypt.kernel.bpf.sockets.control_filter import ControlFilter
from wirecrypt.kernel.net.control_socket import KernelControlChannel
from wirecrypt.kernel.net.frames import Tunnels
from wirecrypt.kernel.net.links import KernelLinks
from wirecrypt.kernel.net.packet_capture import PacketCapture
from wirecrypt.kernel.xfrm.adapter import KernelXfrm
from wirecrypt.kernel.xfrm.notifications import ChangeEvents, ExpireEvents, LinkEvents
from wirecrypt.model.xfrm import Address, SaKey
from wirecrypt.settings import Settings

BPFFS = Path("/sys/fs/bpf")


@click.group()
def agent() -> None:
    """Run or prepare what runs on every node (started by the DaemonSet, not by hand)."""


@agent.command()
@click.option("--blocklist", type=click.Path(path_type=Path), default=BLOCKLIST_PATH, show_default=True)
@click.option("--bpffs", type=click.Path(path_type=Path), default=BPFFS, show_default=True)
@click.option("--log-format", type=click.Choice(["auto", "json", "console"]), default="auto", show_default=True)
def prepare(blocklist: Path, bpffs: Path, log_format: str) -> None:
    """Block the pairs that are on disk, after a boot and before the agent runs; then compile what a label will need."""
    logs.setup("info", log_format)
    guard = KernelGuard(bpffs)
    with KernelXfrm() as xfrm:
        prepare_node(open_blocklist(blocklist)[0], xfrm, guard, KernelLinks(), Settings())
    compile_ahead(guard.compile_ahead)


@agent.command()
@click.option("--node", envvar="NODE_NAME", required=True, help="Name of this Node; in the DaemonSet from the downward API.")
@click.option("--state", type=click.Path(path_type=Path), default=STATE_PATH, show_default=True, help="On tmpfs: holds keys.")
@click.option("--blocklist", type=click.Path(path_type=Path), default=BLOCKLIST_PATH, show_default=True)
@click.option("--bpffs", type=click.Path(path_type=Path), default=BPFFS, show_default=True)
@click.option("--kubeconfig", type=click.Path(path_type=Path), default=None, help="Only outside a pod.")
@click.option("--log-format", type=click.Choice(["auto", "json", "console"]), default="auto", show_default=True)
def run(  # noqa: PLR0913 - one argument an option
    node: str, state: Path, blocklist: Path, bpffs: Path, kubeconfig: Path | None, log_format: str
) -> None:
    """Encrypt this node's traffic, as the cluster says, until SIGTERM. Stopping touches no packet."""
    begin(log_format)
    api = Api.connect(kubeconfig)
    client, informers = AgentClient(api), Informers(api)
    guard = KernelGuard(bpffs)
    channel = KernelControlChannel(only=ControlFilter(bpffs))
    with open_state(state) as store, KernelXfrm() as xfrm, _KernelEvents() as events:
        booted = boot_id()
        components = Components(
            node=node,
            cache=informers,
            api=client,
            xfrm=xfrm,
            channel=channel,
            datapath=Datapath(xfrm, guard, events.changes),
            guard_attachment=GuardAttachment(guard, KernelLinks()),
            session_keeper=SessionKeeper(store, client, booted),
            pairs_on_disk=PairsOnDisk(blocklist),
            boot_id=booted,
            versions=(("agent", __version__), ("kernel", platform.release())),
        )
        reconciler = Reconciler(components)
        runner = Runner(reconciler, informers, events, channel)
        readers = Readers(xfrm=KernelXfrm, guard=guard, wire=_wire)
        inspector = Inspector(node, reconciler.last_pass, readers, runner.wake)
        metrics = MetricsPage(reconciler.last_pass, readers, lambda: xfrm.writes + guard.writes)
        endpoints = AgentEndpoints(inspector, reconciler.last_pass, metrics, Gate(node, Reviews(api, node)))
        api.failed = metrics.api_error
        endpoints.start()
        runner.passed = endpoints.passed
        runner.alive = endpoints.loop.alive
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: runner.stop())
        try:
            runner.run()
        finally:
            endpoints.close()


def _wire(links: Sequence[str], settings: Settings, relevant: Callable[[Address, Address], bool]) -> PacketCapture:
    return PacketCapture(links, Tunnels(settings.vxlan_ports, settings.geneve_ports), relevant)


class _KernelEvents:
    """Expired SAs, changes by others and changed links as one source."""

    def __init__(self) -> None:
        self._expire = ExpireEvents()
        self._changes = ChangeEvents()
        self._links = LinkEvents()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._expire.close()
        self._changes.close()
        self._links.close()

    def files(self) -> list[int]:
        """Return the descriptor of each."""
        return [self._expire.fileno(), self._changes.fileno(), self._links.fileno()]

    def expired(self) -> list[SaKey]:
        """Return SAs that reached a limit."""
        return [e.key for e in self._expire.read()]

    def links_changed(self) -> bool:
        """Return whether links, addresses or routes changed."""
        return self._links.read()

    def touched(self) -> bool:
        """Return whether somebody else changed IPsec objects."""
        return self._changes.read()

    def changes(self) -> int:
        """Return how often somebody else did, until this moment."""
        return self._changes.count()
