"""Where the API server is and how to speak to it: the only module that imports kubernetes and urllib3 at its top."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import urllib3
import yaml
from kubernetes import config as loaders
from kubernetes.client.configuration import Configuration
from kubernetes.client.rest import RESTClientObject
from kubernetes.config import incluster_config

from wirecrypt.cluster.answer import Answer, unreachable
from wirecrypt.errors import ClusterError

# what the client lets through for a file that is no kubeconfig: no YAML, no text, no mapping
_NO_KUBECONFIG: Final = (yaml.YAMLError, ValueError, TypeError, AttributeError, KeyError)
_POOL: Final = 16  # one connection per watch and a few for requests


class Connection:
    """A pool of connections to one API server with one identity."""

    def __init__(self, configuration: Any, token: Path | None = None) -> None:  # noqa: ANN401 - the client has no types
        configuration.connection_pool_maxsize = _POOL
        configuration.retries = False
        self._configuration = configuration
        self._pool = RESTClientObject(configuration).pool_manager
        self._lock = threading.Lock()
        self._token = token

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
        """Send one request and return the answer, its body unread; raises `Unreachable`."""
        tried = f"{method} {path.partition('?')[0]}"
        try:
            response = self._pool.request(
                method,
                self._configuration.host + path,
                body=body,
                headers={**headers, **self._identity()},
                timeout=urllib3.Timeout(connect=timeout[0], read=timeout[1]),
                preload_content=False,
                retries=False,
                redirect=False,
            )
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise unreachable(tried, error) from error
        return Answer(response, tried)

    def close(self) -> None:
        """Close the idle connections."""
        self._pool.clear()

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
