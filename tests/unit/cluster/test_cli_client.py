"""A person's requests to a server that puts them off."""

from __future__ import annotations

from typing import Any

import pytest

from wirecrypt.cluster.answer import Answer, Throttled
from wirecrypt.cluster.api import Api
from wirecrypt.cluster.cli_client import CliClient


class Busy:
    """A connection to a server that asks everybody to come again in a minute."""

    def send(self, *_: object, **__: object) -> Answer:
        """Return 429."""
        return Answer(_Response(), "GET")


class _Response:
    status = 429
    headers: dict[str, str] = {"Retry-After": "60"}  # noqa: RUF012 - as urllib3's

    def read(self) -> bytes:
        return b""

    def release_conn(self) -> None:
        pass


def test_a_server_that_asks_for_a_minute_is_not_asked_before() -> None:
    """A command does not wait that long by itself: it says so after one request."""
    connection: Any = Busy()
    api = Api(connection)
    with pytest.raises(Throttled) as caught:
        CliClient(api).node_labels()
    assert (caught.value.after, api.reads) == (60.0, 1)
