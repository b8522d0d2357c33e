"""spi: from a number to a sender, a lane and the possible receivers."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.cli.conftest import Line
from tests.unit.cli.fake_cli_client import peer
from wirecrypt.cli.verbs.spi import document
from wirecrypt.errors import ClusterError
from wirecrypt.model.session import Generation
from wirecrypt.model.spi import Spi


def test_an_spi_is_decoded_with_names(wirecrypt: Line) -> None:
    """The sender by its node ID; as receivers the nodes whose sessions fit, and no others."""
    wirecrypt.client.peers = {"a": peer("a", 16, 65), "b": peer("b", 17, 2), "c": peer("c", 18, 3)}
    number = Generation(epoch=1, lo=65, hi=2).spi(sender=17, lane=4)
    done = wirecrypt(f"spi 0x{number:08x} -o json")
    assert done.exit_code == 0
    (found,) = json.loads(done.stdout)["spis"]
    assert (found["sender"], found["senderID"], found["lane"], found["receivers"]) == ("b", 17, 4, ["a"])
    assert (found["residueLo"], found["residueHi"]) == (1, 2)


def test_offline_asks_nobody(wirecrypt: Line) -> None:
    """--offline decodes from the number alone."""
    done = wirecrypt("spi --offline 0x04100200 68157952")
    assert (done.exit_code, wirecrypt.asked) == (0, [])
    assert done.stdout.count("0x04100200") == 2


def test_without_a_cluster_it_works_all_the_same(wirecrypt: Line) -> None:
    """Names are missing and it says why; exit 0."""

    def refuse() -> None:
        raise ClusterError("find the API server", answer="no kubeconfig")

    wirecrypt.client.node_peers = refuse  # type: ignore[method-assign, assignment]
    done = wirecrypt("spi 0x04100200")
    assert done.exit_code == 0
    assert "no kubeconfig" in done.stderr
    assert "0x04100200" in done.stdout


@pytest.mark.parametrize("text", ["0x44", "0x00000000", "0xf00000a0"])
def test_what_no_node_of_ours_sends_with(wirecrypt: Line, text: str) -> None:
    """A reserved SPI or a node ID below 16 is not ours: it says so, exit 1."""
    done = wirecrypt(f"spi --offline {text}")
    assert (done.exit_code, "is not ours" in done.stdout) == (1, True)


@pytest.mark.parametrize("text", ["0x", "hello", "0x100000000", "-1", "1e3", "0o7"])
def test_what_is_no_spi_is_refused(wirecrypt: Line, text: str) -> None:
    """Not a number of 32 bits: exit 2."""
    assert wirecrypt(f"spi --offline -- {text}").exit_code == 2


@given(
    lo=st.integers(1, 9999), hi=st.integers(1, 9999), first=st.integers(16, 65534), gap=st.integers(1, 60000), low=st.booleans()
)
def test_the_right_receiver_is_always_among_them(lo: int, hi: int, first: int, gap: int, *, low: bool) -> None:
    """Whatever the sessions and IDs of a pair, its SPI names the sender and lists the other end."""
    second = min(first + gap, 65535)
    peers = [replace(peer("lo", 16, lo), node_id=first), replace(peer("hi", 17, hi), node_id=second)]
    number = Generation(1, lo, hi).spi(first if low else second, 0)
    found = document(number, Spi.decode(number), peers)
    assert (found["sender"], found["receivers"]) == (("lo", ["hi"]) if low else ("hi", ["lo"]))
