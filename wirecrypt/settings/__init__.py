"""The configuration document: one frozen dataclass per concern, a paragraph per field.

May live here: fields with their meaning, and how a document becomes a `Settings` or is refused. Nothing that reads a
file or an object. `python -m wirecrypt.settings` prints the reference page that is generated from these paragraphs.
"""

from wirecrypt.settings.document import from_document, parse
from wirecrypt.settings.fields import (
    AGENT_HEALTH_PORT,
    CONTROLLER_HEALTH_PORT,
    Joining,
    Metrics,
    Mode,
    NodeToNode,
    Rotation,
    Settings,
)

__all__ = [
    "AGENT_HEALTH_PORT",
    "CONTROLLER_HEALTH_PORT",
    "Joining",
    "Metrics",
    "Mode",
    "NodeToNode",
    "Rotation",
    "Settings",
    "from_document",
    "parse",
]
