"""Tokens by which a person's command asks agents: short-lived, of an account that may do nothing else, good for one agent.

Whoever may have such a token made may ask, however they are known to the API server: by a certificate, a token, or a plugin.
Their own credentials never reach an agent, and what an agent, or a reader of the wire, gets to see opens nothing but that
agent's answers, for ten minutes.
"""

from __future__ import annotations

from typing import Final

from wirecrypt.cluster.api import Api
from wirecrypt.errors import ClusterError, Forbidden, NotFound
from wirecrypt.model.access import ACCOUNT, audience
from wirecrypt.model.objects import SYSTEM_NAMESPACE
from wirecrypt.model.secret import SecretBytes

SECONDS: Final = 600  # the shortest that API servers give
PATH: Final = f"/api/v1/namespaces/{SYSTEM_NAMESPACE}/serviceaccounts/{ACCOUNT}/token"


def token_for(api: Api, node: str) -> SecretBytes:
    """Return a token for the agent of *node*; raises `ClusterError` with what is missing."""
    tried, what = "get a token to ask agents with", f"service account {ACCOUNT} in {SYSTEM_NAMESPACE}"
    spec = {"audiences": [audience(node)], "expirationSeconds": SECONDS}
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
    try:
        answer = api.create(PATH, body)
    except Forbidden as error:
        hint = f"ask for the roles {ACCOUNT}-user: `kubectl auth can-i create serviceaccounts/token -n {SYSTEM_NAMESPACE}`"
        raise Forbidden(tried, what=what, answer=error.answer, hint=hint) from error
    except NotFound as error:
        hint = "apply your own overlay again: the account is in rbac-verify.yaml"
        raise NotFound(tried, what=what, answer=error.answer, hint=hint) from error
    token = (answer.get("status") or {}).get("token")
    if not isinstance(token, str) or not token:
        raise ClusterError(tried, what=what, answer="no token in the answer", hint="is this an API server?")
    return SecretBytes(token.encode())
