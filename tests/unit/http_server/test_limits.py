"""Who gets a place, and how often: the clock is the test's."""

from __future__ import annotations

from wirecrypt.http_server.limits import ClientRates, Limits, Rate, gives_way


def test_a_bucket_gives_its_burst_and_then_its_rate() -> None:
    """Three at once, then one in half a second; what is given back counts again."""
    rate = Rate(2.0, 3.0)
    assert [rate.take(0.0) for _ in range(4)] == [True, True, True, False]
    assert rate.seconds(0.0) == 0.5
    assert [rate.take(0.4), rate.take(0.5), rate.take(0.5)] == [False, True, False]
    rate.give_back()
    assert rate.take(0.5)
    assert rate.full(10.0)


def test_clients_are_forgotten_before_they_are_too_many() -> None:
    """Those that were quiet first; when none was, the one known longest."""
    rates = ClientRates(1.0, 1.0, most=3)
    for client in "abc":
        rates.of(client, 0.0).take(0.0)
    rates.of("a", 5.0).take(5.0)
    assert not rates.of("a", 5.0).take(5.0)
    assert rates.of("d", 5.0).take(5.0)  # b and c were quiet
    assert not rates.of("a", 5.0).take(5.0)
    for client in "ef":
        rates.of(client, 5.0).take(5.0)
    assert rates.of("a", 5.0).take(5.0)  # forgotten, so it begins anew


def test_the_client_with_most_places_gives_way() -> None:
    """With room nobody does; one that has its share gives way to itself; of equals it is the oldest, not the newcomer."""
    limits = Limits(places=4, places_each=3)
    assert gives_way("aab", "c", limits) is None
    assert gives_way("aab", "a", limits) is None
    assert gives_way("aaa", "a", limits) == "a"
    assert gives_way("abba", "c", limits) == "a"
    assert gives_way("abcc", "a", limits) == "a"
    assert gives_way("abcd", "e", limits) == "a"
    assert gives_way("abbb", "e", limits) == "b"
