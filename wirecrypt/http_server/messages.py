"""From the bytes of a request to what is asked, and from an answer to bytes. Pure, but for what answerers do themselves.

Only GET, and no body: nothing here changes anything. A refusal has the form of the API server's own, a Status, so that
`kubectl get --raw` and our own client show its message.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from wirecrypt.model.secret import SecretBytes

TOKEN_HEADER: Final = "X-Wirecrypt-Token"  # noqa: S105 - a header's name; the API server's proxy passes no Authorization on
END: Final = b"\r\n\r\n"
_BEARER: Final = "bearer "

Response = tuple[int, str, bytes]  # status, content type, body
Reply = Callable[[Response], None]  # may be called later, once, by any thread


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """What is asked: a page's path and query, by a client's address; *local*: by the socket that only root can open."""

    page: str
    query: Mapping[str, str]
    client: str
    local: bool = False
    token: SecretBytes | None = None


Answerer = Callable[[HttpRequest, Reply], None]  # runs in the listening thread: it must not wait


def parse(head: bytes, client: str, *, local: bool = False) -> HttpRequest | Response:
    """Return the request whose lines *head* is, up to the empty one, or the refusal that it gets."""
    first, *lines = head.decode("latin-1").split("\r\n")
    method, _, rest = first.partition(" ")
    target, _, version = rest.rpartition(" ")
    if not (target.startswith("/") and version.startswith("HTTP/1.")):
        return refused(HTTPStatus.BAD_REQUEST, "not a request of HTTP/1")
    if method != "GET":
        return refused(HTTPStatus.METHOD_NOT_ALLOWED, "only GET is answered")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if headers.get("content-length", "0") != "0" or "transfer-encoding" in headers:
        return refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "a request has no body here")
    try:
        asked = urlsplit(target)
    except ValueError:  # such as half an IPv6 address
        return refused(HTTPStatus.BAD_REQUEST, "not a path")
    return HttpRequest(asked.path, dict(parse_qsl(asked.query)), client, local, _token(headers))


def render(response: Response) -> bytes:
    """Return the bytes of an answer, after which the connection ends."""
    status, kind, body = response
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
        "X-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body


def refused(status: int, message: str) -> Response:
    """Return a refusal as the API server would write it."""
    reason = HTTPStatus(status).phrase.replace(" ", "")
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "message": message, "code": status}
    return status, "application/json", json.dumps(body).encode()


def health(problem: str) -> Response:
    """Return 200, or 503 with the problem."""
    return (503 if problem else 200), "text/plain; charset=utf-8", f"{problem or 'ok'}\n".encode()


def at_once(page: Callable[[], Response]) -> Answerer:
    """Return the answerer of a page that takes no time to make."""
    return lambda _request, reply: reply(page())


def dispatch(pages: Mapping[str, Answerer]) -> Answerer:
    """Return the answerer of several pages by path; other paths are refused."""

    def answer(request: HttpRequest, reply: Reply) -> None:
        page = pages.get(request.page)
        if page is None:
            reply(refused(HTTPStatus.NOT_FOUND, f"no such page here; there are {', '.join(sorted(pages))}"))
        else:
            page(request, reply)

    return answer


def _token(headers: Mapping[str, str]) -> SecretBytes | None:
    word = headers.get("authorization", "")
    bearer = word[len(_BEARER) :].strip() if word.lower().startswith(_BEARER) else ""
    token = headers.get(TOKEN_HEADER.lower(), "") or bearer
    return SecretBytes(token.encode("latin-1")) if token else None
