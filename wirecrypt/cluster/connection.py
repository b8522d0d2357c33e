"""Where the API server is and how to speak to it: the only module that imports kubernetes and urllib3 at its top."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import urllib3
import yaml
from kubernetes import config as loaders
from kubernetes.client.configuration import Configuration
from kubernetes.client.rest import RESTClientObject
from kubernetes.config import incluster_config

from wirecrypt.cluster.answer import Answer, unreachable
from wirecrypt.errors import ClusterError
from wirecrypt.model.xfrm import Address

# what the client lets through for a file that is no kubeconfig: no YAML, no text, no mapping
_NO_KUBECONFIG: Final = (yaml.YAMLError, ValueError, TypeError, AttributeError, KeyError)
_POOL: Final = 16  # one connection per watch and a few for requests
REMEMBERED_SECONDS: Final = 600.0  # longer than a watch lives: what a connection goes to answers at least so often


class AnsweringPeers:
    """The addresses that answered of late. The newest stays until another answers: it is where the next attempt goes."""

    def __init__(self) -> None:
        self._heard: dict[Address, float] = {}
        self._lock = threading.Lock()

    def heard(self, address: Address, now: float) -> None:
        """Take note of an answer from *address* at monotonic time *now*."""
        with self._lock:
            recent = {peer: when for peer, when in self._heard.items() if now - when < REMEMBERED_SECONDS}
            self._heard = {**recent, address: now}

    def known(self, now: float) -> frozenset[Address]:
        """Return the newest one, and all that answered within `REMEMBERED_SECONDS`."""
        with self._lock:
            newest = max(self._heard.values(), default=now)
            return frozenset(peer for peer, when in self._heard.items() if when == newest or now - when < REMEMBERED_SECONDS)


class Connection:
    """A pool of connections to one API server with one identity.

    *answered* is when the newest of the requests that were answered began, by the monotonic clock, whatever the answer was.
    """

    def __init__(self, configuration: Any, token: Path | None = None) -> None:  # noqa: ANN401 - the client has no types
        configuration.connection_pool_maxsize = _POOL
        configuration.retries = False
        self._configuration = configuration
        self._pool = RESTClientObject(configuration).pool_manager
        self._lock = threading.Lock()
        self._token = token
        self._named = _literal(configuration.host)
        self._peers = AnsweringPeers()
        self.answered = float("-inf")

    @classmethod
    def open(cls, kubeconfig: Path | None, context: str | None) -> Connection:
        """Return a connection as *kubeconfig* says, else by the pod's service account, else as KUBECONFIG says."""
        configuration = Configuration()
        in_pod = kubeconfig is None and "KUBECONFIG" not in os.environ and "KUBERNETES_SERVICE_HOST" in os.environ
        try:
            if in_pod:
                loaders.load_incluster_config(client_configuration=configuration)
            else:
                file = None if kubeconfig is None else str(kubeconfig)
                loaders.load_kube_config(file, context=context, client_configuration=configuration, persist_config=False)
        except (loaders.ConfigException, OSError, *_NO_KUBECONFIG) as error:
            raise ClusterError(
                "find the API server",
                what="service account" if in_pod else str(kubeconfig or os.environ.get("KUBECONFIG", "~/.kube/config")),
                answer=" ".join(str(error).split()) or type(error).__name__,
                hint="name a kubeconfig, or run in a pod with a service account",
            ) from error
        return cls(configuration, Path(incluster_config.SERVICE_TOKEN_FILENAME) if in_pod else None)

    def send(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None,
        headers: Mapping[str, str],
        timeout: tuple[float, float],
    ) -> Answer:
        """Send one request and return the answer, its body unread; raises `Unreachable`.

        *headers* that name who asks take the place of this connection's identity.
        """
        tried = f"{method} {path.partition('?')[0]}"
        begun = time.monotonic()
        try:
            response = self._pool.request(
                method,
                self._configuration.host + path,
                body=body,
                headers={**self._identity(), **headers},
                timeout=urllib3.Timeout(connect=timeout[0], read=timeout[1]),
                preload_content=False,
                retries=False,
                redirect=False,
            )
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise unreachable(tried, error) from error
        self._note(response, begun)
        return Answer(response, tried)

    def addresses(self) -> frozenset[Address]:
        """Return the addresses that connections go to: one that the URL names, and those that answered of late. Asks nobody."""
        return self._named | self._peers.known(time.monotonic())

    def close(self) -> None:
        """Close the idle connections."""
        self._pool.clear()

    def _note(self, response: Any, begun: float) -> None:  # noqa: ANN401 - a urllib3 response
        """Note that a request was answered, and by whom, if the connection is still there to be asked."""
        with self._lock:
            self.answered = max(self.answered, begun)
        socket = getattr(response.connection, "sock", None)
        try:
            peer = socket.getpeername()[0] if socket is not None else ""
            self._peers.heard(ip_address(peer.partition("%")[0]), time.monotonic())
        except (OSError, ValueError):  # closed with the answer, or no name of an IP address
            return

    def _identity(self) -> Mapping[str, str]:
        """Return the header with the token; a pod's is read anew for each request, for it changes while we run."""
        if self._token is not None:
            try:
                return {"Authorization": f"Bearer {self._token.read_text().strip()}"}
            except OSError as error:
                hint = "check the pod's projected token volume"
                raise ClusterError("read the token", what=str(self._token), answer=str(error), hint=hint) from error
        with self._lock:
            token = self._configuration.get_api_key_with_prefix("BearerToken", alias="authorization")
        return {"Authorization": token} if token else {}


def _literal(url: str) -> frozenset[Address]:
    """Return the address that *url* names; none when it names a host, or is no URL."""
    try:
        return frozenset({ip_address((urlsplit(url).hostname or "").partition("%")[0])})
    except ValueError:
        return frozenset()
