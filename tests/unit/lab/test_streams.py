"""What a stream's end says of a run: measured, the product's doing, or a machine that does not let its own programs run."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest

from wirecrypt.errors import LabError, TooSlow
from wirecrypt.lab.lab import Lab
from wirecrypt.lab.machine.channel import Process
from wirecrypt.lab.streams import STARVED, Udp


class Program:
    """A program that has ended, and what it said."""

    running = False

    def __init__(self, **said: object) -> None:
        self.said = said

    def output(self) -> str:
        """Return its last line."""
        return json.dumps(self.said)

    def kill(self, _number: int = 15) -> None:
        """Do nothing."""

    def wait(self, _seconds: float = 0) -> int:
        """Return that it ended well."""
        return 0


def stopped(**received: Any) -> Any:  # noqa: ANN401 - what a program says
    said = {"received": 9, "longest_gap": 0.1, "longest_delay": 0.1} | received
    udp = Udp(cast("Lab", None), "a", "b", {"marker": ""}, cast("Process", Program(**said)))
    udp._sender = cast("Process", Program(sent=10))  # noqa: SLF001 - as if it had been started
    return udp.stop()


def test_what_did_not_arrive_is_lost() -> None:
    """Without a word of the receiver's own socket."""
    assert stopped().lost == 1


def test_a_receiver_that_did_not_run_is_told_from_packets_that_no_policy_let_in() -> None:
    """Both are drops of its socket; only behind one that does not run do packets wait for seconds."""
    with pytest.raises(TooSlow, match="did not get to run"):
        stopped(dropped_by_receiver=3, longest_delay=STARVED + 1)
    with pytest.raises(LabError, match="packets of its own") as refused:
        stopped(dropped_by_receiver=3)
    assert not isinstance(refused.value, TooSlow)
