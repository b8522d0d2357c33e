"""Pod templates are read as a kubelet reads them."""

from __future__ import annotations

from typing import Any

import pytest

from wirecrypt.errors import LabError
from wirecrypt.lab.kube import podspec
from wirecrypt.lab.kube.volumes import ACCOUNT_PATH, with_account

POD: dict[str, Any] = {
    "metadata": {"name": "agent-1", "namespace": "system", "uid": "u", "labels": {"app": "agent"}},
    "spec": {"nodeName": "node-1"},
    "status": {"hostIP": "192.0.2.11", "podIPs": [{"ip": "192.0.2.11"}, {"ip": "fd00:2::11"}]},
}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("metadata.name", "agent-1"),
        ("spec.nodeName", "node-1"),
        ("status.hostIP", "192.0.2.11"),
        ("status.podIPs", "192.0.2.11,fd00:2::11"),
        ("metadata.labels['app']", "agent"),
        ("metadata.labels['none']", ""),
    ],
)
def test_fields_of_the_pod(path: str, value: str) -> None:
    assert podspec.field(POD, path) == value


def test_environment_refers_to_the_pod_to_objects_and_to_itself() -> None:
    container = {
        "env": [
            {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
            {"name": "URL", "value": "http://$(NODE)/$(UNKNOWN)/$$(NODE)"},
            {"name": "COLOUR", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "colour"}}},
            {"name": "GONE", "valueFrom": {"secretKeyRef": {"name": "none", "key": "x", "optional": True}}},
        ]
    }
    values = podspec.environment(POD, container, lambda kind, _: {"colour": "blue"} if kind == "configMap" else None)
    assert values == {"NODE": "node-1", "URL": "http://node-1/$(UNKNOWN)/$(NODE)", "COLOUR": "blue"}
    assert podspec.argv({"command": ["x"], "args": ["--node=$(NODE)"]}, values) == ["x", "--node=node-1"]
    assert podspec.argv({"args": ["agent"]}, {}) == ["wirecrypt", "agent"]


def test_a_missing_key_is_an_error() -> None:
    container = {"env": [{"name": "X", "valueFrom": {"secretKeyRef": {"name": "none", "key": "x"}}}]}
    with pytest.raises(LabError, match="secret none"):
        podspec.environment(POD, container, lambda *_: None)


@pytest.mark.parametrize(
    ("context", "kept"),
    [
        ({"capabilities": {"drop": ["ALL"]}}, []),
        ({"capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN", "BPF"]}}, [12, 39]),
        ({"capabilities": {"drop": ["ALL"], "add": ["CAP_SYS_ADMIN"]}}, [21]),
        ({"privileged": True}, None),
        ({}, [0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31]),
    ],
)
def test_capabilities_are_those_of_a_container_runtime(context: dict[str, Any], kept: list[int] | None) -> None:
    assert podspec.capabilities({"securityContext": context}) == kept


def test_an_unknown_capability_is_an_error() -> None:
    with pytest.raises(LabError, match="MAGIC"):
        podspec.capabilities({"securityContext": {"capabilities": {"add": ["MAGIC"]}}})


def test_users_of_pod_and_container() -> None:
    pod = {"spec": {"securityContext": {"runAsUser": 5, "runAsGroup": 6, "fsGroup": 7}}}
    assert podspec.user(pod, {"name": "c"}) == (5, 6, [7])
    assert podspec.user(pod, {"name": "c", "securityContext": {"runAsUser": 0}}) == (0, 6, [7])
    assert podspec.user({"spec": {}}, {"name": "c", "securityContext": {"runAsNonRoot": True}})[0] == podspec.IMAGE_USER
    with pytest.raises(LabError, match="runAsNonRoot"):
        podspec.user({"spec": {}}, {"name": "c", "securityContext": {"runAsNonRoot": True, "runAsUser": 0}})


def test_every_container_gets_its_account_unless_it_does_not_want_it() -> None:
    spec = with_account({"containers": [{"name": "c"}], "initContainers": [{"name": "i"}]})
    for container in (*spec["containers"], *spec["initContainers"]):
        assert [mount["mountPath"] for mount in container["volumeMounts"]] == [ACCOUNT_PATH]
    assert len(spec["volumes"]) == 1
    plain = {"automountServiceAccountToken": False, "containers": []}
    assert with_account(plain) == plain
