"""The agent's secret state on tmpfs: JSON with a version, mode 0600, replaced whole.

A version is read by its reader in a table; a new version keeps the reader of the one before it. The file is the only place
but memory where private session keys are written; it belongs to one agent at a time (a lock file next to it).
One that cannot be read is kept aside for a person to look at, blank where keys were: which digit of them is wrong nobody can
tell, and they would outlive the sessions that they are of.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from wirecrypt import logs, private_file
from wirecrypt.agent.store.state import LedgerEntry, OwnSession, State
from wirecrypt.agent.store.state_fields import CHECKSUM, by_version, encode, parse
from wirecrypt.documents import Fields
from wirecrypt.errors import StateError
from wirecrypt.keys import SessionKey
from wirecrypt.keys.derive import CONTROL_BYTES
from wirecrypt.keys.encoding import EPOCH_ID_BYTES
from wirecrypt.keys.nodekey import SHARE_BYTES
from wirecrypt.keys.sessionkey import PRIVATE_BYTES, PUBLIC_BYTES
from wirecrypt.model.objects import NodeKey
from wirecrypt.model.secret import SecretBytes
from wirecrypt.model.session import Epoch, Generation, Session
from wirecrypt.model.xfrm import Algorithm

log = logs.get(__name__)
STATE_PATH: Final = Path("/run/wirecrypt/state.json")
STATE_VERSION: Final = 4


class StateFile:
    """The state file of the one agent that holds its lock; get it by `open_state`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> State | None:
        """Return the state, None when there is no file.

        Raises `StateError` when the file could have been touched by others, is malformed, changed or of an unknown version: it
        is kept aside then, in the place of one that was before it.
        """
        try:
            content = private_file.read(self._path)
            return None if content is None else decode_state(content, place=str(self._path))
        except StateError:
            self._keep_aside()
            raise

    def save(self, state: State) -> None:
        """Replace the file by *state*; raises `StateError` when the system refuses, and the old file stays."""
        private_file.replace(self._path, encode_state(state).reveal())

    def remove(self) -> None:
        """Remove the file and one kept aside, if there are any: the node left. Raises `StateError` when the system refuses."""
        private_file.remove(self._path)
        private_file.remove(private_file.aside(self._path))

    def _keep_aside(self) -> None:
        try:
            private_file.blank(self._path)
            private_file.rename(self._path, private_file.aside(self._path))
        except StateError as error:
            log.error("file not kept aside", path=str(self._path), error=str(error))  # noqa: TRY400 - the message says all


@contextmanager
def open_state(path: Path = STATE_PATH) -> Iterator[StateFile]:
    """Hold the state file's lock for the time of the block; raises `StateError` when another agent holds it."""
    with private_file.locked(path.with_name(f"{path.name}.lock")):
        yield StateFile(path)


def encode_state(state: State) -> SecretBytes:
    """Return the file's content, which holds private keys."""
    ledger = {uid: [_entry(each) for each in sorted(entries, key=_order)] for uid, entries in state.ledger.items()}
    content = {
        "version": STATE_VERSION,
        "node_uid": state.node_uid,
        "peer_uid": state.peer_uid,
        "node_id": state.node_id,
        "boot_id": state.boot_id,
        "boot_session": state.boot_session,
        "last_session": state.last_session,
        "rolled_back": state.rolled_back,
        "sessions": [_own(own) for own in state.sessions],
        "node_keys": [{**_epoch(key.epoch), "share": key.share.reveal().hex()} for key in state.node_keys],
        "ledger": ledger,
    }
    return SecretBytes(encode(content))


def decode_state(content: bytes, *, place: str) -> State:
    """Return the state that *content* holds; raises `StateError` naming *place* and the field, never showing content."""
    top = parse(place, content)
    return by_version(place, top, _STATE_READERS)(top)


# ---- written


def _order(entry: LedgerEntry) -> Generation:
    return entry.generation


def _epoch(epoch: Epoch) -> dict[str, object]:
    return {"epoch": epoch.number, "epoch_id": epoch.id}


def _own(own: OwnSession) -> dict[str, object]:
    session = own.session
    return {
        **_epoch(session.epoch),
        "number": session.number,
        "public": session.public.hex(),
        "lanes": session.lanes,
        "algorithm": session.algorithm.value,
        "private": own.key.store().reveal().hex() if own.key else "",
        "published": own.published,
        "offered": own.offered,
    }


def _entry(entry: LedgerEntry) -> dict[str, object]:
    generation = entry.generation
    return {
        **_epoch(Epoch(generation.epoch, entry.epoch_id)),
        "lo": generation.lo,
        "hi": generation.hi,
        "lanes": entry.lanes,
        "algorithm": entry.algorithm.value,
        "own_public": entry.own_public.hex(),
        "peer_public": entry.peer_public.hex(),
        "src": str(entry.src),
        "dst": str(entry.dst),
        "control_own": entry.control_own.reveal().hex(),
        "control_peer": entry.control_peer.reveal().hex(),
    }


