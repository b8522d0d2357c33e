"""What states that were tried tell of ESP and ciphers: never more than one thing is said to be missing for one error."""

import errno
from itertools import product

import pytest

from wirecrypt.errors import KernelError, XfrmError
from wirecrypt.kernel.probe import Feature, ProbeResult, ipsec_features
from wirecrypt.model.xfrm import Algorithm

AES, CHACHA = Algorithm
YES, NO, UNKNOWN = ProbeResult.YES, ProbeResult.NO, ProbeResult.UNKNOWN
ESP, CIPHERS = ("esp-ipv4", "esp-ipv6"), (AES.value, CHACHA.value)


def tried(code: int, *combinations: tuple[int, Algorithm]) -> dict[tuple[int, Algorithm], KernelError | None]:
    """Return states of which these failed with *code*."""
    error = XfrmError("add", answer="no", errno=code)
    return {c: error if c in combinations else None for c in product((4, 6), Algorithm)}


ALL = tuple(tried(0))


@pytest.mark.parametrize(
    ("code", "failed", "no", "untried"),
    [
        (0, (), (), ()),
        (errno.EPROTONOSUPPORT, ALL, ESP, (*CIPHERS, "esn")),
        (errno.ENOSYS, ALL, CIPHERS, (*ESP, "esn")),
        (errno.EPROTONOSUPPORT, ((6, AES), (6, CHACHA)), ("esp-ipv6",), ()),
        (errno.ENOENT, ((4, CHACHA), (6, CHACHA)), (CHACHA.value,), ()),
    ],
    ids=["all is there", "no ESP", "no cipher", "no ESP over IPv6", "one cipher"],
)
def test_what_is_missing_is_told_from_what_could_not_be_tried(
    code: int, failed: tuple[tuple[int, Algorithm], ...], no: tuple[str, ...], untried: tuple[str, ...]
) -> None:
    """A feature is missing by its own error, untried for want of the missing ones, and else there."""
    found = {f.name: f for f in ipsec_features(tried(code, *failed))}
    assert {name for name, f in found.items() if f.verdict is NO} == set(no)
    assert {name: f.without for name, f in found.items() if f.verdict is UNKNOWN} == dict.fromkeys(untried, no)


def test_an_error_that_says_nothing_of_features_leaves_them_unknown() -> None:
    """Without the right nothing is missing, and nothing is said to be untried for want of another."""
    found = ipsec_features(tried(errno.EPERM, *ALL))
    assert [(f.verdict, f.without) for f in found] == [(UNKNOWN, ())] * 5
    assert all("run as root" in f.reason for f in found)
    assert isinstance(found[0], Feature)
