"""The admission policies of manifests/. One that is missing or not bound admits what it should refuse, so each is tried."""

from __future__ import annotations

from typing import Final

OWN_NODE: Final = "wirecrypt-agent-own-node"
STATUS_BY_AGENT: Final = "wirecrypt-status-by-agent-only"
AGENT_TOKEN: Final = "wirecrypt-agent-token-only-bound"  # noqa: S105 - a name
NODE_TOKEN: Final = "wirecrypt-node-token-by-agent-only"  # noqa: S105 - a name
OWN_POD: Final = "wirecrypt-agent-own-pod"

BY_AGENTS: Final = (OWN_NODE, NODE_TOKEN, OWN_POD)  # tried by the accounts whose requests they are about
BY_CONTROLLER: Final = (STATUS_BY_AGENT, AGENT_TOKEN)
POLICIES: Final = tuple(sorted((*BY_AGENTS, *BY_CONTROLLER)))
FORBIDDEN: Final = (
    "wirecrypt-forbidden"  # of this name nobody makes an object, nor a token of the accounts, which can do nothing
)
