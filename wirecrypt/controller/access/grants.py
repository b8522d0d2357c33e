"""Who may read the keys of a node: its own agent, by an account of the node's own (docs/adr/0022). Pure.

Each pass starts from the objects that are there: what is missing is made, what says something else than it should goes, and
is made by the next pass. They are not owned by the Node: a Node that is gone for a while says nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

from wirecrypt.controller.actions import Action, GrantKeys, RevokeKeys
from wirecrypt.controller.node_objects import NodeObjects
from wirecrypt.model.access import AccessPart


def granted(objects: NodeObjects) -> Iterable[Action]:
    """Yield what is left to do until the node's account may read the node's Secret, and nothing else: one cut off has none."""
    if objects.excluded:
        yield from revoked(objects, why="the node was cut off")
        return
    for access in objects.access:
        if not access.sound:
            yield RevokeKeys(access, why="says something else than it should, and is made again")
    have = {access.part for access in objects.access}
    for part in AccessPart:
        if part not in have:
            yield GrantKeys(objects.name, part, why="the node's agent reads the node's Secret by it")


def revoked(objects: NodeObjects, why: str) -> Iterable[Action]:
    """Yield the end of the node's account and of its rights."""
    for access in objects.access:
        yield RevokeKeys(access, why=why)
