"""The account of a node, in the namespace of the keys, and the Role that lets it read one Secret: that node's.

The account, the Role, its RoleBinding and the Secret have one name, so that admission can compare it with the node in the
token of who asks. An object that says anything else than what is written here is not sound, and made again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from wirecrypt.cluster.codec.decode import KEY_PREFIX
from wirecrypt.cluster.codec.object_fields import fields_of
from wirecrypt.cluster.paths import RBAC
from wirecrypt.model.access import AccessPart, KeyAccess
from wirecrypt.model.objects import KEYS_NAMESPACE
from wirecrypt.model.secret import SecretBytes

TOKEN_SECONDS: Final = 600  # the shortest life that the API server gives a token: one read is all it is for
_LABELS: Final = {"app.kubernetes.io/name": "wirecrypt", "app.kubernetes.io/component": "node-account"}

Json = dict[str, Any]


def encode(node: str, part: AccessPart) -> Json:
    """Return one of the objects by which the account of *node* reads that node's Secret."""
    name = KEY_PREFIX + node
    group = "v1" if part is AccessPart.ACCOUNT else f"{RBAC}/v1"
    meta = {"name": name, "namespace": KEYS_NAMESPACE, "labels": dict(_LABELS)}
    return {"apiVersion": group, "kind": part.value, "metadata": meta, **_body(name, part)}


def decode(raw: Mapping[str, Any], part: AccessPart) -> KeyAccess:
    """Return what an object of the kind *part* is; raises `ObjectError` for one whose name is no node's."""
    obj = fields_of(part.value, raw)
    meta = obj.group("metadata")
    name = meta.text("name")
    if not name.startswith(KEY_PREFIX):
        obj.refuse("metadata.name", f"does not begin with {KEY_PREFIX}")
    sound = all(raw.get(key) == value for key, value in _body(name, part).items())
    return KeyAccess(name.removeprefix(KEY_PREFIX), part, meta.text("uid"), sound)


def token_request(node: str) -> Json:
    """Return what the agent of *node* asks for: a token of the node's account that ends with the node's Secret."""
    secret = {"apiVersion": "v1", "kind": "Secret", "name": KEY_PREFIX + node}
    return {"spec": {"expirationSeconds": TOKEN_SECONDS, "boundObjectRef": secret}}


def token(raw: Mapping[str, Any]) -> SecretBytes:
    """Return the token that was asked for."""
    return SecretBytes(fields_of("TokenRequest", raw, secret=True).group("status").text("token").encode())


def _body(name: str, part: AccessPart) -> Json:
    """Return all of an object but its name, as the API server shows it."""
    match part:
        case AccessPart.ACCOUNT:
            return {"automountServiceAccountToken": False}
        case AccessPart.ROLE:
            return {"rules": [{"apiGroups": [""], "resources": ["secrets"], "resourceNames": [name], "verbs": ["get"]}]}
        case AccessPart.BINDING:
            account = {"kind": AccessPart.ACCOUNT.value, "name": name, "namespace": KEYS_NAMESPACE}
            return {"roleRef": {"apiGroup": RBAC, "kind": AccessPart.ROLE.value, "name": name}, "subjects": [account]}
