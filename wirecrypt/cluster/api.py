"""Requests to the API server: addresses, credentials and TLS by the official client, errors as `ClusterError`.

Only the client's configuration and connection pool are used, and JSON as it comes: its generated models would double the
agent's memory and triple its start-up time (docs/adr/0002). No request is repeated here; who asks knows whether it may be.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import urlencode

from wirecrypt.errors import ClusterError, Conflict, Forbidden, NotFound, Unreachable

if TYPE_CHECKING:
    from wirecrypt.cluster.connection import Connection

PAGE: Final = 500  # objects per answer of a list
CONNECT_SECONDS: Final = 5.0
READ_SECONDS: Final = 20.0
SILENT_SECONDS: Final = 100.0  # a watch gets a bookmark about once a minute; longer silence is a dead connection
MERGE: Final = "application/merge-patch+json"
_JSON: Final = "application/json"

Json = dict[str, Any]


class Gone(ClusterError):
    """The API server has forgotten the version that a watch or a page asked for (410)."""


class Throttled(ClusterError):
    """The API server asks to come again later (429 or 503): *after* is in seconds, 0 when it did not say."""

    def __init__(self, tried: str, *, what: str = "", answer: str = "", hint: str = "", after: float = 0.0) -> None:
        self.after = after
        super().__init__(tried, what=what, answer=answer, hint=hint)


class ServerError(ClusterError):
    """The API server, or a proxy before it, failed at its own side (5xx but 503); whether a write was done is not known."""


class AlreadyExists(Conflict):
    """An object of this name is there already."""


class Api:
    """One API server seen with one identity. Thread-safe; *reads* and *writes* count the requests sent."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self.reads = 0
        self.writes = 0

    @classmethod
    def connect(cls, kubeconfig: Path | None = None, *, context: str | None = None) -> Api:
        """Return an API as *kubeconfig* says; without one, as a pod's service account, else as KUBECONFIG says."""
        from wirecrypt.cluster.connection import Connection  # noqa: PLC0415 - costs 0.2 s and 25 MB, only when needed

        return cls(Connection.open(kubeconfig, context))

    def get(self, path: str) -> Json:
        """Return one object by a quorum read."""
        return self._call("GET", path)

    def items(self, path: str) -> tuple[list[Json], str]:
        """Return all objects of a collection, read in pages, and the version of the collection."""
        found: list[Json] = []
        more = ""
        while True:
            page = self._call("GET", _query(path, limit=PAGE, **({"continue": more} if more else {})))
            found += page.get("items") or []
            more = page.get("metadata", {}).get("continue", "")
            if not more:
                return found, page.get("metadata", {}).get("resourceVersion", "")

    def create(self, path: str, body: Json) -> Json:
        """Create an object in a collection; raises `AlreadyExists`."""
        return self._call("POST", path, body)

    def replace(self, path: str, body: Json) -> Json:
        """Replace an object; with a resourceVersion in it only that version, else `Conflict`."""
        return self._call("PUT", path, body)

    def patch(self, path: str, body: Json, *, dry_run: bool = False) -> Json:
        """Merge *body* into an object; with a resourceVersion in it only into that version, else `Conflict`."""
        return self._call("PATCH", _query(path, dryRun="All") if dry_run else path, body, kind=MERGE)

    def delete(self, path: str, *, version: str = "", uid: str = "") -> None:
        """Delete an object, if given only at this *version* and with this *uid*; one that is gone is no error."""
        wanted = {k: v for k, v in (("resourceVersion", version), ("uid", uid)) if v}
        try:
            self._call("DELETE", path, {"preconditions": wanted} if wanted else None)
        except NotFound:
            return

    @contextmanager
    def stream(self, path: str, *, version: str, seconds: int) -> Iterator[Answer]:
        """Watch a collection from *version* on for at most *seconds*: read `Answer.events`, stop with `interrupt`."""
        url = _query(path, watch=1, resourceVersion=version, allowWatchBookmarks="true", timeoutSeconds=seconds)
        answer = self._send("GET", url, None, kind=_JSON, read_seconds=SILENT_SECONDS)
        try:
            yield answer
        finally:
            answer.close()

    def close(self) -> None:
        """Close the idle connections."""
        self._connection.close()

    def _call(self, method: str, path: str, body: Json | None = None, *, kind: str = _JSON) -> Json:
        with self._send(method, path, body, kind=kind, read_seconds=READ_SECONDS) as answer:
            return answer.json()

    def _send(self, method: str, path: str, body: Json | None, *, kind: str, read_seconds: float) -> Answer:
        with self._lock:
            self.reads += method == "GET"
            self.writes += method != "GET"
        answer = self._connection.send(
            method,
            path,
            body=None if body is None else json.dumps(body).encode(),
            headers={"Accept": _JSON, "Content-Type": kind},
            timeout=(CONNECT_SECONDS, read_seconds),
        )
        if answer.status >= 300:  # noqa: PLR2004 - everything from here on is no success
            with answer:
                raise refusal(f"{method} {path.partition('?')[0]}", answer.status, answer.text(), answer.headers)
        return answer


