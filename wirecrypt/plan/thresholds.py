"""From which prefix lengths on the kernel finds policies by hash: those of our policies, or inserting them takes ever longer.

A policy with a shorter prefix than the threshold stands in a list that is searched one by one. Thresholds belong to the whole
network namespace, so a value is changed only where it is the kernel's own default, or what our present policies ask for, which
is what was set for them; any other is somebody else's. "Local" is the source of what leaves and the destination of what comes
in (net/xfrm/xfrm_policy.c, xfrm_hash_rebuild).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from wirecrypt.model.xfrm import Direction, PolicyKey

Thresholds = tuple[int, int, int, int]  # prefix lengths: IPv4 local, IPv4 remote, IPv6 local, IPv6 remote

DEFAULT: Final[Thresholds] = (32, 32, 128, 128)


def asked(policies: Iterable[PolicyKey]) -> Thresholds:
    """Return the shortest prefix lengths of *policies*, the kernel's default for a family that has none."""
    shortest = list(DEFAULT)
    for policy in policies:
        s, out = policy.selector, policy.direction is Direction.OUT
        local, remote = (s.src, s.dst) if out else (s.dst, s.src)
        at = 0 if local.version == 4 else 2  # noqa: PLR2004 - the IP version
        shortest[at] = min(shortest[at], local.prefixlen)
        shortest[at + 1] = min(shortest[at + 1], remote.prefixlen)
    return (shortest[0], shortest[1], shortest[2], shortest[3])


def hashed(present: Thresholds, policies: Iterable[PolicyKey]) -> bool:
    """Return whether *policies* are all found by hash as it is."""
    return all(have <= need for have, need in zip(present, asked(policies), strict=True))


def fitting(present: Thresholds, *, before: Iterable[PolicyKey], after: Iterable[PolicyKey]) -> Thresholds:
    """Return what *present* becomes when our policies change from *before* to *after*; a family set by others stays."""
    ours, wanted = asked(before), asked(after)
    v4 = wanted[:2] if present[:2] in (DEFAULT[:2], ours[:2]) else present[:2]
    v6 = wanted[2:] if present[2:] in (DEFAULT[2:], ours[2:]) else present[2:]
    return (*v4, *v6)
