"""etcd is restored from a backup while traffic runs."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import pytest

from tests.e2e import product
from wirecrypt.lab import operations
from wirecrypt.lab.lab import Lab
from wirecrypt.lab.waiting import until

ROTATIONS = f"{operations.GROUP}/keyrotations"
REASONS = ("first", "second")


@pytest.mark.R1
@pytest.mark.L1
def test_a_restored_etcd_loses_no_packet_and_rotations_go_on(all_protected: Lab, tmp_path: Path) -> None:
    """Versions go back by two rotations: 0 lost, nothing readable, true statuses soon, and a rotation comes to its end."""
    lab = all_protected
    backup = _back_up(lab, tmp_path / "etcd")
    for reason in REASONS:
        operations.wirecrypt(lab, "rotate", "--wait", "--reason", reason)
    product.settle(lab, *product.ALL)
    before = _epochs(lab)
    with product.load(lab, tmp_path, "restore") as load:
        product.wait_clock(lab, 2)
        asked = _rotations(lab)
        _restore(lab, backup)
        assert len(asked - _rotations(lab)) == len(REASONS), "the store is that of the backup"
        until(
            lambda: min(_epochs(lab).values()) > max(before.values()) and _ended(lab),
            what=lambda: f"every node sends with an epoch that never was: {operations.summary(lab)}",
            seconds=product.SECONDS,
            every=0.5,
        )
        operations.wirecrypt(lab, "rotate", "--wait", "--reason", "after the restore")
        totals = load.stop()
    product.settle(lab, *product.ALL)
    assert totals.complete, totals.text
    assert set(_epochs(lab).values()) == {max(before.values()) + 2}
    assert any("restored from a backup" in rotation["spec"]["reason"] for rotation in lab.api.items(ROTATIONS))
    for node in lab.nodes:
        assert product.counted(lab, node, "wirecrypt_restores_seen") == 1


def _back_up(lab: Lab, copy: Path) -> Path:
    """Copy what etcd has; it stands still meanwhile."""
    lab.machine.control("stop", "etcd", signal.SIGTERM)
    shutil.copytree(lab.plane.folder / "etcd", copy)
    lab.machine.control("start", "etcd")
    lab.wait_for_api()
    return copy


def _restore(lab: Lab, copy: Path) -> None:
    """Put *copy* in the place of what etcd has, with the API server stopped, as Kubernetes' handbook has it."""
    lab.stop_api()
    lab.machine.control("stop", "etcd", signal.SIGTERM)
    shutil.rmtree(lab.plane.folder / "etcd")
    shutil.copytree(copy, lab.plane.folder / "etcd")
    lab.machine.control("start", "etcd")
    lab.start_api()


def _epochs(lab: Lab) -> dict[str, int]:
    """Return the epoch that each node says that it sends with."""
    return {node: operations.encrypted_node(lab, node)["status"]["sendingEpoch"] for node in lab.nodes}


def _rotations(lab: Lab) -> set[str]:
    return {rotation["metadata"]["name"] for rotation in lab.api.items(ROTATIONS)}


def _ended(lab: Lab) -> bool:
    return all(rotation["status"].get("phase") == "Complete" for rotation in lab.api.items(ROTATIONS))
