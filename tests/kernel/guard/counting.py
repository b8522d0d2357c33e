"""How the guard's counters are compared: frame by frame, in tables of frames and reasons."""

from __future__ import annotations

import pytest

from wirecrypt.kernel.bpf.guard import KernelGuard


def counted(guard: KernelGuard, before: dict[str, int]) -> dict[str, int]:
    """Return what was counted since *before*, but for the sentinel, which is no IP."""
    changed = {name: count - before[name] for name, count in guard.counters().items()}
    changed["passed_not_ip"] -= 1
    return {name: count for name, count in changed.items() if count}


def cases(table: dict[str, tuple[bytes, str]]) -> pytest.MarkDecorator:
    """Have a test run for each frame and its reason."""
    return pytest.mark.parametrize(("frame", "reason"), table.values(), ids=table.keys())
