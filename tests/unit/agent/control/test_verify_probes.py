"""Probes that a verification waits for: counted by lane, and only answers over the very SA count."""

from hypothesis import given
from hypothesis import strategies as st

from wirecrypt.agent.control.verify_probes import LiveProbes
from wirecrypt.model.session import Generation

OLD, NEW = Generation(1, 1, 1), Generation(1, 2, 1)


def send(live: LiveProbes, nonce: bytes, *, lane: int = 0, spi: int = 0x100, refused: bool = False) -> None:
    live.sent("uid", spi, (OLD, lane), nonce, refused=refused)


def test_a_wish_is_taken_once() -> None:
    """The loop sends once for any number of wishes since it last looked."""
    live = LiveProbes()
    assert not live.taken()
    live.ask()
    live.ask()
    assert not live.served()
    assert (live.taken(), live.taken(), live.served()) == (True, False, True)


def test_answers_are_counted_by_lane() -> None:
    """Each answer counts once, for its lane, with the time of the fastest."""
    live = LiveProbes()
    for lane in (0, 1):
        send(live, bytes([lane]), lane=lane, spi=0x100 + lane)
    send(live, b"again")
    live.answered("uid", b"\0", (OLD, 0))
    live.answered("uid", b"\0", (OLD, 0))
    first, second = live.lanes("uid")
    assert (first.spi, first.sent, first.answered, first.seconds is not None) == (0x100, 2, 1, True)
    assert (second.spi, second.sent, second.answered, second.seconds) == (0x101, 1, 0, None)
    assert not live.complete()
    live.answered("uid", b"\1", (OLD, 1))
    assert live.complete()


def test_an_answer_that_came_another_way_proves_nothing() -> None:
    """By another generation, lane or peer, or with an unknown nonce: not counted."""
    live = LiveProbes()
    for n, (uid, via) in enumerate([("uid", (NEW, 0)), ("uid", (OLD, 1)), ("other", (OLD, 0))]):
        send(live, bytes([n]))
        live.answered(uid, bytes([n]), via)
    live.answered("uid", b"unknown", (OLD, 0))
    assert live.lanes("uid")[0].answered == 0


def test_a_refused_probe_is_not_sent() -> None:
    """What the kernel refused is told apart, and no answer to it can come."""
    live = LiveProbes()
    send(live, b"x", refused=True)
    live.answered("uid", b"x", (OLD, 0))
    (lane,) = live.lanes("uid")
    assert (lane.sent, lane.refused, lane.answered) == (0, 1, 0)


def test_after_a_switch_the_newer_generation_counts() -> None:
    """Probes on another SPI start the lane anew; late answers to the older ones do not count for it."""
    live = LiveProbes()
    send(live, b"old")
    live.sent("uid", 0x200, (NEW, 0), b"new", refused=False)
    live.answered("uid", b"old", (OLD, 0))
    (lane,) = live.lanes("uid")
    assert (lane.spi, lane.sent, lane.answered) == (0x200, 1, 0)


@given(st.lists(st.sampled_from(["ask", "taken", "send", "answer"])))
def test_a_new_verification_knows_nothing_of_the_last(steps: list[str]) -> None:
    """Whatever happened before, `start` leaves nothing wanted, sent or waited for."""
    live = LiveProbes()
    calls = {
        "ask": live.ask,
        "taken": live.taken,
        "send": lambda: send(live, b"n"),
        "answer": lambda: live.answered("uid", b"n", (OLD, 0)),
    }
    for step in steps:
        calls[step]()
    live.start()
    live.answered("uid", b"n", (OLD, 0))
    assert (live.lanes("uid"), live.taken(), live.complete()) == ((), False, True)
