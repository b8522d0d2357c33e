"""Who may ask an agent what: the account in whose name users ask, what its tokens are for, and what came of a review.

And who an agent is itself, by its own token, and what lets it read the keys of its node.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

ACCOUNT: Final = "wirecrypt-verify"  # in wirecrypt-system; it may do nothing else
RESOURCE: Final = "encryptednodes"  # a page is a subresource of it, as nodes/proxy is a kubelet's: get encryptednodes/verify
LOCAL_SOCKET: Final = Path("/run/wirecrypt/agent.sock")  # by which root of a node asks its agent
ALLOWED: Final = 200
UNKNOWN: Final = 401
FORBIDDEN: Final = 403


def audience(node: str) -> str:
    """Return what a token must be for: one agent. Neither the API server nor another agent takes it."""
    return f"wirecrypt.io/agent/{node}"


@dataclass(frozen=True, slots=True)
class TokenVerdict:
    """What came of a review: *status* as in HTTP, and of a refusal *why*, with what is missing."""

    status: int
    why: str = ""


@dataclass(frozen=True, slots=True)
class TokenIdentity:
    """What the API server reads from an agent's token: its pod, and the Node as it was when the token was made.

    All of it is empty for a token that is bound to no pod.
    """

    pod: str = ""
    pod_uid: str = ""
    node: str = ""
    node_uid: str = ""


class AccessPart(Enum):
    """The kinds of objects by which a node's account may read the Secret with the node's keys, as they are made."""

    ACCOUNT = "ServiceAccount"
    ROLE = "Role"
    BINDING = "RoleBinding"


@dataclass(frozen=True, slots=True)
class KeyAccess:
    """One of the objects by which the keys of *node* can be read by its own agent alone; *sound*: it says what it should."""

    node: str
    part: AccessPart
    uid: str
    sound: bool = True
