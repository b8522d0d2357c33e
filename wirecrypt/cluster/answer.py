"""What comes back of a request: the body, the events of a watch, or a refusal as one of our errors."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Final, Self

from wirecrypt.errors import APPLY_AGAIN, ClusterError, Conflict, Forbidden, NotFound, Unreachable

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
                *complete, rest = (rest + chunk).split(b"\n")
                yield from (line for line in complete if line.strip())
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


def stream_error(kind: str, status: Mapping[str, Any]) -> ClusterError:
    """Return the error that the watch of a *kind* carries instead of an event."""
    answer = f"{status.get('code')} {status.get('reason', '')} {status.get('message', '')}"
    error = Gone if status.get("code") == 410 else ClusterError  # noqa: PLR2004 - HTTP's Gone
    return error(f"watch {kind}", answer=answer, hint="list again")


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
        hint = f"{APPLY_AGAIN}: the API server does not know this kind"
        return ClusterError(tried, answer=answer, hint=hint)
    if status in (429, 503):
        return Throttled(tried, answer=answer, hint="wait and retry", after=_after(headers))
    if status >= 500:  # noqa: PLR2004 - HTTP's errors of the server
        return ServerError(tried, answer=answer, hint="look at the API server and what stands before it, and retry")
    error, hint = _REFUSALS.get(status, (ClusterError, "read the server's message"))
    return error(tried, answer=answer, hint=hint)


def refuses(policy: str, attempt: Callable[[], object]) -> bool:
    """Return whether the admission policy called *policy* refuses *attempt*, which leaves nothing behind if it is admitted.

    Raises `Forbidden` when RBAC or another policy refused it, which says nothing of this one.
    """
    try:
        attempt()
    except Forbidden as error:
        if f"ValidatingAdmissionPolicy '{policy}'" not in error.answer:
            raise
        return True
    return False


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
