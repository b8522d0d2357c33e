"""Whole kinds are read page by page: of what an object is beyond what is kept of it, there is never more than a page or two."""

# ruff: noqa: D102 - the methods are those of the connection and of its answers
from __future__ import annotations

from typing import Any, ClassVar, Self, cast

import pytest

from wirecrypt.cluster import controller_client, paths
from wirecrypt.cluster.api import PAGE, Api
from wirecrypt.cluster.codec import decode
from wirecrypt.cluster.controller_client import ControllerClient
from wirecrypt.cluster.readers import ObjectReader
from wirecrypt.cluster.reflector import Reflector
from wirecrypt.model.objects import Node

PAGES = 6


class Raw(dict[str, Any]):
    """A Node as the API server sends it; counts how many of them there are, and the most that there were."""

    alive: ClassVar[int] = 0
    most: ClassVar[int] = 0

    def __init__(self, number: int) -> None:
        meta = {"name": f"n{number:05}", "uid": f"u{number}", "resourceVersion": str(number + 1)}
        super().__init__(metadata={**meta, "creationTimestamp": "2030-01-01T00:00:00Z"}, spec={}, status={})
        Raw.alive += 1
        Raw.most = max(Raw.most, Raw.alive)

    def __del__(self) -> None:
        Raw.alive -= 1


class Answering:
    """A connection to a server of six pages of Nodes, and nothing else."""

    status = 200

    def __init__(self) -> None:
        self.path = ""

    def send(self, _method: str, path: str, **_: object) -> Self:
        self.path = path
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def json(self) -> dict[str, Any]:
        if not self.path.startswith(paths.NODES):
            return {"items": []}
        asked = dict(each.split("=") for each in self.path.partition("?")[2].split("&"))
        first = int(asked.get("continue", 0))
        last = first + int(asked["limit"])
        more = {"continue": str(last)} if last < PAGES * PAGE else {}
        return {"metadata": {"resourceVersion": str(PAGES * PAGE), **more}, "items": [*map(Raw, range(first, last))]}


@pytest.fixture
def api() -> Api:
    """Return the API of that server, with nothing counted yet."""
    Raw.alive = Raw.most = 0
    return Api(cast("Any", Answering()))


def test_a_copy_is_made_page_by_page(api: Api) -> None:
    """All objects are in it, and never were more than two pages of them there as they came."""
    copy: Reflector[Node] = Reflector(api, "Node", paths.NODES, decode.node)
    copy._list(lambda: None)  # noqa: SLF001 - as the thread does first
    assert len(copy.objects()) == PAGES * PAGE
    assert Raw.most <= 2 * PAGE


def test_a_reader_reads_page_by_page(api: Api) -> None:
    """As a copy is made."""
    assert len(ObjectReader(api).nodes()) == PAGES * PAGE
    assert Raw.most <= 2 * PAGE


def test_a_new_leader_looks_at_each_kind_page_by_page(api: Api) -> None:
    """It wants to know the versions alone; it has many kinds, and small pages of each."""
    ControllerClient(api).catch_up()
    assert controller_client.PAGE < PAGE
    assert controller_client.PAGE <= Raw.most <= 2 * controller_client.PAGE
