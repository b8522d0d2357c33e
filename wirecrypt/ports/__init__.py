"""Ports: all that loops see of the outside, as protocols; their values are the model's.

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
from wirecrypt.ports.kernel import Failure, Guard, Links, Xfrm

__all__ = [
    "Arrived",
    "Changed",
    "Cluster",
    "ControlChannel",
    "ControllerCluster",
    "ControllerView",
    "Failure",
    "Guard",
    "Lease",
    "LeaseStore",
    "Links",
    "Watcher",
    "Xfrm",
]
