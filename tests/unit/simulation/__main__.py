"""More schedules than the suite plays: `python -m tests.unit.simulation [PROFILE,…|all] FIRST COUNT`."""

# ruff: noqa: T201 - its duty is to print

from __future__ import annotations

import sys
import time

import structlog

from tests.unit.simulation.schedules import PROFILES, check, drawn, fails


def main(which: str = "all", first: str = "0", count: str = "100", how: str = "") -> int:
    """Play schedules, print each that goes wrong, and how many did."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    names = list(PROFILES) if which == "all" else which.split(",")
    wrong, began = 0, time.process_time()
    for seed in range(int(first), int(first) + int(count)):
        for name in names:
            error = fails(PROFILES[name], seed, drawn(PROFILES[name], seed))
            if error is None:
                continue
            wrong += 1
            print(f"{name} {seed}: {error}", flush=True)
            if how == "short":
                try:
                    check(name, seed)
                except AssertionError as told:
                    print(told, flush=True)
    total = int(count) * len(names)
    print(f"{total} schedules, {wrong} went wrong, {time.process_time() - began:.0f} s CPU")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
