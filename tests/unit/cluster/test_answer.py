"""Answers of the API server as errors of ours."""

from __future__ import annotations

import json

import pytest

from wirecrypt.cluster.answer import AlreadyExists, Gone, ServerError, Throttled, refusal
from wirecrypt.errors import ClusterError, Conflict, Forbidden, NotFound


@pytest.mark.parametrize(
    ("status", "reason", "kind"),
    [
        (400, "BadRequest", ClusterError),
        (401, "Unauthorized", Forbidden),
        (403, "Forbidden", Forbidden),
        (409, "AlreadyExists", AlreadyExists),
        (409, "Conflict", Conflict),
        (410, "Expired", Gone),
        (422, "Invalid", ClusterError),
        (429, "TooManyRequests", Throttled),
        (500, "InternalError", ServerError),
        (502, "BadGateway", ServerError),
        (503, "ServiceUnavailable", Throttled),
        (504, "Timeout", ServerError),
    ],
)
def test_each_answer_is_an_error_with_the_servers_words(status: int, reason: str, kind: type[ClusterError]) -> None:
    """The kind says what can be done, the text what was tried, what the server said, and the next step."""
    error = refusal("PUT /x", status, json.dumps({"reason": reason, "message": "the words"}), {})
    assert type(error) is kind
    assert str(error).startswith("PUT /x: ")
    assert "the words" in str(error)
    assert "Next:" in str(error)


def test_a_missing_kind_is_not_a_missing_object() -> None:
    """An API server without our CRDs must never look like one where every peer was deleted."""
    gone = refusal("GET /x", 404, json.dumps({"reason": "NotFound", "message": "", "details": {"name": "a"}}), {})
    assert type(gone) is NotFound
    for body in (json.dumps({"reason": "NotFound", "details": {}}), "404 page not found"):
        assert type(refusal("GET /x", 404, body, {})) is ClusterError


def test_a_server_that_asks_for_time_gets_it() -> None:
    """Retry-After is taken over in seconds."""
    error = refusal("GET /x", 429, "", {"Retry-After": "7"})
    assert isinstance(error, Throttled)
    assert error.after == 7.0


def test_an_answer_that_is_no_status_is_quoted_in_part() -> None:
    """A proxy's page is no reason to fail, and no reason to print it whole."""
    assert len(str(refusal("GET /x", 502, "<html>" + "x" * 10_000, {}))) < 500
