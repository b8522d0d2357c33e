"""What every `CliClient` does: run against the fake in memory and against a real API server.

The cluster has Nodes `a` and `b`, neither labelled, and no KeyRotation.
"""

from dataclasses import replace

import pytest

from wirecrypt.cluster.cli_client import CliClient
from wirecrypt.errors import ClusterError, InputError
from wirecrypt.model.objects import LABEL
from wirecrypt.settings import from_document


def labels(client: CliClient) -> dict[str, str | None]:
    return {w.name: w.label for w in client.node_labels() if w.name in "ab"}


def label_is_set_and_removed(client: CliClient) -> None:
    """Write a label on the Node that was read; a dry run writes nothing, None removes it."""
    a, _ = [w for w in client.node_labels() if w.name in "ab"]
    client.label(a, "enabled", dry_run=True)
    assert labels(client) == {"a": None, "b": None}
    client.label(a, "enabled")
    assert labels(client) == {"a": "enabled", "b": None}
    client.label(a, None)
    assert labels(client) == {"a": None, "b": None}


def nodes_are_chosen_by_labels(client: CliClient) -> None:
    """Read those Nodes alone that a selector chooses; what is no selector is refused as input."""
    a = next(w for w in client.node_labels() if w.name == "a")
    client.label(a, "enabled")
    assert [w.name for w in client.node_labels(f"{LABEL}=enabled")] == ["a"]
    assert client.node_labels(f"{LABEL}=other") == []
    with pytest.raises(InputError, match="as for kubectl"):
        client.node_labels("=")
    client.label(replace(a, label="enabled"), None)


def an_installation_is_whole(client: CliClient) -> None:
    """Nothing of it is missing."""
    assert list(client.missing_parts()) == []


def another_node_of_the_name_is_not_labelled(client: CliClient) -> None:
    """Refuse a Node that was made anew under the same name: it is another one."""
    a = next(w for w in client.node_labels() if w.name == "a")
    with pytest.raises(ClusterError, match="Node a"):
        client.label(replace(a, uid="00000000-0000-4000-8000-000000000000"), "enabled")
    assert labels(client)["a"] is None


def rotations_are_made_read_and_aborted(client: CliClient) -> None:
    """Each request is a rotation of its own; one is read by name; an abort is noted on it alone."""
    first, second = client.request_rotation("one"), client.request_rotation("two")
    assert first.name != second.name
    assert {r.name for r in client.rotations()} == {first.name, second.name}
    client.abort(first)
    made = client.rotation(first.name)
    assert made is not None
    assert (made.reason, made.abort) == ("one", True)
    other = client.rotation(second.name)
    assert other is not None
    assert other.abort is False
    assert client.rotation("nobody") is None


def rotations_go_on_without_nodes(client: CliClient) -> None:
    """Names are added to those that were said before, also to such as were said since the rotation was read."""
    made = client.request_rotation("one")
    client.exclude(made, ["b"])
    client.exclude(made, ["a"])
    assert (again := client.rotation(made.name)) is not None
    assert again.without == ("a", "b")


def the_configuration_is_read(client: CliClient) -> None:
    """With the ranges that the test's cluster has."""
    found = from_document(client.config())
    assert found.cluster_cidrs
    assert found.node_cidrs


CONTRACT = (
    the_configuration_is_read,
    label_is_set_and_removed,
    nodes_are_chosen_by_labels,
    an_installation_is_whole,
    another_node_of_the_name_is_not_labelled,
    rotations_are_made_read_and_aborted,
    rotations_go_on_without_nodes,
)
