"""Requests to the API server: addresses, credentials and TLS by the official client, errors as `ClusterError`.

Only the client's configuration and connection pool are used, and JSON as it comes: its generated models would double the
agent's memory and triple its start-up time (docs/adr/0002). No request is repeated here; who asks knows whether it may be.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlencode

from wirecrypt.cluster.answer import Answer, Json, refusal
from wirecrypt.errors import ClusterError, NotFound
from wirecrypt.model.secret import SecretBytes
from wirecrypt.model.xfrm import Address

if TYPE_CHECKING:
    from wirecrypt.cluster.connection import Connection

PAGE: Final = 500  # objects: few requests, for every agent lists all Nodes now and then
CONNECT_SECONDS: Final = 5.0
READ_SECONDS: Final = 20.0
AGENT_SECONDS: Final = 60.0  # an agent looks, captures and probes before it answers, on a busy node not at once
SILENT_SECONDS: Final = 100.0  # a watch gets a bookmark about once a minute; longer silence is a dead connection
MERGE: Final = "application/merge-patch+json"
_JSON: Final = "application/json"
_VERBS: Final = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


class Api:
    """One API server seen with one identity. Thread-safe; *reads* and *writes* count the requests sent.

    *page*: objects per answer of a list. *failed* is told the verb of each request that was refused or not answered, and
    the error.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self.reads = 0
        self.writes = 0
        self.page = PAGE
        self.failed: Callable[[str, ClusterError], None] = lambda _verb, _error: None

    @classmethod
    def connect(cls, kubeconfig: Path | None = None, *, context: str | None = None) -> Api:
        """Return an API as *kubeconfig* says; without one, as a pod's service account, else as KUBECONFIG says."""
        from wirecrypt.cluster.connection import Connection  # noqa: PLC0415 - costs 0.2 s and 25 MB, only when needed

        return cls(Connection.open(kubeconfig, context))

    def get(self, path: str, *, token: SecretBytes | None = None) -> Json:
        """Return one object by a quorum read, as the bearer of *token* if there is one."""
        bearer = {"Authorization": f"Bearer {token.reveal().decode()}"} if token else {}
        return self._call("GET", path, headers=bearer)

    def proxied(self, path: str, headers: Mapping[str, str]) -> Json:
        """Return what a pod's page answers, to which the API server hands the request with *headers* on."""
        with self._send("GET", path, None, headers=headers, read_seconds=AGENT_SECONDS) as answer:
            return answer.json()

    def items(self, path: str) -> tuple[list[Json], str]:
        """Return all objects of a collection, and the version of the collection."""
        found: list[Json] = []
        version = ""
        for page, version in self.pages(path):  # noqa: B007 - the last one's
            found += page
        return found, version

    def pages(self, path: str) -> Iterator[tuple[list[Json], str]]:
        """Yield the objects of a collection page by page, each with the version of the collection."""
        more = ""
        while True:
            page = self._call("GET", _query(path, limit=self.page, **({"continue": more} if more else {})))
            meta, items = page.get("metadata", {}), page.pop("items", None) or []
            yield items, meta.get("resourceVersion", "")
            more = meta.get("continue", "")
            if not more:
                return

    def named(self, path: str, name: str) -> tuple[list[Json], str]:
        """Return the object called *name* of a collection, if it is there, and the version of the collection; one request.

        Without a name it is any one object.
        """
        page = self._call("GET", _query(_only(path, name), limit=1))
        return page.get("items") or [], page.get("metadata", {}).get("resourceVersion", "")

    def create(self, path: str, body: Json, *, dry_run: bool = False) -> Json:
        """Create an object in a collection; raises `AlreadyExists`."""
        return self._call("POST", _query(path, dryRun="All") if dry_run else path, body)

    def replace(self, path: str, body: Json) -> Json:
        """Replace an object; with a resourceVersion in it only that version, else `Conflict`."""
        return self._call("PUT", path, body)

    def patch(self, path: str, body: Json, *, dry_run: bool = False) -> Json:
        """Merge *body* into an object; with a resourceVersion in it only into that version, else `Conflict`."""
        return self._call("PATCH", _query(path, dryRun="All") if dry_run else path, body, kind=MERGE)

    def delete(self, path: str, *, version: str = "", uid: str = "", dry_run: bool = False) -> None:
        """Delete an object, if given only at this *version* and with this *uid*; one that is gone is no error, but of a try."""
        wanted = {k: v for k, v in (("resourceVersion", version), ("uid", uid)) if v}
        options: Json = {**({"preconditions": wanted} if wanted else {}), **({"dryRun": ["All"]} if dry_run else {})}
        try:
            self._call("DELETE", path, options or None)  # with a body the API server reads no option from the address
        except NotFound:
            if dry_run:
                raise

    @contextmanager
    def stream(self, path: str, *, version: str, seconds: int) -> Iterator[Answer]:
        """Watch a collection from *version* on for at most *seconds*: read `Answer.events`, stop with `interrupt`."""
        url = _query(path, watch=1, resourceVersion=version, allowWatchBookmarks="true", timeoutSeconds=seconds)
        answer = self._send("GET", url, None, headers={}, read_seconds=SILENT_SECONDS)
        try:
            yield answer
        finally:
            answer.close()

    def addresses(self) -> frozenset[Address]:
        """Return the addresses that connections go to, as far as they are known; nobody is asked."""
        return self._connection.addresses()

    @property
    def answered(self) -> float:
        """Return when the newest of the requests that were answered began, by the monotonic clock."""
        return self._connection.answered

    def close(self) -> None:
        """Close the idle connections."""
        self._connection.close()

    def _call(
        self,
        method: str,
        path: str,
        body: Json | None = None,
        *,
        kind: str = _JSON,
        headers: Mapping[str, str] | None = None,
    ) -> Json:
        more = {"Content-Type": kind, **(headers or {})}
        with self._send(method, path, body, headers=more, read_seconds=READ_SECONDS) as answer:
            return answer.json()

    def _send(self, method: str, path: str, body: Json | None, *, headers: Mapping[str, str], read_seconds: float) -> Answer:
        try:
            return self._sent(method, path, body, headers=headers, read_seconds=read_seconds)
        except ClusterError as error:
            self.failed(_verb(method, path), error)
            raise

    def _sent(self, method: str, path: str, body: Json | None, *, headers: Mapping[str, str], read_seconds: float) -> Answer:
        with self._lock:
            self.reads += method == "GET"
            self.writes += method != "GET"
        answer = self._connection.send(
            method,
            path,
            body=None if body is None else json.dumps(body).encode(),
            headers={"Accept": _JSON, **headers},
            timeout=(CONNECT_SECONDS, read_seconds),
        )
        if answer.status >= 300:  # noqa: PLR2004 - everything from here on is no success
            with answer:
                raise refusal(f"{method} {path.partition('?')[0]}", answer.status, answer.text(), answer.headers)
        return answer


def _verb(method: str, path: str) -> str:
    """Return what the API server calls such a request; collections are always asked for with a limit."""
    if method != "GET":
        return _VERBS[method]
    query = path.partition("?")[2]
    return "watch" if "watch=1" in query else "list" if "limit=" in query else "get"


def _query(path: str, **parameters: object) -> str:
    return f"{path}{'&' if '?' in path else '?'}{urlencode(parameters)}"


def _only(path: str, name: str) -> str:
    """Return the *path* of a collection cut down to the object called *name*."""
    if not name or "metadata.name" in path:
        return path
    wanted = quote(f"metadata.name={name}", safe="")
    if "fieldSelector=" in path:
        return f"{path}%2C{wanted}"  # no path has anything after its selector
    return f"{path}{'&' if '?' in path else '?'}fieldSelector={wanted}"
