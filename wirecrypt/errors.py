"""The one tree of errors; foreign errors are translated into it where they enter and chained.

WirecryptError
├── InputError            bad value in an object, a configuration or an argument: nothing was changed
│   ├── ConfigError       the document in the ConfigMap
│   ├── ObjectError       an object of the API server (EncryptedNode, NodePeer, KeyRotation, Secret, Node)
│   └── DatagramError     a control datagram that is not for us, not authentic or malformed
├── KernelError           the kernel refused
│   ├── XfrmError         a state or policy request
│   ├── LinkError         links, addresses, routes, tc
│   ├── BpfError          eBPF compile, load, pin, map access
│   └── FeatureError      the kernel lacks what is needed
├── ClusterError          the API server refused or did not answer
│   ├── Forbidden         RBAC or an admission policy said no
│   ├── Conflict          somebody else wrote first
│   ├── NotFound          no such object
│   └── Unreachable       no answer
├── StateError            the state file on tmpfs or disk
├── SecretError           key material that does not fit
└── LabError              the lab could not do as asked
    ├── BootError         the kernel of a guest did not come up
    └── TimedOut          something did not become true in time
"""

from __future__ import annotations

from typing import Final

# The next step where an object of the installation is missing: what the user applied has their image and configuration.
APPLY_AGAIN: Final = "apply your own overlay again (`kubectl apply -k FOLDER`)"
INSTALL: Final = "make an overlay of your own with your ranges and image, and apply it: docs/how-to/install.md"


class WirecryptError(Exception):
    """Root of all errors: *tried* on *what*, the *answer* that came back, and the *hint* with the next step."""

    def __init__(self, tried: str, *, what: str = "", answer: str = "", hint: str = "") -> None:
        self.tried = tried
        self.what = what
        self.answer = answer
        self.hint = hint
        super().__init__(str(self))

    def __str__(self) -> str:
        text = self.tried
        if self.what:
            text += f" ({self.what})"
        if self.answer:
            text += f": {self.answer}"
        if self.hint:
            text += f". Next: {self.hint}"
        return text


class InputError(WirecryptError):
    """A value that came from outside is wrong; nothing was changed."""


class ConfigError(InputError):
    """The configuration document has an unknown or bad field."""


class ObjectError(InputError):
    """An object of the API server is malformed."""


class DatagramError(InputError):
    """A control datagram is not authentic or malformed; the message never shows its bytes."""


class KernelError(WirecryptError):
    """The kernel refused; *errno* is its number, 0 when there is none."""

    def __init__(self, tried: str, *, what: str = "", answer: str = "", hint: str = "", errno: int = 0) -> None:
        self.errno = errno
        super().__init__(tried, what=what, answer=answer, hint=hint)


class XfrmError(KernelError):
    """A request about an IPsec state or policy failed."""


class LinkError(KernelError):
    """A request about links, addresses, routes, qdiscs or filters failed."""


class BpfError(KernelError):
    """An eBPF program or map could not be compiled, loaded, pinned, read or written."""


class FeatureError(KernelError):
    """The kernel lacks a feature that is needed."""


class ClusterError(WirecryptError):
    """The API server refused or did not answer."""


class Forbidden(ClusterError):
    """RBAC or an admission policy said no."""


class Conflict(ClusterError):
    """The object was written by somebody else in between."""


class NotFound(ClusterError):
    """The object does not exist."""


class Unreachable(ClusterError):
    """The API server gave no answer."""


class StateError(WirecryptError):
    """A state file cannot be read or written."""


class SecretError(WirecryptError):
    """Key material does not fit; the message never shows it."""


class LabError(WirecryptError):
    """The lab could not do as asked."""


class BootError(LabError):
    """The guest's kernel, of version *kernel*, did not come up."""

    def __init__(self, tried: str, *, what: str = "", answer: str = "", hint: str = "", kernel: str = "") -> None:
        self.kernel = kernel
        super().__init__(tried, what=what, answer=answer, hint=hint)


class TooSlow(LabError):
    """What was measured says nothing: a program of the lab's own did not get to run."""


class TimedOut(LabError):
    """Something that was waited for did not become true in time."""
