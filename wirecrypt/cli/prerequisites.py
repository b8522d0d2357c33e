"""What a node needs of the configuration before it can join: asked before the first label, for the controller would wait."""

from __future__ import annotations

from wirecrypt.cluster.cli_client import CliClient
from wirecrypt.errors import ConfigError, Forbidden
from wirecrypt.settings import from_document

_TRIED = "enable nodes"


def require_ranges(cluster: CliClient) -> str:
    """Raise `ConfigError` while no node could join; return why that is not known, nothing when it is.

    A person who may label nodes need not be one who may read the configuration: the controller asks for it all the same.
    """
    try:
        document = cluster.config()
    except Forbidden as error:
        return f"whether the configuration has what nodes need to join could not be read: {error.answer}"
    if document is None:
        answer, hint = (
            "there is no ConfigMap wirecrypt-config; nothing was changed",
            "install wirecrypt: docs/how-to/install.md",
        )
        raise ConfigError(_TRIED, answer=answer, hint=hint)
    if unset := from_document(document).claim_ranges.unset:
        answer = f"{unset}, so no node would join; nothing was changed"
        hint = "list the pods' ranges in clusterCIDRs and the nodes' subnets in nodeCIDRs: docs/reference/configuration.md"
        raise ConfigError(_TRIED, what="ConfigMap wirecrypt-config", answer=answer, hint=hint)
    return ""
