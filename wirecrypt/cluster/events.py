"""Events on Nodes, KeyRotations and admission policies: one per object, reason and text, however often it is said."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime

from wirecrypt.cluster import paths
from wirecrypt.cluster.answer import AlreadyExists
from wirecrypt.cluster.api import Api
from wirecrypt.cluster.codec import encode
from wirecrypt.cluster.paths import ADMISSION, VERSION
from wirecrypt.model.objects import KeyRotation

_DIGITS = 12
_REMEMBERED = 4096


class EventWriter:
    """Writes Events; a repeated one is not sent, so that a second pass writes nothing."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self._said: set[str] = set()

    def node_event(self, node: str, *, reason: str, message: str, warning: bool) -> None:
        """Write an Event on a Node (its UID in an Event is its name, as the kubelet does it)."""
        about = {"apiVersion": "v1", "kind": "Node", "name": node, "uid": node}
        self._say(about, reason=reason, message=message, warning=warning)

    def rotation_event(self, rotation: KeyRotation, *, reason: str, message: str) -> None:
        """Write an Event on a KeyRotation."""
        about = {"apiVersion": VERSION, "kind": "KeyRotation", "name": rotation.name, "uid": rotation.uid}
        self._say(about, reason=reason, message=message, warning=False)

    def policy_event(self, policy: str, *, reason: str, message: str) -> None:
        """Write a warning on an admission policy, which may be missing, so it is told by its name."""
        about = {"apiVersion": f"{ADMISSION}/v1", "kind": "ValidatingAdmissionPolicy", "name": policy, "uid": policy}
        self._say(about, reason=reason, message=message, warning=True)

    def _say(self, about: Mapping[str, str], *, reason: str, message: str, warning: bool) -> None:
        digest = hashlib.sha256("\0".join((*about.values(), reason, message)).encode()).hexdigest()[:_DIGITS]
        name = f"{about['name'][:200]}.{digest}"
        if name in self._said:
            return
        if len(self._said) >= _REMEMBERED:
            self._said.clear()
        now = datetime.now(UTC)
        body = encode.event(about, name, reason=reason, message=message, warning=warning, now=now)
        with suppress(AlreadyExists):  # said before this process began, and still kept
            self.api.create(paths.EVENTS, body)
        self._said.add(name)
