"""Ports: all that loops see of the outside, as protocols; their values are the model's.

Adapters in kernel/ and cluster/ implement them; tests inject what they need.
"""

from wirecrypt.ports.agent_api import AgentApi, Watcher
from wirecrypt.ports.control_channel import ControlChannel
from wirecrypt.ports.controller_api import ControllerApi, LeaseStore
from wirecrypt.ports.kernel import Guard, Links, Xfrm

__all__ = [
    "AgentApi",
    "ControlChannel",
    "ControllerApi",
    "Guard",
    "LeaseStore",
    "Links",
    "Watcher",
    "Xfrm",
]
