"""What a pod's specification says about its processes: command, environment, user, capabilities. Pure functions."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from wirecrypt.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ENTRYPOINT = ("wirecrypt",)  # of the image
IMAGE_USER = 65532  # of the image, for a container that must not be root and names no user
CAPABILITIES = (
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
    "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
    "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
    "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
    "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF",
    "CHECKPOINT_RESTORE",
)  # fmt: skip  # in the order of their numbers
RUNTIME_DEFAULT = frozenset(
    ["CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "SETGID", "SETUID", "SETPCAP", "NET_BIND_SERVICE", "KILL", "AUDIT_WRITE",
     "SYS_CHROOT", "MKNOD", "NET_RAW", "SETFCAP"]
)  # fmt: skip  # what container runtimes give when nothing is said

_REFERENCE = re.compile(r"\$\$|\$\(([A-Za-z_][A-Za-z0-9_.-]*)\)")
_KEYED = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]")


def field(pod: Mapping[str, Any], path: str) -> str:
    """Return what a `fieldRef` to *path* of the Pod object gives."""
    if keyed := _KEYED.fullmatch(path):
        return str(pod["metadata"].get(keyed[1], {}).get(keyed[2], ""))
    if path in {"status.podIPs", "status.hostIPs"}:
        return ",".join(entry["ip"] for entry in pod["status"].get(path.removeprefix("status."), []))
    value: Any = pod
    for part in path.split("."):
        value = value.get(part, "")
    return str(value)


def environment(
    pod: Mapping[str, Any], container: Mapping[str, Any], lookup: Callable[[str, str], Mapping[str, str] | None],
) -> dict[str, str]:  # fmt: skip
    """Return a container's environment; *lookup* reads a `configMap` or `secret` by name (None: there is none)."""
    result: dict[str, str] = {}
    for source in container.get("envFrom", []):
        kind = "configMap" if "configMapRef" in source else "secret"
        values = lookup(kind, source[f"{kind}Ref"]["name"]) or {}
        result |= {source.get("prefix", "") + key: value for key, value in values.items()}
    for entry in container.get("env", []):
        if "valueFrom" in entry:
            value = _from(pod, container, entry["valueFrom"], lookup)
            if value is not None:
                result[entry["name"]] = value
        else:
            result[entry["name"]] = expand(entry.get("value", ""), result)
    return result


def _from(
    pod: Mapping[str, Any], container: Mapping[str, Any], source: Mapping[str, Any],
    lookup: Callable[[str, str], Mapping[str, str] | None],
) -> str | None:  # fmt: skip
    if "fieldRef" in source:
        return field(pod, source["fieldRef"]["fieldPath"])
    if "resourceFieldRef" in source:
        part, _, name = source["resourceFieldRef"]["resource"].partition(".")
        return str(container.get("resources", {}).get(part, {}).get(name, "0"))
    kind = "configMap" if "configMapKeyRef" in source else "secret"
    reference = source[f"{kind}KeyRef"]
    value = (lookup(kind, reference["name"]) or {}).get(reference["key"])
    if value is None and not reference.get("optional"):
        raise LabError("the pod needs a key that is missing", what=f"{kind} {reference['name']}", answer=reference["key"])
    return value


def expand(text: str, values: Mapping[str, str]) -> str:
    """Replace $(NAME) as the kubelet does: an unknown name stays as it is, $$ is a dollar sign."""

    def replace(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        return values.get(match[1], match[0])

    return _REFERENCE.sub(replace, text)


def argv(container: Mapping[str, Any], values: Mapping[str, str]) -> list[str]:
    """Return the command line: `command` (the image's entry point when there is none) and `args`."""
    words = [*container.get("command", ENTRYPOINT), *container.get("args", [])]
    return [expand(word, values) for word in words]


def user(pod: Mapping[str, Any], container: Mapping[str, Any]) -> tuple[int, int, list[int]]:
    """Return (user id, group id, further groups)."""
    above, own = pod["spec"].get("securityContext", {}), container.get("securityContext", {})
    both = {**above, **own}
    uid = both.get("runAsUser", IMAGE_USER if both.get("runAsNonRoot") else 0)
    if uid == 0 and both.get("runAsNonRoot"):
        raise LabError("container has runAsNonRoot and would run as root", what=container["name"])
    groups = [*above.get("supplementalGroups", []), *([above["fsGroup"]] if "fsGroup" in above else [])]
    return uid, both.get("runAsGroup", IMAGE_USER if uid else 0), groups


def capabilities(container: Mapping[str, Any]) -> list[int] | None:
    """Return the numbers of the capabilities that the container keeps; None: it is privileged and keeps all."""
    context = container.get("securityContext", {})
    if context.get("privileged"):
        return None
    asked = context.get("capabilities", {})
    dropped, added = ({name.removeprefix("CAP_") for name in asked.get(key, [])} for key in ("drop", "add"))
    kept = (set() if "ALL" in dropped else RUNTIME_DEFAULT - dropped) | added
    if "ALL" in kept:
        return None
    if unknown := kept - set(CAPABILITIES):
        raise LabError("no such capability", what=", ".join(sorted(unknown)))
    return sorted(CAPABILITIES.index(name) for name in kept)


def may_gain_privileges(container: Mapping[str, Any]) -> bool:
    """Return whether set-user-id programs work in the container."""
    return bool(container.get("securityContext", {}).get("allowPrivilegeEscalation", True))
