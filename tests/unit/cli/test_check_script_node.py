"""scripts/check-encryption.sh on a made-up node with two uplinks: which interface it takes, says why, and leaves nothing."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.unit.cli.test_check_script import SCRIPT
from wirecrypt.lab.waiting import until

IP = """
case "$*" in
  "-o addr show") cat <<'TEXT'
1: lo    inet 127.0.0.1/8 scope host lo
1: lo    inet 203.0.113.9/32 scope global lo
2: front    inet 198.51.100.7/24 brd 198.51.100.255 scope global front
3: back@if9    inet 192.0.2.11/24 brd 192.0.2.255 scope global back
3: back@if9    inet6 fd00:2::11/64 scope global
TEXT
  ;;
  "-4 route show") echo "default via 198.51.100.1 dev front"; echo "10.2.0.0/24 via 192.0.2.12 dev back" ;;
esac
"""
TCPDUMP = """
case "$*" in *"-r -"*) exit 0 ;; esac
echo "tcpdump: listening on $3, link-type EN10MB" >&2
echo $$ >"$TRACES/tcpdump.$$"
exec /bin/sleep 60
"""
# Ends when all three tcpdumps have said that they listen: a node that is slow is not one whose tcpdump fails.
SLEEP = """
for _ in $(seq 300); do
  set -- "$TRACES"/tcpdump.*
  [ $# -lt 3 ] || exit 0
  /bin/sleep 0.1
done
"""
PREFIXES = ("-l", "10.1.0.0/24", "-r", "10.2.0.0/24")


class _Node:
    """A node whose network tools and whose tcpdump are made up."""

    def __init__(self, folder: Path) -> None:
        self.traces = folder / "traces"
        self.traces.mkdir()
        self.programs = folder / "bin"
        self.programs.mkdir()
        self.environment = {
            **{name: value for name, value in os.environ.items() if name != "NODE_IP"},
            "PATH": f"{self.programs}:{os.environ['PATH']}",
            "TRACES": str(self.traces),
            "TMPDIR": str(self.traces),
        }
        self.has("ip", IP)
        self.has("tcpdump", TCPDUMP)
        self.has("sleep", SLEEP)
        self.named("127.0.1.1")

    def has(self, name: str, script: str) -> None:
        """Put a program on the PATH."""
        path = self.programs / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def named(self, *addresses: str) -> None:
        """Let the host name stand for these addresses."""
        self.has("getent", "\n".join(f"echo '{address} STREAM node'; echo '{address} DGRAM'" for address in addresses))

    def check(self, *arguments: str, **environment: str) -> tuple[int, str]:
        """Run the script; return its exit status and what it said."""
        for file in self.traces.glob("tcpdump.*"):
            file.unlink()
        words = ["sh", SCRIPT, "-s", "1", *PREFIXES, *arguments]
        env = {**self.environment, **environment}
        done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, done.stdout + done.stderr

    def tcpdumps(self) -> list[int]:
        """Return the process ids of the tcpdumps that were started."""
        return [int(text) for file in self.traces.glob("tcpdump.*") if (text := file.read_text().strip())]


@pytest.fixture
def node(tmp_path: Path) -> _Node:
    return _Node(tmp_path)


@pytest.mark.parametrize("address", ["192.0.2.11", "fd00:2::11", "FD00:2::11"])
def test_the_interface_is_that_of_the_node_address(node: _Node, address: str) -> None:
    """On a node with two uplinks it is the one that carries the address, not the one of the default route."""
    for arguments, environment in ((["-n", address], {}), ([], {"NODE_IP": address})):
        status, said = node.check(*arguments, **environment)
        assert status == 2, said
        assert "interface back, 1 s" in said
        assert f"because it has the node's address {address}" in said


def test_without_it_the_host_name_tells_the_address(node: _Node) -> None:
    """Loopback addresses, and what is no address of an interface here, are passed over."""
    node.named("127.0.1.1", "192.0.2.99", "203.0.113.9", "192.0.2.11")
    status, said = node.check()
    assert status == 2, said
    assert "interface back, 1 s" in said
    assert "because it has 192.0.2.11, which is what the host name stands for" in said


def test_else_it_is_that_of_the_default_route_and_the_doubt_is_told(node: _Node) -> None:
    """Without the node address the routes are all there is, and the reader hears of it."""
    status, said = node.check()
    assert status == 2, said
    assert "interface front, 1 s" in said
    assert "the node address is not known here" in said


def test_the_interface_that_is_named_is_taken(node: _Node) -> None:
    """-i wins, and needs no reason."""
    status, said = node.check("-i", "front", NODE_IP="192.0.2.11")
    assert status == 2, said
    assert "interface front, 1 s" in said
    assert "because" not in said


@pytest.mark.parametrize("address", ["192.0.2.99", "127.0.0.1", "node-1", "10.0.0.1;"])
def test_an_address_that_no_interface_has_is_refused(node: _Node, address: str) -> None:
    """A mistyped address must not end in a look at the wrong interface."""
    status, said = node.check("-n", address)
    assert status == 64, said
    assert address in said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_check_leaves_no_tcpdump(node: _Node, number: int) -> None:
    """Ctrl-C reaches what a script runs in the background only when the script passes it on."""
    node.has("sleep", "exec /bin/sleep 60")
    words = ["sh", SCRIPT, "-s", "60", "-i", "front", *PREFIXES]
    script = subprocess.Popen(words, env=node.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, process_group=0)
    try:
        until(lambda: len(node.tcpdumps()) == 3, what="three tcpdumps run", seconds=60)
        os.killpg(script.pid, number)
        script.communicate(timeout=60)
        assert script.returncode == 69
        until(lambda: not [pid for pid in node.tcpdumps() if Path(f"/proc/{pid}").exists()], what="their end", seconds=60)
        assert [path.name for path in node.traces.iterdir() if path.is_dir()] == []
    finally:
        if script.poll() is None:
            script.kill()
        for pid in node.tcpdumps():
            if Path(f"/proc/{pid}").exists():
                os.kill(pid, signal.SIGKILL)
