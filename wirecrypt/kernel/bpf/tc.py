"""Attach eBPF programs to links: the clsact qdisc and direct-action bpf filters at a fixed place.

Every filter of ours has a name, a priority and a handle: without the last two each repeat would add another one. What
stands at our place under another name is somebody else's and is neither replaced nor removed. Each function opens its
own socket, so it may be called from any thread (not from inside a running event loop), and acts in the thread's own
network namespace. Kernel side: net/sched/cls_bpf.c, net/sched/sch_ingress.c.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from wirecrypt.errors import LinkError
from wirecrypt.kernel.bpf.syscall import program_id
from wirecrypt.kernel.net.links import RouteSocket

TcDirection = Literal["ingress", "egress"]

_PARENTS: Final[Mapping[TcDirection, int]] = {"ingress": 0xFFFFFFF2, "egress": 0xFFFFFFF3}
_BPF_ID: Final = 11  # TCA_BPF_ID, which pyroute2 does not name
_ATTRIBUTE_HEADER: Final = 4
_GONE: Final = frozenset({errno.ENOENT, errno.ENODEV, errno.EINVAL})  # EINVAL: no clsact, so no filter either


@dataclass(frozen=True, slots=True, order=True)
class TcFilter:
    """A bpf filter as the kernel lists it; *prog_id* is the loaded program's, 0 when the kernel does not tell."""

    direction: TcDirection
    name: str
    prio: int
    handle: int
    prog_id: int


def ensure_clsact(link_index: int) -> bool:
    """Give the link a clsact qdisc; say whether it was made now (False: it was there, keep it when leaving)."""
    with RouteSocket("add a clsact qdisc", _link(link_index), quiet=frozenset({errno.EEXIST})) as ip:
        ip.tc("add", "clsact", link_index)
        return True
    return False


def filters(link_index: int) -> list[TcFilter]:
    """Return the bpf filters of the link, ours and others', sorted; none when it has no clsact qdisc or is gone."""
    with RouteSocket("list filters", _link(link_index), quiet=_GONE) as ip:
        return sorted(f for d, parent in _PARENTS.items() for f in _listed(ip, link_index, d, parent))
    return []


def attach(  # noqa: PLR0913 - all keywords, and the kernel wants each of them
    link_index: int, *, direction: TcDirection, fd: int, name: str, prio: int, handle: int
) -> bool:
    """Put the open program *fd* at this place, atomically replacing our older one; say whether anything was written.

    Raises `LinkError` with errno EEXIST when a filter of another name stands there.
    """
    present = _at(link_index, direction, prio, handle)
    if present is not None and present.name != name:
        raise _taken(link_index, present)
    if present is not None and present.prog_id == program_id(fd):
        return False
    with RouteSocket(f"attach {name} at {direction}", _link(link_index)) as ip:
        place = {"parent": _PARENTS[direction], "prio": prio, "handle": handle}
        ip.tc("replace-filter", "bpf", link_index, fd=fd, name=name, direct_action=True, **place)
    return True


def detach(link_index: int, direction: TcDirection, prio: int, handle: int, name: str) -> bool:
    """Remove exactly this filter; say whether it was there (one that is gone, or somebody else's, is left alone)."""
    present = _at(link_index, direction, prio, handle)
    if present is None or present.name != name:
        return False
    with RouteSocket(f"detach {name} from {direction}", _link(link_index), quiet=_GONE) as ip:
        ip.tc("del-filter", "bpf", link_index, parent=_PARENTS[direction], prio=prio, handle=handle)
        return True
    return False


def remove_clsact_if_empty(link_index: int) -> bool:
    """Remove the clsact qdisc when no filter of any kind is left on it; say whether it was removed.

    Only for a qdisc that `ensure_clsact` made: the kernel does not tell whose one is.
    """
    with RouteSocket("remove the clsact qdisc", _link(link_index), quiet=_GONE) as ip:
        if any(_is_filter(m) for parent in _PARENTS.values() for m in ip.get_filters(link_index, parent=parent)):
            return False
        ip.tc("del", "clsact", link_index)
        return True
    return False


def _at(link_index: int, direction: TcDirection, prio: int, handle: int) -> TcFilter | None:
    place = (direction, prio, handle)
    return next((f for f in filters(link_index) if (f.direction, f.prio, f.handle) == place), None)


def _listed(ip: Any, link_index: int, direction: TcDirection, parent: int) -> Iterator[TcFilter]:  # noqa: ANN401 - untyped
    for message in ip.get_filters(link_index, parent=parent):
        options = message.get("TCA_OPTIONS")
        if message.get("TCA_KIND") == "bpf" and options is not None:
            name = options.get("TCA_BPF_NAME") or ""
            yield TcFilter(direction, name, message["info"] >> 16, message["handle"], _prog_id(options))


def _is_filter(message: Any) -> bool:  # noqa: ANN401 - a message of pyroute2, untyped
    """Return whether a dumped message is a filter; the kernel also lists one bare entry per priority."""
    return message.get("TCA_OPTIONS") is not None


def _prog_id(options: Any) -> int:  # noqa: ANN401 - an attribute list of pyroute2, untyped
    for _, value in options["attrs"]:
        header = value.get("header", {}) if isinstance(value, dict) else {}
        if header.get("type") == _BPF_ID:
            return int(struct.unpack_from("=I", value.data, value.offset + _ATTRIBUTE_HEADER)[0])
    return 0


def _taken(link_index: int, present: TcFilter) -> LinkError:
    return LinkError(
        f"attach a filter at {present.direction} priority {present.prio} handle {present.handle}",
        what=_link(link_index),
        answer=f"the filter {present.name!r} of somebody else stands there",
        hint="choose another priority or remove that filter",
        errno=errno.EEXIST,
    )


def _link(link_index: int) -> str:
    try:
        return f"link {socket.if_indextoname(link_index)}"
    except OSError:
        return f"link {link_index}"
