"""The controller's loop: node labels to EncryptedNodes, node keys, rotations, removals.

May live here: decisions about objects of the API server (pure, `nodes` and `decide`) and the thin shell that does them.
Nothing that knows how the API server is spoken to.
"""

from wirecrypt.controller.endpoints import ControllerEndpoints
from wirecrypt.controller.leader import Elector, Timings
from wirecrypt.controller.loop import Controller
from wirecrypt.controller.run import run

__all__ = ["Controller", "ControllerEndpoints", "Elector", "Timings", "run"]
