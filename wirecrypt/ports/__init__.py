"""Ports: all that loops see of the outside, as protocols; their values are the model's.

Adapters in kernel/ and cluster/ implement them; tests inject what they need.
"""

from wirecrypt.ports.agent_api import (
    AgentApi,
    Changed,
    Watcher,
)
from wirecrypt.ports.control_channel import (
    Arrived,
    ControlChannel,
)
from wirecrypt.ports.controller_api import (
    ControllerApi,
    ControllerView,
    Lease,
    LeaseStore,
)
from wirecrypt.ports.kernel import Failure, Guard, Links, Xfrm

__all__ = [
    "AgentApi",
    "Arrived",
    "Changed",
    "ControlChannel",
    "ControllerApi",
    "ControllerView",
    "Failure",
    "Guard",
    "Lease",
    "LeaseStore",
    "Links",
    "Watcher",
    "Xfrm",
]
