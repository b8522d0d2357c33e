"""Who may ask an agent what: the account in whose name users ask, what its tokens are for, and what came of a review."""

from __future__ import annotations

from dataclasses import dataclass
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
