"""Ask the kernel what it can do, to explain a failure: yes, no, or unknown, each with its reason.

The product tries first; this is for `doctor` and for tests that may skip. Everything is tried in a network namespace that
belongs to one short-lived thread and vanishes with it, so nothing is left behind but modules that the kernel loaded.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from ipaddress import ip_address
from typing import Final

from wirecrypt.errors import KernelError
from wirecrypt.kernel.bpf import tc
from wirecrypt.kernel.bpf.syscall import load_program
from wirecrypt.kernel.net.control_socket import SO_RCVMARK
from wirecrypt.kernel.xfrm.adapter import KernelXfrm
from wirecrypt.model.secret import SecretBytes
from wirecrypt.model.xfrm import Address, Algorithm, Sa

_CLONE_NEWNET: Final = 0x40000000
_LOOPBACK: Final = 1
_RETURN_ZERO: Final = struct.pack("=BBhi", 0xB7, 0, 0, 0) + struct.pack("=BBhi", 0x95, 0, 0, 0)
_DENIED: Final = frozenset({errno.EPERM, errno.EACCES})
_ADDRESSES: Final = {
    4: (ip_address("192.0.2.1"), ip_address("192.0.2.2")),  # documentation ranges, RFC 5737 and RFC 3849
    6: (ip_address("2001:db8::1"), ip_address("2001:db8::2")),
}


class ProbeResult(Enum):
    """Whether the kernel has a feature."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Feature:
    """One answer: the feature's name, the verdict, and the reason (what was tried, what was answered, what it needs).

    *without*: the features for want of which this one could not be tried.
    """

    name: str
    verdict: ProbeResult
    reason: str
    without: tuple[str, ...] = ()


Probe = Callable[[], Feature]
Tried = Mapping[tuple[int, Algorithm], KernelError | None]  # a state of each family and cipher: what went wrong with it


def probe() -> Sequence[Feature]:
    """Try every feature; takes some ten milliseconds and never raises."""
    found: list[Feature] = []
    thread = threading.Thread(target=_in_scratch, args=(found,), name="probe")
    thread.start()
    thread.join()
    return found


def _in_scratch(found: list[Feature]) -> None:
    """Run all probes in a new network namespace of this thread."""
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNET):
        why = f"no scratch network namespace: {os.strerror(ctypes.get_errno())}; run as root (CAP_SYS_ADMIN)"
        found.extend(Feature(name, ProbeResult.UNKNOWN, why) for name in (*_IPSEC, *_PROBES))
    else:
        tried = {(v, a): _try_state(_ADDRESSES[v], a) for v in _ADDRESSES for a in Algorithm}
        found.extend((*ipsec_features(tried), *(try_it() for try_it in _PROBES.values())))


def ipsec_features(tried: Tried) -> list[Feature]:
    """Return what states that were *tried* tell of ESP, ciphers and extended sequence numbers.

    A state needs a family and a cipher: where one is missing, the other cannot be tried, and says so.
    """
    families = [_esp(v, [tried[v, a] for a in Algorithm]) for v in _ADDRESSES]
    ciphers = [_cipher(a, [tried[v, a] for v in _ADDRESSES]) for a in Algorithm]
    esn = _by_states("esn", list(tried.values()), set(), "could not be tried without a state")
    found = [*families, *ciphers, esn]
    missing = () if None in tried.values() else tuple(f.name for f in found if f.verdict is ProbeResult.NO)
    return [replace(f, without=missing) if f.verdict is ProbeResult.UNKNOWN else f for f in found]


def _esp(version: int, errors: Sequence[KernelError | None]) -> Feature:
    """Return the answer for ESP of one outer family, tried with each cipher."""
    module = f"esp{version}"
    return _by_states(
        f"esp-ipv{version}", errors, {errno.EPROTONOSUPPORT}, f"needs the kernel option or module {module} (and xfrm_user)"
    )


def _cipher(algorithm: Algorithm, errors: Sequence[KernelError | None]) -> Feature:
    needs = f"needs {algorithm.cipher.kernel_name} in the kernel's crypto and ESP"
    return _by_states(algorithm.value, errors, {errno.ENOSYS, errno.ENOENT}, needs)


def _by_states(name: str, errors: Sequence[KernelError | None], absent: set[int], needs: str) -> Feature:
    """Return YES when one state was installed; else what the error says that tells most."""
    if None in errors:
        return Feature(name, ProbeResult.YES, "a state with a replay window of 4096 was installed and listed as written")
    return _judged(name, next((e for e in errors if e and e.errno in absent), errors[0]), absent, needs)


def _rcvmark() -> Feature:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        try:
            s.setsockopt(socket.SOL_SOCKET, SO_RCVMARK, 1)
        except OSError as e:
            return _judged("so-rcvmark", e, {errno.ENOPROTOOPT}, "needs kernel 5.19 or newer")
    return Feature("so-rcvmark", ProbeResult.YES, "the option was set")


def _clsact() -> Feature:
    try:
        tc.ensure_clsact(_LOOPBACK)
    except KernelError as e:
        return _judged("clsact", e, {errno.ENOENT, errno.EOPNOTSUPP}, "needs the kernel option or module sch_ingress")
    return Feature("clsact", ProbeResult.YES, "a qdisc was added")


def _bpf() -> Feature:
    try:
        os.close(load_program("wirecrypt_probe", _RETURN_ZERO))
    except KernelError as e:
        return _judged("bpf", e, {errno.ENOSYS}, "needs the kernel option BPF_SYSCALL")
    return Feature("bpf", ProbeResult.YES, "a classifier was loaded")


def _try_state(ends: tuple[Address, Address], algorithm: Algorithm) -> KernelError | None:
    """Install, list and delete one state; return what went wrong."""
    sa = Sa(
        src=ends[0],
        dst=ends[1],
        spi=0x100,
        reqid=1,
        algorithm=algorithm,
        key=SecretBytes(os.urandom(algorithm.cipher.key_bytes)),
    )
    try:
        with KernelXfrm() as xfrm:
            failures = xfrm.add_sas([sa])
            same = [entry.sa for entry in xfrm.list_sas()] == [sa]
            xfrm.delete_sas([sa.name])
    except KernelError as e:
        return e
    if failures:
        return failures[0].error
    differs = "a state differs from what was written (kernel lockdown hides keys)"
    return None if same else KernelError("read an IPsec state back", answer=differs)


def _judged(name: str, error: KernelError | OSError | None, absent: set[int], needs: str) -> Feature:
    """Return NO when the errno says that the feature is absent, else UNKNOWN."""
    code = (error.errno if error else 0) or 0
    if code in _DENIED:
        return Feature(name, ProbeResult.UNKNOWN, f"{os.strerror(code)}: run as root (CAP_NET_ADMIN, CAP_BPF)")
    verdict = ProbeResult.NO if code in absent else ProbeResult.UNKNOWN
    answer = error.answer if isinstance(error, KernelError) else os.strerror(code)
    return Feature(name, verdict, f"{answer}; {needs}" if code else answer)


_IPSEC: Final = ("esp-ipv4", "esp-ipv6", *(a.value for a in Algorithm), "esn")
_PROBES: Final[Mapping[str, Probe]] = {"so-rcvmark": _rcvmark, "clsact": _clsact, "bpf": _bpf}
