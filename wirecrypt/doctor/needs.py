"""What agent, controller and the account of those who verify must be allowed to do; a test compares manifests/rbac-*.yaml."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from wirecrypt.model.access import ACCOUNT, RESOURCE
from wirecrypt.model.admission import FORBIDDEN
from wirecrypt.model.objects import KEYS_NAMESPACE, SYSTEM_NAMESPACE

AGENT: Final = "wirecrypt-agent"
CONTROLLER: Final = "wirecrypt-controller"


@dataclass(frozen=True, slots=True)
class RequiredAccess:
    """One request that an account makes; *resource* may have a subresource, *name* "" means any."""

    account: str
    verb: str
    group: str
    resource: str
    namespace: str = ""
    name: str = ""

    def __str__(self) -> str:
        where = f" in {self.namespace}" if self.namespace else ""
        return f"{self.account}: {self.verb} {self.resource}{'/' + self.name if self.name else ''}{where}"


# account, group, resources, verbs, namespace, name
_TABLE: Final = (
    (AGENT, "wirecrypt.io", "nodepeers", "get list watch", "", ""),
    (AGENT, "wirecrypt.io", "keyrotations", "list watch", "", ""),
    (AGENT, "wirecrypt.io", "encryptednodes", "get", "", ""),
    (AGENT, "wirecrypt.io", "encryptednodes/status nodepeers/status", "patch", "", ""),
    (AGENT, "", "nodes", "get list watch", "", ""),
    (AGENT, "", "configmaps", "get list watch", SYSTEM_NAMESPACE, "wirecrypt-config"),
    (AGENT, "", "pods", "delete", SYSTEM_NAMESPACE, ""),
    (AGENT, "", "serviceaccounts/token", "create", KEYS_NAMESPACE, ""),
    (AGENT, "discovery.k8s.io", "endpointslices", "list", "default", ""),
    (AGENT, "authentication.k8s.io", "tokenreviews", "create", "", ""),
    (AGENT, "authorization.k8s.io", "subjectaccessreviews", "create", "", ""),
    (ACCOUNT, "wirecrypt.io", f"{RESOURCE}/verify {RESOURCE}/plan", "get", "", ""),
    (CONTROLLER, "wirecrypt.io", "encryptednodes", "list watch create patch delete", "", ""),
    (CONTROLLER, "wirecrypt.io", "nodepeers keyrotations", "get list watch create patch delete", "", ""),
    (CONTROLLER, "wirecrypt.io", "keyrotations/status", "patch", "", ""),
    (CONTROLLER, "", "nodes", "list watch", "", ""),
    (CONTROLLER, "", "configmaps", "list watch", SYSTEM_NAMESPACE, "wirecrypt-config"),
    (CONTROLLER, "", "secrets", "list watch create update delete", SYSTEM_NAMESPACE, ""),
    (CONTROLLER, "", "secrets", "get list watch create update delete", KEYS_NAMESPACE, ""),
    (CONTROLLER, "", "serviceaccounts", "list watch create delete", KEYS_NAMESPACE, ""),
    (CONTROLLER, "rbac.authorization.k8s.io", "roles rolebindings", "list watch create delete", KEYS_NAMESPACE, ""),
    (CONTROLLER, "", "serviceaccounts/token", "create", SYSTEM_NAMESPACE, FORBIDDEN),
    (CONTROLLER, "coordination.k8s.io", "leases", "create", SYSTEM_NAMESPACE, ""),
    (CONTROLLER, "coordination.k8s.io", "leases", "get update", SYSTEM_NAMESPACE, "wirecrypt-controller"),
    (CONTROLLER, "", "events", "create", "default", ""),
)

NEEDS: Final = tuple(
    RequiredAccess(account, verb, group, resource, namespace, name)
    for account, group, resources, verbs, namespace, name in _TABLE
    for resource in resources.split()
    for verb in verbs.split()
)
