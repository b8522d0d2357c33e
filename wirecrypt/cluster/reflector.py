"""The local copy of one kind of objects, kept by watching, in a thread of its own.

A kind is listed by a quorum read in pages and then watched from that version. A stream that ends is taken up again where
it stood; a version that the server has forgotten (410) means a new list, and so does an error that nobody expected.
Errors, and streams that end at once, are waited out with jitter, longer each time, and for as long as a server asks for
with Retry-After. What is malformed is left out, reported, and listed in `malformed`, so that nobody takes it for deleted;
an object is read before the copy is touched, for the same reason.

A store that is restored from a backup goes back, and a watch from before waits in silence for versions that come only when it
has caught up. So a stream is short, and before it is taken up a quorum read of the object that changed last tells whether the
store still has the past that the copy knows (`past`). If not, that is said and the kind listed anew. It is listed anew now and
then in any case: a past can differ in what nobody asked about.
"""

from __future__ import annotations

import math
import random
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from wirecrypt import logs
from wirecrypt.cluster.answer import Answer, Gone, Throttled, stream_error
from wirecrypt.cluster.api import Api
from wirecrypt.cluster.codec.past import Past
from wirecrypt.errors import ClusterError, ObjectError
from wirecrypt.retry import Backoff, Delays

T = TypeVar("T")
Undone = Callable[[float, float], None]
WATCH_SECONDS: Final = (60, 120)  # how long a stream lives; between them by chance, so that they do not end together
LIST_SECONDS: Final = (1800, 3600)  # how long a copy goes on at most until it is listed anew, in the same way
_SHORTEST: Final = 5.0  # seconds that a stream lives at least, where server and network are well
_DELAYS: Final = Delays(first=0.4, most=30.0, jitter=0.75)  # much chance: what a server ends together comes back one by one
_JOIN_SECONDS: Final = 5.0
_log = logs.get(__name__)


@dataclass(frozen=True, slots=True)
class _Kept(Generic[T]):
    """An object of the copy: its *value*, or the *fault* for which it cannot be read; *identities* are UID and version."""

    name: str
    value: T | None
    fault: ObjectError | None
    identities: tuple[str, str]
    deleting: bool

    @property
    def shown(self) -> tuple[object, bool]:
        """Return what others see of it: only a difference in this is one."""
        return self.value, self.fault is not None


