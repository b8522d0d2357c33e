"""From bytes to requests: GET without a body, whatever else is refused with words."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wirecrypt.http_server import HttpRequest, at_once, dispatch, health, refused
from wirecrypt.http_server.messages import parse, render
from wirecrypt.model.secret import SecretBytes


def head(*lines: str) -> bytes:
    return "\r\n".join(lines).encode("latin-1")


def test_page_query_and_token_are_read() -> None:
    """The token comes in a header of our own, or as a bearer's; ours goes first, and it is never text."""
    found = parse(head("GET /verify?seconds=3 HTTP/1.1", "Host: x", "authorization: bearer other", "X-Wirecrypt-Token: t"), "a")
    assert found == HttpRequest("/verify", {"seconds": "3"}, "a", token=SecretBytes(b"t"))
    assert "'t'" not in repr(found)
    other = parse(head("GET /plan HTTP/1.0", "Authorization: Bearer other"), "a", local=True)
    assert other == HttpRequest("/plan", {}, "a", local=True, token=SecretBytes(b"other"))


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (["POST /plan HTTP/1.1"], 405),
        (["GET plan HTTP/1.1"], 400),
        (["GET /plan"], 400),
        (["GET /plan SMTP/1.0"], 400),
        ([""], 400),
        (["GET /plan HTTP/1.1", "Content-Length: 1"], 413),
        (["GET /plan HTTP/1.1", "Transfer-Encoding: chunked"], 413),
        (["GET //[ HTTP/1.1"], 400),
    ],
)
def test_what_is_no_get_without_a_body_is_refused(lines: list[str], status: int) -> None:
    """With the status that says why."""
    found = parse(head(*lines), "a")
    assert not isinstance(found, HttpRequest)
    assert found[0] == status


@given(st.binary(max_size=200))
def test_any_bytes_are_a_request_or_a_refusal(data: bytes) -> None:
    """And nothing is raised."""
    for content in (data, b"GET /" + data + b" HTTP/1.1", b"GET / HTTP/1.1\r\n" + data):
        found = parse(content, "a")
        assert isinstance(found, HttpRequest) or 400 <= found[0] < 500


def test_a_refusal_is_a_status_as_the_api_server_writes_it() -> None:
    """So that kubectl and our client show its message."""
    first, _, body = render(refused(403, "no")).partition(b"\r\n\r\n")
    assert first.startswith(b"HTTP/1.1 403 Forbidden\r\n")
    assert json.loads(body) == {
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Forbidden", "message": "no", "code": 403,
    }  # fmt: skip


def test_a_page_that_is_not_there_is_refused_with_those_that_are() -> None:
    """The path must be that of a page, exactly."""
    answers: list[tuple[int, str, bytes]] = []
    answer = dispatch({"/b": at_once(lambda: health("")), "/a": at_once(lambda: health("ill"))})
    for page in ("/a", "/b", "/a/../b"):
        answer(HttpRequest(page, {}, "x"), answers.append)
    assert [status for status, _, _ in answers] == [503, 200, 404]
    assert b"there are /a, /b" in answers[2][2]
