"""The Lease by which the controllers agree on a leader."""

from __future__ import annotations

from typing import Final

from wirecrypt.cluster import paths
from wirecrypt.cluster.answer import Json
from wirecrypt.cluster.api import Api
from wirecrypt.cluster.codec.encode import micro_time
from wirecrypt.cluster.codec.object_fields import fields_of
from wirecrypt.errors import NotFound
from wirecrypt.model.objects import Lease

NAME: Final = "wirecrypt-controller"


class ClusterLease:
    """Implements `wirecrypt.ports.LeaseStore`."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def read(self) -> Lease | None:
        try:
            return _lease(self._api.get(f"{paths.LEASES}/{NAME}"))
        except NotFound:
            return None

    def write(self, lease: Lease) -> Lease:
        body: Json = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": NAME},
            "spec": {
                "holderIdentity": lease.holder,
                "acquireTime": micro_time(lease.acquired),
                "renewTime": micro_time(lease.renewed),
                "leaseDurationSeconds": lease.seconds,
                "leaseTransitions": lease.transitions,
            },
        }
        if not lease.version:
            return _lease(self._api.create(paths.LEASES, body))
        body["metadata"]["resourceVersion"] = lease.version
        return _lease(self._api.replace(f"{paths.LEASES}/{NAME}", body))


def _lease(raw: Json) -> Lease:
    obj = fields_of("Lease", raw)
    spec = obj.group("spec")
    return Lease(
        holder=spec.text("holderIdentity", ""),
        acquired=spec.time("acquireTime"),
        renewed=spec.time("renewTime"),
        seconds=spec.number("leaseDurationSeconds", 15, low=1),
        transitions=spec.number("leaseTransitions", 0),
        version=obj.group("metadata").text("resourceVersion"),
    )