class Reflector(Generic[T]):
    """The copy of one kind: *kind* for messages, *path* of the collection, *read* makes a value of an object.

    *pause* waits between two attempts, for as many seconds as it is told, and at most until `stop`.
    """

    def __init__(
        self,
        api: Api,
        kind: str,
        path: str,
        read: Callable[[Any], T],
        *,
        pause: Callable[[float], object] | None = None,
    ) -> None:
        self.kind = kind
        self._api = api
        self._path = path
        self._read = read
        self._lock = threading.Lock()
        self._objects: dict[str, _Kept[T]] = {}
        self._sorted: Sequence[T] | None = None  # the objects by name's order; None: not since they changed
        self._version = ""  # to watch from; none: a list is due
        self._newest = self._last = ""  # the newest version seen, and the object that changed last
        self._confirmed = time.monotonic()  # when the last quorum read began that the copy stood
        self._listed = -math.inf  # when the last list began
        self._list_by = math.inf
        self._anew = threading.Event()
        self._opened = math.inf  # when the stream was, by the monotonic clock
        self._undone: Undone = lambda _before, _began: None
        self._stream: Answer | None = None
        self._stop = threading.Event()
        self._pause = pause or self._stop.wait
        self._synced = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, changed: Callable[[], None], undone: Undone = lambda _before, _began: None) -> None:
        """Start to watch; *changed* is called, from the thread, after every difference.

        *undone* is called when the source went back: with when the list before began, and the one that shows it.
        """
        self._undone = undone
        self._thread = threading.Thread(target=self._run, args=(changed,), name=f"watch-{self.kind}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop the watch and join the thread."""
        self._stop.set()
        self._interrupt()
        if self._thread is not None:
            self._thread.join(_JOIN_SECONDS)

    def synced(self) -> bool:
        """Return whether the kind was listed at least once."""
        return self._synced.is_set()

    def list_anew(self) -> None:
        """List again as soon as the thread can; may be called from any thread."""
        self._anew.set()
        self._interrupt()

    def listed_since(self, moment: float) -> bool:
        """Return whether the last list did not begin before *moment* of the monotonic clock."""
        return self._listed >= moment

    def age(self) -> float:
        """Return for how many seconds no quorum read has confirmed the copy."""
        return time.monotonic() - self._confirmed

    def objects(self) -> Sequence[T]:
        """Return the objects by name's order."""
        with self._lock:
            if self._sorted is None:
                self._sorted = [one.value for _, one in sorted(self._objects.items()) if one.value is not None]
            return self._sorted

    def malformed(self) -> Mapping[str, ObjectError]:
        """Return the objects that are there and cannot be read, by name."""
        with self._lock:
            return {name: one.fault for name, one in self._objects.items() if one.fault is not None}

    @property
    def path(self) -> str:
        """Return the path of the whole collection."""
        return self._path.partition("?")[0]

    def reached(self, version: int) -> bool:
        """Return whether the copy is at least as new as *version*; versions of one kind are ordered (KEP-5504)."""
        seen = self._version
        return seen.isdigit() and int(seen) >= version

    def without(self, name: str, identity: str) -> bool:
        """Return whether the object of this *name* with *identity*, its UID or its version, is gone from the copy."""
        with self._lock:
            one = self._objects.get(name)
        return one is None or identity not in one.identities

    def deleting(self, name: str, identity: str) -> bool:
        """Return whether this object is there and deleted: it goes once those whose finalizers it has let it go."""
        with self._lock:
            one = self._objects.get(name)
        return one is not None and identity in one.identities and one.deleting

    def _run(self, changed: Callable[[], None]) -> None:
        """Follow for ever. Whatever ends a stream before it has lived a while is a failure, and waited out."""
        backoff = Backoff(_DELAYS)
        while not self._stop.is_set():
            self._opened = math.inf
            trouble = self._attempt(changed)
            if self._stop.is_set():
                return
            if self._anew.is_set():
                continue
            if time.monotonic() - self._opened >= _SHORTEST:
                backoff = backoff.succeeded()
                if trouble is None:
                    continue
            backoff = backoff.failed(time.monotonic())
            asked = trouble.after if isinstance(trouble, Throttled) else 0.0
            wait = max(asked, backoff.not_before - time.monotonic())
            self._report(trouble, wait)
            self._pause(wait)

    def _attempt(self, changed: Callable[[], None]) -> Exception | None:
        """Follow until the stream ends, and return why it did; None: the server ended it in good order."""
        try:
            self._follow(changed)
        except ClusterError as error:
            if isinstance(error, Gone):
                self._version = ""
            return error
        except Exception as error:  # noqa: BLE001 - a thread that ends in silence leaves a frozen copy that looks alive
            self._version = ""
            return error
        return None

    def _report(self, trouble: Exception | None, seconds: float) -> None:
        wait = round(seconds, 1)
        if trouble is None:
            _log.warning("watch ended early", kind=self.kind, seconds=wait)
        elif isinstance(trouble, ClusterError):
            _log.warning("watch interrupted", kind=self.kind, error=str(trouble), seconds=wait)
        else:
            _log.error("watch failed, listing again", kind=self.kind, error=_place(trouble), seconds=wait)

    def _follow(self, changed: Callable[[], None]) -> None:
        """List if need be, then take events until the stream ends."""
        if not self._version or self._list_is_due() or not self._stands():
            self._list(changed)
        seconds = random.randint(*WATCH_SECONDS)  # noqa: S311 - spreads load, guards nothing
        with self._api.stream(self._path, version=self._version, seconds=seconds) as stream:
            self._opened = time.monotonic()
            with self._lock:
                self._stream = stream
            try:
                if self._stop.is_set() or self._anew.is_set():
                    return
                for event in stream.events():
                    self._take(event, changed)
            finally:
                with self._lock:
                    self._stream = None

    def _interrupt(self) -> None:
        with self._lock:
            if self._stream is not None:
                self._stream.interrupt()

    def _list_is_due(self) -> bool:
        return self._anew.is_set() or time.monotonic() >= self._list_by

    def _stands(self) -> bool:
        """Ask the source for the object that changed last; return whether the copy can go on from where it is."""
        began = time.monotonic()
        items, version = self._api.named(self._path, self._last)
        undone = _past(self._newest, self._objects).undone(Past.of(version, items))
        if undone or (self._last in self._objects and not items):
            return False
        self._confirmed = began
        return True

    def _list(self, changed: Callable[[], None]) -> None:
        self._anew.clear()
        self._version = ""  # if this fails it is still due
        began = time.monotonic()
        kept, version = self._read_all()
        shown = _past(version, kept)
        undone = _past(self._newest, self._objects).undone(shown)
        with self._lock:
            before, self._objects, self._sorted = self._objects, kept, None
        self._version = self._newest = version
        self._last = shown.changed_last
        listed, self._confirmed, self._listed = self._listed, began, began
        self._list_by = began + random.randint(*LIST_SECONDS)  # noqa: S311 - as above
        first = not self._synced.is_set()
        self._synced.set()
        if undone:
            _log.error("the API server went back, listed again", kind=self.kind, reason=undone)
            self._undone(listed, began)
        if first or undone or _shown(before) != _shown(kept):
            changed()

    def _read_all(self) -> tuple[dict[str, _Kept[T]], str]:
        """Return what is kept of all objects, and the version of the collection; of each page before the next is asked for."""
        kept: dict[str, _Kept[T]] = {}
        version = ""
        for items, version in self._api.pages(self._path):  # noqa: B007 - the last one's
            kept.update((one.name, one) for one in map(self._kept, items))
        return kept, version

    def _take(self, event: Mapping[str, Any], changed: Callable[[], None]) -> None:
        kind, raw = event.get("type"), event["object"]
        if kind == "ERROR":
            raise stream_error(self.kind, raw)
        version = raw.get("metadata", {}).get("resourceVersion", self._version)
        if kind == "BOOKMARK":
            self._version = self._newest = version
            return
        now = self._kept(raw)
        with self._lock:
            before = self._objects.get(now.name)
            if kind == "DELETED":
                self._objects.pop(now.name, None)
            else:
                self._objects[now.name] = now
            after, self._sorted = self._objects.get(now.name), None
        self._version = self._newest = version
        self._last = now.name
        if (before and before.shown) != (after and after.shown):
            changed()

    def _kept(self, raw: Mapping[str, Any]) -> _Kept[T]:
        """Return what is kept of an object; the copy is not touched, so that an error leaves it as it was."""
        meta = raw.get("metadata", {})
        name = meta.get("name", "")
        value, fault = None, None
        try:
            value = self._read(raw)
        except ObjectError as error:
            fault = error
            _log.warning("object left out", kind=self.kind, object=name, error=str(error))
        identities = (meta.get("uid", ""), meta.get("resourceVersion", ""))
        return _Kept(name, value, fault, identities, deleting="deletionTimestamp" in meta)


def _past(version: str, kept: Mapping[str, _Kept[T]]) -> Past:
    return Past(version, {name: one.identities[1] for name, one in kept.items()})


def _shown(kept: Mapping[str, _Kept[T]]) -> Mapping[str, object]:
    return {name: one.shown for name, one in kept.items()}


def _place(error: Exception) -> str:
    """Return the kind of an error and where it was raised; its text may quote a value, which may be a secret."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} in {last.name}, {Path(last.filename).name} line {last.lineno}"