# ---- read; version 1 of the state knows neither the NodePeer's UID nor what was offered, 2 has no checksum, 3 no nodeID

_ENTRY: Final = (
    *("epoch", "epoch_id", "lo", "hi", "lanes", "algorithm"),
    *("own_public", "peer_public", "src", "dst", "control_own", "control_peer"),
)


_STATE_1: Final = ("version", "node_uid", "boot_id", "boot_session", "last_session", "sessions", "node_keys", "ledger")
_STATE_2: Final = (*_STATE_1, "peer_uid", "rolled_back")
_OWN_1: Final = ("epoch", "epoch_id", "number", "public", "lanes", "algorithm", "private", "published")


def _read_state_1(top: Fields) -> State:
    sessions = [_read_own(each.only(*_OWN_1)) for each in top.only(*_STATE_1).groups("sessions")]
    # what was not published may have been offered: it is taken as known to peers
    return _read_state(top, tuple(replace(own, offered=True) for own in sessions))


def _read_state_2(top: Fields) -> State:
    return _read_newer(top.only(*_STATE_2))


def _read_state_3(top: Fields) -> State:
    return _read_newer(top.only(*_STATE_2, CHECKSUM))


def _read_state_4(top: Fields) -> State:
    return replace(_read_newer(top.only(*_STATE_2, CHECKSUM, "node_id")), node_id=top.number("node_id"))


def _read_newer(top: Fields) -> State:
    each = top.groups("sessions")
    sessions = tuple(replace(_read_own(own.only(*_OWN_1, "offered")), offered=own.flag("offered")) for own in each)
    state = _read_state(top, sessions)
    return replace(state, peer_uid=top.text("peer_uid"), rolled_back=top.number("rolled_back"))


def _read_state(top: Fields, sessions: tuple[OwnSession, ...]) -> State:
    ledger = top.group("ledger")
    state = State(
        node_uid=top.text("node_uid"),
        boot_id=top.text("boot_id"),
        boot_session=top.number("boot_session"),
        last_session=top.number("last_session"),
        sessions=sessions,
        node_keys=tuple(_read_node_key(each) for each in top.groups("node_keys")),
        ledger={uid: _read_entries(ledger, uid) for uid in ledger.raw},
    )
    numbers = [own.session.number for own in state.sessions]
    if numbers != sorted(set(numbers)) or max(numbers, default=0) > state.last_session:
        top.refuse("", "the session numbers contradict each other")
    return state


def _read_epoch(fields: Fields) -> Epoch:
    return Epoch(fields.number("epoch"), fields.data("epoch_id", EPOCH_ID_BYTES).hex())


def _read_own(fields: Fields) -> OwnSession:
    session = Session(
        number=fields.number("number"),
        epoch=_read_epoch(fields),
        public=fields.data("public", PUBLIC_BYTES),
        lanes=fields.number("lanes"),
        algorithm=fields.via("algorithm", Algorithm),
    )
    key = None
    if fields.text("private"):
        key = SessionKey.load(SecretBytes(fields.data("private", PRIVATE_BYTES)))
        if key.public != session.public:
            fields.refuse("private", "not the key of this X")
    return OwnSession(session, key, fields.flag("published"))


def _read_node_key(fields: Fields) -> NodeKey:
    fields.only("epoch", "epoch_id", "share")
    return NodeKey(_read_epoch(fields), SecretBytes(fields.data("share", SHARE_BYTES)))


def _read_entries(ledger: Fields, peer_uid: str) -> frozenset[LedgerEntry]:
    entries = [_read_entry(each) for each in ledger.groups(peer_uid)]
    if len({entry.generation for entry in entries}) != len(entries):
        ledger.refuse(peer_uid, "a generation stands there twice")
    return frozenset(entries)


def _read_entry(fields: Fields) -> LedgerEntry:
    fields.only(*_ENTRY)
    epoch = _read_epoch(fields)
    return LedgerEntry(
        generation=Generation(epoch.number, fields.number("lo"), fields.number("hi")),
        epoch_id=epoch.id,
        lanes=fields.number("lanes"),
        algorithm=fields.via("algorithm", Algorithm),
        own_public=fields.data("own_public", PUBLIC_BYTES),
        peer_public=fields.data("peer_public", PUBLIC_BYTES),
        src=fields.via("src", ip_address),
        dst=fields.via("dst", ip_address),
        control_own=SecretBytes(fields.data("control_own", CONTROL_BYTES)),
        control_peer=SecretBytes(fields.data("control_peer", CONTROL_BYTES)),
    )


_STATE_READERS: Final = {1: _read_state_1, 2: _read_state_2, 3: _read_state_3, 4: _read_state_4}
