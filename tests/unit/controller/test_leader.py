"""Leadership and its terms, on a Lease in memory."""

from __future__ import annotations

from dataclasses import dataclass, replace

from wirecrypt.controller import Elector
from wirecrypt.errors import Unreachable
from wirecrypt.ports import Lease


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
