"""IPsec states and policies of one network namespace: the port `Xfrm` on the kernel's own interface.

Writes are exact: a state is only ever added, a policy replaced in one step, and both are deleted by full name. There is no
flush. What `Sa` and `Policy` cannot express is never returned as one; `foreign_sas` and `foreign_policies` name it.
Writing and deleting policies keeps the hash thresholds at what ours ask for (`wirecrypt.plan.thresholds`).
A batch returns what the kernel refused, each with its object; a request that could not be sent at all raises `XfrmError`.
Kernel side: net/xfrm/xfrm_user.c.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self, TypeVar

from wirecrypt import logs
from wirecrypt.errors import XfrmError
from wirecrypt.kernel.xfrm import policy as policy_codec
from wirecrypt.kernel.xfrm import sa as sa_codec
from wirecrypt.kernel.xfrm.netlink import NetlinkAnswer, NetlinkChannel
from wirecrypt.kernel.xfrm.wire import Foreign, Request
from wirecrypt.model.xfrm import Failure, Policy, PolicyKey, Sa, SaEntry, SaKey
from wirecrypt.plan.thresholds import Thresholds, fitting, hashed

log = logs.get(__name__)

NETLINK_XFRM: Final = 6
_STATS: Final = Path("/proc/thread-self/net/xfrm_stat")  # of the calling thread's network namespace
_GONE: Final = frozenset({errno.ESRCH, errno.ENOENT})
_HINTS: Final = {
    errno.EEXIST: "another state has this destination and SPI: look at `ip xfrm state`",
    errno.EPERM: "run with the capability NET_ADMIN",
    errno.ENOSYS: "load the cipher's module; `wirecrypt doctor` says which",
    errno.ENOENT: "load the cipher's module; `wirecrypt doctor` says which",
    errno.EPROTONOSUPPORT: "load esp4, esp6 and xfrm_user, or use a kernel with ESP",
    errno.ENOBUFS: "list what is there and write the difference again",
}
_OTHERWISE: Final = "`wirecrypt doctor` says what this kernel lacks"

Named = TypeVar("Named", Sa, Policy, SaKey, PolicyKey)


class KernelXfrm:
    """Implement `wirecrypt.ports.Xfrm`; use it in one thread, as a context manager or with `close`.

    *writes* counts the requests sent that change anything, so that "a second pass writes nothing" can be shown.
    """

    def __init__(self) -> None:
        self.writes = 0
        self._decoder = policy_codec.Decoder()
        with _translated("open the kernel's IPsec interface"):
            self._channel = NetlinkChannel(NETLINK_XFRM)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket; nothing in the kernel changes."""
        self._channel.close()

    def list_sas(self) -> Sequence[SaEntry]:
        return [s for s in self._states() if isinstance(s, SaEntry)]

    def list_policies(self) -> Sequence[Policy]:
        return [p for p in self._policies() if isinstance(p, Policy)]

    def foreign_sas(self) -> Sequence[Foreign]:
        """Return the states that `Sa` cannot express: surely not ours."""
        return [s for s in self._states() if isinstance(s, Foreign)]

    def foreign_policies(self) -> Sequence[Foreign]:
        """Return the policies that `Policy` cannot express: surely not ours."""
        return [p for p in self._policies() if isinstance(p, Foreign)]

    def list_all_policies(self) -> tuple[Sequence[Policy], Mapping[PolicyKey, str]]:
        listed = self._policies()
        foreign = {p.name: str(p) for p in listed if isinstance(p, Foreign) and p.name is not None}
        return [p for p in listed if isinstance(p, Policy)], foreign

    def sa(self, key: SaKey) -> SaEntry | None:
        """Return one state and its use; None when there is none, or none that `Sa` can express."""
        payload = self._one("look at an IPsec state", key, sa_codec.get(key))
        entry = sa_codec.decode(payload) if payload else None
        return entry if isinstance(entry, SaEntry) else None

    def policy(self, key: PolicyKey) -> Policy | None:
        """Return one policy; None when there is none, or none that `Policy` can express."""
        payload = self._one("look at an IPsec policy", key, policy_codec.get(key))
        found = policy_codec.decode(payload) if payload else None
        return found if isinstance(found, Policy) else None

    def add_sas(self, sas: Sequence[Sa]) -> Sequence[Failure]:
        return self._write("install an IPsec state", sas, sa_codec.add)

    def set_policies(self, policies: Sequence[Policy]) -> Sequence[Failure]:
        """Install or replace policies, each in one step (net/xfrm/policy_codec.c, xfrm_policy_insert).

        A foreign policy of the same direction, selector and mark would be replaced too: see `list_all_policies` first.
        """
        self._hash(added=[p.name for p in policies if p.ours])
        return self._write("install an IPsec policy", policies, policy_codec.update)

    def delete_sas(self, keys: Sequence[SaKey]) -> Sequence[Failure]:
        return self._write("delete an IPsec state", keys, sa_codec.delete, quiet=_GONE)

    def delete_policies(self, keys: Sequence[PolicyKey]) -> Sequence[Failure]:
        failures = self._write("delete an IPsec policy", keys, policy_codec.delete, quiet=_GONE)
        self._hash(removed=keys)
        return failures

    def stats(self) -> Mapping[str, int]:
        with _translated("read the IPsec counters"):
            lines = _STATS.read_text(encoding="ascii").splitlines()
        return {name: int(value) for name, value in (line.split() for line in lines)}

    def thresholds(self) -> Thresholds:
        """Return the prefix lengths from which on policies are found by hash: IPv4 local, remote, IPv6 local, remote."""
        payload = self._one("read the hash thresholds", None, policy_codec.get_thresholds())
        if payload is None:
            raise XfrmError("read the hash thresholds", answer="an empty answer", hint=_OTHERWISE)
        return policy_codec.decode_thresholds(payload)

    def set_thresholds(self, v4_local: int, v4_remote: int, v6_local: int, v6_remote: int) -> bool:
        """Set the hash thresholds if they differ; say whether they did."""
        wanted = v4_local, v4_remote, v6_local, v6_remote
        if self.thresholds() == wanted:
            return False
        self.writes += 1
        self._one("set the hash thresholds", None, policy_codec.set_thresholds(wanted))
        return True

    def _hash(self, *, added: Sequence[PolicyKey] = (), removed: Sequence[PolicyKey] = ()) -> None:
        """Have our policies found by hash: a matter of speed alone, so a refusal is told, and nothing else depends on it."""
        try:
            present = self.thresholds()
            if not removed and hashed(present, added):
                return
            own = [p.name for p in self.list_policies() if p.ours]
            self.set_thresholds(*fitting(present, before=[*own, *removed], after=[*own, *added]))
        except XfrmError as error:
            log.warning("hash thresholds not set", error=str(error))

    def _states(self) -> list[SaEntry | Foreign]:
        with _translated("list IPsec states"):
            return [sa_codec.decode(payload) for payload in self._channel.dump(sa_codec.dump())]

    def _policies(self) -> list[Policy | Foreign]:
        with _translated("list IPsec policies"):
            return self._decoder.all(self._channel.dump(policy_codec.dump()))

    def _write(
        self,
        tried: str,
        objects: Sequence[Named],
        encode: Callable[[Named], Request],
        *,
        quiet: frozenset[int] = frozenset(),
    ) -> list[Failure]:
        self.writes += len(objects)
        with _translated(tried):
            answers = self._channel.batch([encode(one) for one in objects])
        pairs = zip(objects, answers, strict=True)
        return [Failure(one, _error(tried, one, a)) for one, a in pairs if a.errno and a.errno not in quiet]

    def _one(self, tried: str, what: SaKey | PolicyKey | None, request: Request) -> bytes | None:
        """Send one request; return what came back, None when there is no such object."""
        with _translated(tried):
            (answer,) = self._channel.batch([request])
        if answer.errno and not (what and answer.errno in _GONE):
            raise _error(tried, what, answer)
        return answer.payload or None


def _error(tried: str, what: Sa | Policy | SaKey | PolicyKey | None, answer: NetlinkAnswer) -> XfrmError:
    """Return the error of one object by its name alone: never with the object, which may hold a key."""
    name = what.name if isinstance(what, Sa | Policy) else what
    text = os.strerror(answer.errno) + (f" ({answer.words})" if answer.words else "")
    hint = _HINTS.get(answer.errno, _OTHERWISE)
    return XfrmError(tried, what=str(name or ""), answer=text, hint=hint, errno=answer.errno)


@contextmanager
def _translated(tried: str) -> Iterator[None]:
    """Turn an `OSError` of the socket or of /proc into an `XfrmError`."""
    try:
        yield
    except OSError as e:
        code = e.errno or 0
        raise XfrmError(tried, answer=e.strerror or str(e), hint=_HINTS.get(code, _OTHERWISE), errno=code) from e
