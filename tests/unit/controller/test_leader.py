"""Leadership and its terms, on a Lease in memory."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from wirecrypt.controller import Elector
from wirecrypt.errors import Unreachable
from wirecrypt.model.objects import Lease

START = datetime(2030, 1, 1, tzinfo=UTC)


@dataclass
class Leases:
    """One Lease; *away* is when the API server gives no answer."""

    lease: Lease | None = None
    away: bool = False
    version: int = 0

    def read(self) -> Lease | None:
        """Return the Lease."""
        if self.away:
            raise Unreachable("GET lease")
        return self.lease

    def write(self, lease: Lease) -> Lease:
        """Keep the Lease under a new version."""
        self.version += 1
        self.lease = replace(lease, version=str(self.version))
        return self.lease


def test_a_term_begins_when_the_lease_comes_from_another_or_from_nobody() -> None:
    """Renewals, also late ones, are no new term: nobody else led meanwhile."""
    now, leases = [0.0], Leases()
    objects, two = (Elector(leases, name, clock=lambda: now[0]) for name in ("one", "two"))
    assert (objects.term, objects.tick(), objects.term) == (0, True, 1)
    leases.away = True
    now[0] += 12
    assert not objects.tick()
    leases.away = False
    assert (objects.tick(), objects.term) == (True, 1)
    assert not two.tick()
    objects.release()
    assert (two.tick(), two.term) == (True, 1)
    two.release()
    assert (objects.tick(), objects.term) == (True, 2)


def candidates(now: list[float], leases: Leases) -> tuple[Elector, Elector]:
    one, two = (Elector(leases, name, clock=lambda: now[0]) for name in ("one", "two"))
    return one, two


def test_a_lease_that_goes_back_makes_no_second_leader() -> None:
    """Restored to when another led, it is nobody's for its whole duration; who led stops at once, who takes it begins anew."""
    now, leases = [0.0], Leases()
    one, two = candidates(now, leases)
    assert one.tick()
    backup = leases.lease
    one.release()
    assert two.tick()
    now[0] += 2
    assert (two.tick(), one.tick()) == (True, False)
    leases.lease = backup
    assert not one.tick(), "the backup says that this one leads"
    assert two.leads()
    assert not two.tick()
    now[0] += 14
    assert (one.tick(), two.tick()) == (False, False)
    now[0] += 2
    assert (one.tick(), one.term, two.tick()) == (True, 2, False)


def test_a_lease_that_goes_back_to_nobody_is_not_taken_at_once() -> None:
    """Given up in the backup, or not there yet: whoever leads may not know of it so far."""
    for backup in (None, replace(Lease("", START, START, 1, 0), version="0")):
        now, leases = [0.0], Leases()
        one, two = candidates(now, leases)
        assert (one.tick(), two.tick()) == (True, False)
        leases.lease = backup
        assert not two.tick()
        now[0] += 16
        assert two.tick()


def test_a_leader_goes_on_when_its_own_lease_goes_back() -> None:
    """An older Lease of its own is renewed at once: another has to see it unchanged before it acts."""
    now, leases = [0.0], Leases()
    one, two = candidates(now, leases)
    assert one.tick()
    backup = leases.lease
    for _ in range(5):
        now[0] += 2
        assert one.tick()
    assert not two.tick()
    leases.lease = backup
    assert (one.tick(), one.term, two.tick()) == (True, 1, False)
