"""The fake cluster of these tests does what the real one does (tests/cluster/test_cli.py runs the same)."""

from collections.abc import Callable

import pytest

from tests.unit.cli.cli_client_contract import CONTRACT
from tests.unit.cli.fake_cli_client import FakeCliClient, node_label
from wirecrypt.cluster.cli_client import CliClient


@pytest.mark.parametrize("rule", CONTRACT, ids=lambda rule: rule.__name__)
def test_the_fake_keeps_the_contract(rule: Callable[[CliClient], None]) -> None:
    """Labels, dry runs, identities, rotations and aborts behave as on an API server."""
    rule(FakeCliClient(nodes={n: node_label(n) for n in "ab"}))
