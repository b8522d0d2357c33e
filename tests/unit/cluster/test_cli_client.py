"""A person's requests to a server that puts them off."""

from __future__ import annotations

from contextlib import nullcontext, suppress
from typing import Any

import pytest

from wirecrypt.cluster.agent_proxy import Agents
from wirecrypt.cluster.answer import Answer, Throttled
from wirecrypt.cluster.api import Api
from wirecrypt.cluster.cli_client import CliClient, NodeLabel, node_labels
from wirecrypt.cluster.codec import decode
from wirecrypt.errors import Conflict, Unreachable
from wirecrypt.model.secret import SecretBytes


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


class Written:
    """A server with a KeyRotation to which somebody else writes before each of the first *writes* patches."""

    def __init__(self, writes: int) -> None:
        self.version, self.left, self.without = 1, writes, ["other"]

    def get(self, _path: str) -> dict[str, Any]:
        """Return it as it is now."""
        spec = {"reason": "", "without": self.without}
        metadata = {"name": "r", "uid": "u", "resourceVersion": str(self.version), "creationTimestamp": "2026-01-01T00:00:00Z"}
        return {"kind": "KeyRotation", "metadata": metadata, "spec": spec}

    def patch(self, path: str, body: dict[str, Any]) -> None:
        """Take a change of the present version alone."""
        if self.left:
            self.left, self.version = self.left - 1, self.version + 1
        if body["metadata"] != {"uid": "u", "resourceVersion": str(self.version)}:
            raise Conflict("PATCH", what=path, answer="409 Conflict")
        self.without = body["spec"]["without"]


@pytest.mark.parametrize(("writes", "without"), [(0, ["n", "other"]), (2, ["n", "other"]), (9, ["other"])])
def test_a_rotation_that_the_controller_writes_to_goes_on_without_a_node(writes: int, without: list[str]) -> None:
    """It is read again a few times; then the refusal is the answer, and nothing was changed."""
    server: Any = Written(writes)
    read = decode.key_rotation(server.get("r"))
    with nullcontext() if "n" in without else pytest.raises(Conflict, match="go on without a node"):
        CliClient(server).exclude(read, ["n"])
    assert server.without == without


@pytest.mark.parametrize(
    ("labels", "strange"),
    [
        ({"wirecrypt.io/encryption": "enabled", "kubernetes.io/os": "linux", "encryption": "on"}, ()),
        ({"wirecrypt.io/encrypton": "enabled"}, ("label wirecrypt.io/encrypton=enabled",)),
        ({"wirecrypt.io/Encryption": "enabled"}, ("label wirecrypt.io/Encryption=enabled",)),
        ({"wirecrypt/encryption": "enabled"}, ("label wirecrypt/encryption=enabled",)),
        ({"node.wirecrypt.io/mode": ""}, ("label node.wirecrypt.io/mode=",)),
        ({"notwirecrypt.io/encryption": "enabled", "example.com/wirecrypt": "yes"}, ()),
    ],
)
def test_labels_of_our_domain_that_mean_nothing_are_told(labels: dict[str, str], strange: tuple[str, ...]) -> None:
    """All keys below wirecrypt.io but the one, and the domain cut short; nobody else's."""
    assert _label(labels=labels).strange == strange


def test_the_label_as_an_annotation_is_told() -> None:
    """`kubectl annotate` in the place of `kubectl label`."""
    assert _label(annotations={"wirecrypt.io/encryption": "enabled"}).strange == ("annotation wirecrypt.io/encryption",)


def test_what_a_kubelet_says_is_read_and_may_be_missing() -> None:
    """A Node whose kubelet never reported can be read, and is not taken for one that an agent can run on."""
    told = _label(info={"architecture": "amd64", "kernelVersion": "6.1.0"})
    assert (told.architecture, told.kernel, told.unfit) == ("amd64", "6.1.0", "")
    assert (_label().architecture, bool(_label().unfit)) == ("", True)


def _label(info: dict[str, str] | None = None, **meta: dict[str, str]) -> NodeLabel:
    metadata = {"name": "a", "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z", **meta}
    status = {"status": {"nodeInfo": info}} if info else {}
    return node_labels([{"metadata": metadata, **status}])[0]


class Noted:
    """A connection that notes how long each request may take to be answered, and answers none."""

    def __init__(self) -> None:
        self.patience: list[float] = []

    def send(self, *_: object, timeout: tuple[float, float], **__: object) -> Answer:
        """Note the time, and be unreachable."""
        self.patience.append(timeout[1])
        raise Unreachable("GET")


def test_an_agent_is_waited_for_longer_than_the_api_server() -> None:
    """It looks, captures and probes for up to twenty seconds before it answers, on a busy node for longer."""
    noted: Any = Noted()
    api = Api(noted)
    with suppress(Unreachable):
        api.get("/version")
    with suppress(Unreachable):
        Agents(api).ask("pod", 14580, "verify", SecretBytes(b"token"))
    assert noted.patience == [20.0, 60.0]
