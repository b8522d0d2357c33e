"""A small client of the API server, for the lab's own roles (administrator, kubelets): JSON over HTTPS with a bearer token."""

from __future__ import annotations

import http.client
import json
import ssl
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from wirecrypt.errors import ClusterError, Conflict, Forbidden, NotFound, Unreachable
from wirecrypt.lab.machine.controlplane import TLS_NAME
from wirecrypt.lab.waiting import DEADLINE, until

if TYPE_CHECKING:
    from pathlib import Path

ERRORS = {401: Forbidden, 403: Forbidden, 404: NotFound, 409: Conflict}
MERGE = "application/merge-patch+json"
TIMEOUT = 20.0  # seconds for one request
LATER = (429, 503)  # with a Retry-After: nothing was done yet, as when a store that was restored is read in


class _Later(ClusterError):
    """The API server asks to come again."""


class LabApi:
    """One user's door to the API server on 127.0.0.1:*port*."""

    def __init__(self, port: int, certificate: Path, token: str) -> None:
        self.port = port
        self.certificate = certificate
        self.token = token

    def as_user(self, token: str) -> LabApi:
        """Return the same door for another user."""
        return LabApi(self.port, self.certificate, token)

    def get(self, path: str, **query: str) -> dict[str, Any]:
        """Read an object or a list."""
        return self._request("GET", path + (f"?{urlencode(query)}" if query else ""))

    def items(self, path: str, **query: str) -> list[dict[str, Any]]:
        """Read the items of a list."""
        found: list[dict[str, Any]] = self.get(path, **query)["items"]
        return found

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Create an object (or ask a subresource that creates, as a token)."""
        return self._request("POST", path, body)

    def patch(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Merge *body* into an object."""
        return self._request("PATCH", path, body, MERGE)

    def delete(self, path: str) -> None:
        """Delete an object at once, without a grace period; one that is gone already is no error."""
        try:
            self._request("DELETE", path, {"gracePeriodSeconds": 0})
        except NotFound:
            return

    def ready(self) -> bool:
        """Return whether the API server is up and has made its default roles."""
        try:
            return self._send("GET", "/readyz", None, "")[0] == http.HTTPStatus.OK
        except Unreachable:
            return False

    def _request(
        self, verb: str, path: str, body: dict[str, Any] | None = None, kind: str = "application/json"
    ) -> dict[str, Any]:
        """Ask, and ask again while the API server wants that, as every client of Kubernetes does."""
        return until(
            lambda: (self._once(verb, path, body, kind),), what=f"{verb} {path}", seconds=DEADLINE, ignore=_Later, every=1.0
        )[0]

    def _once(self, verb: str, path: str, body: dict[str, Any] | None, kind: str) -> dict[str, Any]:
        status, content, later = self._send(verb, path, body, kind)
        if status >= http.HTTPStatus.BAD_REQUEST:
            error = _Later if later and status in LATER else ERRORS.get(status, ClusterError)
            raise error(f"{verb} refused", what=path, answer=f"{status} {_message(content)}")
        document: dict[str, Any] = json.loads(content)
        return document

    def _send(self, verb: str, path: str, body: dict[str, Any] | None, kind: str) -> tuple[int, bytes, bool]:
        """Return the status, the body, and whether the API server wants to be asked again."""
        headers = {"Authorization": f"Bearer {self.token}", "Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = kind
        try:
            connection = _Connection(self.port, self.certificate)
            try:
                connection.request(verb, path, None if body is None else json.dumps(body), headers)
                response = connection.getresponse()
                return response.status, response.read(), "Retry-After" in response.headers
            finally:
                connection.close()
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable("the API server does not answer", what=f"{verb} {path}", answer=str(error)) from error


class _Connection(http.client.HTTPSConnection):
    """TLS to 127.0.0.1 with the name that the certificate has."""

    def __init__(self, port: int, certificate: Path) -> None:
        self._tls = ssl.create_default_context(cafile=str(certificate))
        super().__init__("127.0.0.1", port, timeout=TIMEOUT, context=self._tls)

    def connect(self) -> None:
        http.client.HTTPConnection.connect(self)
        self.sock = self._tls.wrap_socket(self.sock, server_hostname=TLS_NAME)


def _message(content: bytes) -> str:
    try:
        return str(json.loads(content).get("message", ""))
    except ValueError:
        return content.decode(errors="replace")[:300]
