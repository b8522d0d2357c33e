"""Which kernel carries the lab when nobody names one."""

from __future__ import annotations

import pytest

from wirecrypt.lab.machine import kernels


@pytest.mark.parametrize(
    ("prebuilt", "own", "obstacles", "taken"),
    [
        pytest.param(["6.1", "7.2"], "6.1", [], "uml", id="a stock Debian 12 with ESP, after scripts/setup"),
        pytest.param(["6.1", "6.6"], "6.12", [], "uml", id="the first kernel with tcx is enough"),
        pytest.param(["6.1"], "6.12", [], "host", id="no prebuilt kernel with tcx, the machine's own has it"),
        pytest.param([], "6.10", [], "host", id="versions are numbers, not text"),
        pytest.param(["6.1"], "6.5", [], "uml", id="neither has it"),
        pytest.param(["6.1"], "6.12", ["esp-ipv4: not there"], "uml", id="the machine's own cannot carry a lab"),
        pytest.param([], "6.12", ["state src 192.0.2.1"], "uml", id="someone's IPsec is on the machine"),
    ],
)
def test_auto_takes_a_prebuilt_kernel_that_loses_nothing(
    prebuilt: list[str], own: str, obstacles: list[str], taken: str
) -> None:
    """The prebuilt user-mode Linux with tcx comes first, the machine's own kernel only in its place."""
    assert kernels.choose(prebuilt, own, lambda: obstacles) == taken


def test_auto_does_not_try_the_machines_kernel_when_it_is_not_needed() -> None:
    """Looking for obstacles loads modules and lists IPsec objects: not done where the answer is known."""
    asked: list[str] = []
    assert kernels.choose(["7.2"], "6.12", lambda: asked.append("asked") or asked) == "uml"
    assert asked == []