class Answer:
    """What came back; a context manager that gives the connection back."""

    def __init__(self, response: Any, tried: str) -> None:  # noqa: ANN401 - a urllib3 response
        self._response = response
        self._tried = tried
        self.status: int = response.status
        self.headers: Mapping[str, str] = response.headers

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._response.release_conn()

    def text(self) -> str:
        """Return the body; raises `Unreachable` when it does not arrive."""
        from urllib3.exceptions import HTTPError  # noqa: PLC0415 - the connection has imported it already

        try:
            data: bytes = self._response.read()
        except (HTTPError, OSError) as error:
            raise unreachable(self._tried, error) from error
        return data.decode(errors="replace")

    def json(self) -> Json:
        """Return the body as an object; raises `ClusterError` when it is none."""
        text = self.text()
        try:
            value: Json = json.loads(text) if text else {}
        except ValueError as error:
            raise ClusterError(self._tried, answer="not JSON", hint="is this address an API server?") from error
        if not isinstance(value, dict):
            raise ClusterError(self._tried, answer="JSON, and no object", hint="is this address an API server?")
        return value

    def events(self) -> Iterator[Json]:
        """Yield the events of a watch as they arrive: *type* and *object*.

        Raises `Unreachable` when the stream breaks off, `ClusterError` for a line that is no event.
        """
        return (self._event(line) for line in self._lines())

    def _event(self, line: bytes) -> Json:
        hint = "the watch is taken up again; does a proxy stand between, and answer in the API server's place?"
        try:
            event: Json = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ClusterError(self._tried, answer="a line that is not JSON", hint=hint) from error
        if not (isinstance(event, dict) and isinstance(event.get("object"), dict)):
            raise ClusterError(self._tried, answer="a line that is no event", hint=hint)
        return event

    def _lines(self) -> Iterator[bytes]:
        from urllib3.exceptions import HTTPError  # noqa: PLC0415 - the connection has imported it already

        rest = b""
        try:
            for chunk in self._response.stream(amt=None, decode_content=True):
                *whole, rest = (rest + chunk).split(b"\n")
                yield from (line for line in whole if line.strip())
        except (HTTPError, OSError, ValueError, AttributeError) as error:
            # The last two are urllib3's and http.client's when another thread closes the connection meanwhile.
            raise unreachable(self._tried, error) from error

    def interrupt(self) -> None:
        """Make a read that waits in another thread return."""
        with suppress(OSError, ValueError, AttributeError):  # the stream has ended already
            self._response.shutdown()

    def close(self) -> None:
        """Drop the connection with what is still in it."""
        self._response.close()


def unreachable(tried: str, error: Exception) -> Unreachable:
    """Return the error for a server that gave no answer."""
    answer = f"{type(error).__name__}: {str(error)[:300]}"
    return Unreachable(tried, answer=answer, hint="check the API server's address, the network and the certificate")


def refusal(tried: str, status: int, body: str, headers: Mapping[str, str]) -> ClusterError:
    """Return the error that an answer with an HTTP *status* of 300 or more stands for, with the server's own words."""
    try:
        said = json.loads(body)
        reason, message = str(said.get("reason", "")), str(said.get("message", ""))
        known = "name" in (said.get("details") or {})
    except (ValueError, AttributeError):
        reason, message, known = "", body[:300], False
    answer = f"{status} {reason} {message}".strip()
    if status == 409 and reason == "AlreadyExists":  # noqa: PLR2004 - Conflict
        return AlreadyExists(tried, answer=answer, hint="read it and compare")
    if status == 404 and not known:  # noqa: PLR2004 - not an object is missing but its kind: that is never "deleted"
        return ClusterError(tried, answer=answer, hint="apply manifests/: the API server does not know this kind")
    if status in (429, 503):
        return Throttled(tried, answer=answer, hint="wait and retry", after=_after(headers))
    if status >= 500:  # noqa: PLR2004 - HTTP's errors of the server
        return ServerError(tried, answer=answer, hint="look at the API server and what stands before it, and retry")
    error, hint = _REFUSALS.get(status, (ClusterError, "read the server's message"))
    return error(tried, answer=answer, hint=hint)


_RBAC: Final = "check RBAC and the admission policies in manifests/"
_REFUSALS: Final[Mapping[int, tuple[type[ClusterError], str]]] = {
    401: (Forbidden, "check the token"),
    403: (Forbidden, _RBAC),
    404: (NotFound, "the object is gone, or was never made"),
    409: (Conflict, "read the object again and retry"),
    410: (Gone, "list again"),
}


def _after(headers: Mapping[str, str]) -> float:
    text = headers.get("Retry-After", "")
    return float(text) if text.isdigit() else 0.0


def _query(path: str, **parameters: object) -> str:
    return f"{path}{'&' if '?' in path else '?'}{urlencode(parameters)}"
