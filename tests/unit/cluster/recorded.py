"""An API server that answers every request with something that can be read, and notes what right it takes."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from typing import Any, Self
from urllib.parse import parse_qs, unquote

from wirecrypt.cluster.api import Api

Right = tuple[str, str, str, str, str]  # verb, group, resource with subresource, namespace, name
VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


def right(method: str, url: str) -> Right:
    """Return what the API server checks for a request; a list of one object by its name has that name."""
    path, _, query = url.partition("?")
    asked = parse_qs(query)
    root, *parts = path.strip("/").split("/")
    group = "" if root == "api" else parts.pop(0)
    parts = parts[1:]  # the version
    namespace = ""
    if parts[0] == "namespaces" and len(parts) > 2:
        namespace, parts = parts[1], parts[2:]
    resource, name = "/".join([parts[0], *parts[2:]]), parts[1] if len(parts) > 1 else ""
    chosen = dict(one.split("=", 1) for text in asked.get("fieldSelector", ()) for one in unquote(text).split(","))
    read = "watch" if "watch" in asked else "get" if name else "list"
    return VERBS.get(method, read), group, resource, namespace, name or chosen.get("metadata.name", "")


class Recorder:
    """Stands in for a `Connection`; *rights* are those of requests with the connection's own identity."""

    answered = 0.0

    def __init__(self) -> None:
        self.rights: set[Right] = set()
        self.changed = threading.Condition()

    def api(self) -> Api:
        """Return an API over it."""
        return Api(self)  # type: ignore[arg-type]  # what requests use of a connection

    def send(self, method: str, url: str, *, headers: Mapping[str, str], **_: object) -> Answer:
        """Note a request, and answer it."""
        asked = right(method, url)
        if "Authorization" not in headers:
            with self.changed:
                self.rights.add(asked)
                self.changed.notify_all()
        return Answer(asked, url)

    def wait(self, wanted: Callable[[set[Right]], bool]) -> None:
        """Wait until what was recorded is as *wanted*."""
        with self.changed:
            assert self.changed.wait_for(lambda: wanted(self.rights), timeout=60), sorted(self.rights)

    def addresses(self) -> frozenset[Any]:
        """Know no address."""
        return frozenset()


class Answer:
    """An answer without much in it."""

    status, headers = 200, {}

    def __init__(self, asked: Right, url: str) -> None:
        self._asked, self._url = asked, url

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def json(self) -> dict[str, Any]:
        """Return an empty list, or an object with a name."""
        verb, _, _, _, name = self._asked
        if verb == "list":
            return {"items": [], "metadata": {"resourceVersion": "1"}}
        meta = {"name": name or "made", "uid": "uid", "resourceVersion": "1", "finalizers": []}
        return {"metadata": meta, "status": {"token": "t", "authenticated": True, "audiences": ["x"]}}

    def text(self) -> str:
        """Return the same as text."""
        return json.dumps(self.json())

    def events(self) -> list[Any]:
        """Return no events."""
        return []

    def interrupt(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""
