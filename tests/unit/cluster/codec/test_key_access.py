"""The objects by which a node's account reads its keys: what is written is what counts as sound, and nothing more."""

from __future__ import annotations

from typing import Any

import pytest

from wirecrypt.cluster.codec import key_access
from wirecrypt.errors import ObjectError
from wirecrypt.model.access import AccessPart, KeyAccess

ROLE = {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["wirecrypt-node-b"], "verbs": ["get"]}


def shown(part: AccessPart, **changed: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """Return an object of node b as the API server shows it, with *changed* fields."""
    body = key_access.encode("b", part)
    return {**body, "metadata": {**body["metadata"], "uid": "u1", "resourceVersion": "7"}, **changed}


@pytest.mark.parametrize("part", AccessPart)
def test_what_is_written_is_sound(part: AccessPart) -> None:
    """And is read as the node's own."""
    assert key_access.decode(shown(part), part) == KeyAccess("b", part, "u1", sound=True)


@pytest.mark.parametrize(
    ("part", "changed"),
    [
        (AccessPart.ACCOUNT, {"automountServiceAccountToken": True}),
        (AccessPart.ROLE, {"rules": []}),
        (AccessPart.ROLE, {"rules": None}),
        (AccessPart.ROLE, {"rules": [ROLE, ROLE]}),
        (AccessPart.ROLE, {"rules": [{k: v for k, v in ROLE.items() if k != "resourceNames"}]}),
        (AccessPart.ROLE, {"rules": [ROLE | {"resourceNames": ["wirecrypt-node-a"]}]}),
        (AccessPart.ROLE, {"rules": [ROLE | {"verbs": ["get", "list"]}]}),
        (
            AccessPart.BINDING,
            {"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "wirecrypt-controller"}},
        ),
        (
            AccessPart.BINDING,
            {"subjects": [{"kind": "ServiceAccount", "name": "wirecrypt-agent", "namespace": "wirecrypt-system"}]},
        ),
        (AccessPart.BINDING, {"subjects": None}),
    ],
)
def test_what_says_anything_else_is_not(part: AccessPart, changed: dict[str, Any]) -> None:
    """Wider or narrower, or another's."""
    assert not key_access.decode(shown(part, **changed), part).sound


def test_an_object_of_another_name_is_no_nodes() -> None:
    """It is reported as malformed, and left alone."""
    with pytest.raises(ObjectError, match="wirecrypt-node-"):
        key_access.decode({"metadata": {"name": "other", "uid": "u"}}, AccessPart.ROLE)


def test_a_token_never_becomes_text() -> None:
    """It is asked for by a request that names the node's Secret, and shown by a fingerprint."""
    assert key_access.token_request("b")["spec"]["boundObjectRef"]["name"] == "wirecrypt-node-b"
    token = key_access.token({"status": {"token": "open sesame"}})
    assert token.reveal() == b"open sesame"
    assert "sesame" not in f"{token!r} {token}"
    with pytest.raises(ObjectError, match="missing"):
        key_access.token({"status": {}})
