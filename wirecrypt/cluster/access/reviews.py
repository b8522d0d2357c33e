"""What an agent asks the API server about a token: whose it is, and whether that one may read a page of this node.

As a kubelet does it, by a TokenReview and a SubjectAccessReview. A page is a subresource of the node's EncryptedNode, so that
RBAC says who may, for all nodes or by name: `get encryptednodes/verify`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from wirecrypt.cluster import paths
from wirecrypt.cluster.api import Api
from wirecrypt.errors import ClusterError, Forbidden
from wirecrypt.model.access import ALLOWED, FORBIDDEN, RESOURCE, UNKNOWN, TokenIdentity, TokenVerdict, audience
from wirecrypt.model.secret import SecretBytes

_TOKENS: Final = "/apis/authentication.k8s.io/v1/tokenreviews"
_CLAIMS: Final = ("pod-name", "pod-uid", "node-name", "node-uid")  # in the order of TokenIdentity
_ACCESS: Final = "/apis/authorization.k8s.io/v1/subjectaccessreviews"


def identity(review: Mapping[str, Any]) -> TokenIdentity:
    """Return what a SelfSubjectReview says of its sender's token; raises `ClusterError` when it is none."""
    status = review.get("status")
    user = status.get("userInfo") if isinstance(status, dict) else None
    if not isinstance(user, dict):
        raise ClusterError("ask who this is", answer="no user in the answer", hint="is this an API server?")
    extra = user.get("extra") or {}
    claims = {key: extra.get(f"authentication.kubernetes.io/{key}") or [""] for key in _CLAIMS}
    return TokenIdentity(*(str(claims[key][0]) if len(claims[key]) == 1 else "" for key in _CLAIMS))


class Reviews:
    """Reviews tokens for the agent of *node*."""

    def __init__(self, api: Api, node: str) -> None:
        self._api, self._node = api, node

    def __call__(self, token: SecretBytes, page: str) -> TokenVerdict:
        """Return whether the bearer of *token* may read *page*; raises `ClusterError` when nobody can say."""
        wanted = audience(self._node)
        spec: dict[str, Any] = {"token": token.reveal().decode("latin-1"), "audiences": [wanted]}
        status = self._ask(_TOKENS, "TokenReview", "authentication.k8s.io/v1", spec)
        if not status.get("authenticated") or wanted not in (status.get("audiences") or ()):
            return TokenVerdict(UNKNOWN, f"the token is not valid for the audience {wanted}, or no longer")
        user = status.get("user") or {}
        attributes = {"group": paths.GROUP, "resource": RESOURCE, "subresource": page, "name": self._node, "verb": "get"}
        named = {"user": user.get("username"), "uid": user.get("uid"), "groups": user.get("groups"), "extra": user.get("extra")}
        who = {name: value for name, value in named.items() if value}
        spec = {"resourceAttributes": attributes, **who}
        if self._ask(_ACCESS, "SubjectAccessReview", "authorization.k8s.io/v1", spec).get("allowed") is True:
            return TokenVerdict(ALLOWED)
        missing = f"get {RESOURCE}/{page} of the group {paths.GROUP}"
        return TokenVerdict(FORBIDDEN, f"{user.get('username')} lacks the right to {missing}, for {self._node}")

    def _ask(self, path: str, kind: str, version: str, spec: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            answer = self._api.create(path, {"apiVersion": version, "kind": kind, "spec": dict(spec)})
        except Forbidden as error:
            hint = "apply your own overlay again: the agent's account may ask for reviews by rbac-verify.yaml"
            raise Forbidden(f"ask for a {kind}", what=self._node, answer=error.answer, hint=hint) from error
        status = answer.get("status")
        if not isinstance(status, dict):
            raise ClusterError(f"ask for a {kind}", what=self._node, answer="no status", hint="is this an API server?")
        return status
