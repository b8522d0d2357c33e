"""The Lease by which the controllers agree on a leader."""

from __future__ import annotations

from typing import Final

from wirecrypt.cluster import paths
from wirecrypt.cluster.answer import Json
from wirecrypt.cluster.api import Api
from wirecrypt.cluster.codec.encode import micro_time
from wirecrypt.cluster.codec.object_fields import ObjectFields
from wirecrypt.errors import NotFound
from wirecrypt.ports import Lease

NAME: Final = "wirecrypt-controller"


class ClusterLease:
    """Implements `wirecrypt.ports.LeaseStore`."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def read(self) -> Lease | None:
        """Return the Lease by a quorum read, None when there is none."""
        try:
            return _lease(self._api.get(f"{paths.LEASES}/{NAME}"))
        except NotFound:
            return None

    def write(self, lease: Lease) -> Lease:
        """Create the Lease, or replace the version that was read; raises `Conflict`."""
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
    obj = ObjectFields.of("Lease", raw)
    spec = obj.group("spec")
    return Lease(
        holder=spec.text("holderIdentity", ""),
        acquired=spec.time("acquireTime"),
        renewed=spec.time("renewTime"),
        seconds=spec.number("leaseDurationSeconds", 15, low=1),
        transitions=spec.number("leaseTransitions", 0),
        version=obj.group("metadata").text("resourceVersion"),
    )
