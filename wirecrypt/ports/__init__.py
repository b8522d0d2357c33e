"""Ports: all that loops see of the outside.

Adapters in kernel/ and cluster/ implement them; tests inject what they need.
"""

from wirecrypt.ports.agent_api import (
    Changed,
    Cluster,
    Watcher,
)
from wirecrypt.ports.control_channel import (
    Arrived,
    ControlChannel,
)
from wirecrypt.ports.controller_api import (
    ControllerCluster,
    ControllerView,
    Lease,
    LeaseStore,
)
from wirecrypt.ports.kernel import (
    Attachment,
    Drop,
    Failure,
    Guard,
    GuardAction,
    GuardEntry,
    GuardSettings,
    Link,
    Links,
    Xfrm,
)

__all__ = [
    "Arrived",
    "Attachment",
    "Changed",
    "Cluster",
    "ControlChannel",
    "ControllerCluster",
    "ControllerView",
    "Drop",
    "Failure",
    "Guard",
    "GuardAction",
    "GuardEntry",
    "GuardSettings",
    "Lease",
    "LeaseStore",
    "Link",
    "Links",
    "Watcher",
    "Xfrm",
]
