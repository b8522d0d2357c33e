"""Paths of the kinds that wirecrypt reads and writes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from wirecrypt.model.access import AccessPart
from wirecrypt.model.objects import KEYS_NAMESPACE, SYSTEM_NAMESPACE

GROUP: Final = "wirecrypt.io"
VERSION: Final = f"{GROUP}/v1alpha1"
ADMISSION: Final = "admissionregistration.k8s.io"
RBAC: Final = "rbac.authorization.k8s.io"
_CUSTOM: Final = f"/apis/{VERSION}"

NODES: Final = "/api/v1/nodes"
NODE_PEERS: Final = f"{_CUSTOM}/nodepeers"
ENCRYPTED_NODES: Final = f"{_CUSTOM}/encryptednodes"
KEY_ROTATIONS: Final = f"{_CUSTOM}/keyrotations"
NODE_KEYS: Final = f"/api/v1/namespaces/{KEYS_NAMESPACE}/secrets"
SEEDS: Final = f"/api/v1/namespaces/{SYSTEM_NAMESPACE}/secrets"
CONFIG_MAPS: Final = f"/api/v1/namespaces/{SYSTEM_NAMESPACE}/configmaps"
CONFIG: Final = f"{CONFIG_MAPS}/wirecrypt-config"
CONFIG_ONLY: Final = f"{CONFIG_MAPS}?fieldSelector=metadata.name%3Dwirecrypt-config"
KEYS_ONLY: Final = f"{NODE_KEYS}?fieldSelector=type%3Dwirecrypt.io%2Fnode-key"
SEEDS_ONLY: Final = f"{SEEDS}?fieldSelector=type%3Dwirecrypt.io%2Fepoch-seed"
ACCOUNTS: Final = f"/api/v1/namespaces/{SYSTEM_NAMESPACE}/serviceaccounts"
PODS: Final = f"/api/v1/namespaces/{SYSTEM_NAMESPACE}/pods"
NODE_ACCOUNTS: Final = f"/api/v1/namespaces/{KEYS_NAMESPACE}/serviceaccounts"
ACCESS: Final[Mapping[AccessPart, str]] = {  # what lets the account of one node read its Secret
    AccessPart.ACCOUNT: NODE_ACCOUNTS,
    AccessPart.ROLE: f"/apis/{RBAC}/v1/namespaces/{KEYS_NAMESPACE}/roles",
    AccessPart.BINDING: f"/apis/{RBAC}/v1/namespaces/{KEYS_NAMESPACE}/rolebindings",
}
ACCESS_ONLY: Final = "?labelSelector=app.kubernetes.io%2Fcomponent%3Dnode-account"
EVENTS: Final = "/api/v1/namespaces/default/events"  # where events about cluster-scoped objects belong
LEASES: Final = f"/apis/coordination.k8s.io/v1/namespaces/{SYSTEM_NAMESPACE}/leases"
SELF_REVIEWS: Final = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
API_SLICES: Final = (  # what is behind the Service by which pods reach API servers; version 0: from the server's memory
    "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
    "?labelSelector=kubernetes.io%2Fservice-name%3Dkubernetes&resourceVersion=0"
)
KEY_TYPE: Final = "wirecrypt.io/node-key"
SEED_TYPE: Final = "wirecrypt.io/epoch-seed"
