"""Prometheus itself judges: series of a made-up hour go through `promtool test rules` with the rules that are shipped."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

MONITORING: Final = Path(__file__).resolve().parents[3] / "monitoring"
Series = Mapping[str, str]  # in promtool's notation, a value a minute


def promtool() -> str:
    """Return the program; skips where it is not."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "wirecrypt/promtool/promtool"
    found = str(cache) if cache.exists() else shutil.which("promtool")
    return found or pytest.skip("promtool is not there: scripts/get-promtool fetches it")


def groups() -> list[dict[str, Any]]:
    """Return the groups of rules that the PrometheusRule holds."""
    document: dict[str, Any] = yaml.safe_load((MONITORING / "prometheus-rule.yaml").read_text())
    return list(document["spec"]["groups"])


def rules() -> list[dict[str, Any]]:
    """Return all rules."""
    return [rule for group in groups() for rule in group["rules"]]


def rule_file(folder: Path) -> Path:
    """Write the rules as Prometheus without its operator reads them."""
    path = folder / "rules.yaml"
    path.write_text(yaml.safe_dump({"groups": groups()}))
    return path


def check(folder: Path, series: Series, firing: Mapping[int, Iterable[str]], *, state: str = "firing") -> None:
    """Assert which alerts are in *state*, by minute: those and no others."""
    expected = [
        {
            "expr": f'count by (alertname) (ALERTS{{alertstate="{state}"}}) > bool 0',
            "eval_time": f"{minute}m",
            "exp_samples": [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in sorted(names)],
        }
        for minute, names in firing.items()
    ]
    test = {
        "rule_files": [str(rule_file(folder))],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": values} for name, values in series.items()],
                "promql_expr_test": expected,
            }
        ],
    }
    path = folder / "test.yaml"
    path.write_text(yaml.safe_dump(test))
    done = subprocess.run([promtool(), "test", "rules", path], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
