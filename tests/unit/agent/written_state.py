"""A state with some of everything, as its file holds it, and what must not be seen of it."""

from __future__ import annotations

import json
import traceback
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from wirecrypt.agent.store.state import LedgerEntry, OwnSession, State
from wirecrypt.agent.store.state_fields import CHECKSUM
from wirecrypt.agent.store.statefile import encode_state
from wirecrypt.keys import SessionKey, new_seed, new_session_key, share
from wirecrypt.model.objects import NodeKey
from wirecrypt.model.secret import SecretBytes
from wirecrypt.model.session import Epoch, Generation, Session
from wirecrypt.model.xfrm import Algorithm

EPOCH = Epoch(3, "ab" * 16)
KEY, OLD_KEY = new_session_key(), new_session_key()
SHARE = share(new_seed(), "uid-1")
CONTROL = SecretBytes(b"\xc0" * 32), SecretBytes(b"\xc1" * 32)
PEER = "uid-2"


def own(number: int, key: SessionKey, *, published: bool = True, alive: bool = True) -> OwnSession:
    """Return an own session of EPOCH."""
    session = Session(number, EPOCH, key.public, 2, Algorithm.AES_256_GCM)
    return OwnSession(session, key if alive else None, published)


def entry(number: int, key: SessionKey = KEY, *, lanes: int = 2) -> LedgerEntry:
    """Return what the ledger holds of a generation with *number*."""
    return LedgerEntry(
        Generation(3, number, 9),
        EPOCH.id,
        lanes,
        Algorithm.AES_256_GCM,
        key.public,
        bytes(32),
        ip_address("192.0.2.1"),
        ip_address("fd00::2"),
        *CONTROL,
    )


STATE = State(
    node_uid="uid-1",
    boot_id="boot",
    boot_session=4,
    last_session=5,
    sessions=(own(4, OLD_KEY, alive=False), own(5, KEY, published=False)),
    node_keys=(NodeKey(EPOCH, SHARE),),
    ledger={PEER: frozenset({entry(4, OLD_KEY), entry(5)}), "uid-3": frozenset({entry(5)})},
    peer_uid="peer-uid-1",
    node_id=16,
    rolled_back=3,
)
SECRETS = [KEY.store(), OLD_KEY.store(), SHARE, *CONTROL]
WRITTEN = encode_state(STATE).reveal()


def fields() -> dict[str, Any]:
    """Return what the file of STATE holds besides its checksum."""
    raw: dict[str, Any] = json.loads(WRITTEN)
    del raw[CHECKSUM]
    return raw


def write(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Make a file as another hand would."""
    path.write_bytes(content)
    path.chmod(mode)


def chain_text(error: BaseException) -> str:
    """Return all that an error and what it is chained to could ever print, hidden links included."""
    seen: BaseException | None = error
    text = "".join(traceback.format_exception(error))
    while seen is not None:
        text += repr(seen) + repr(seen.args) + repr(vars(seen))
        seen = seen.__cause__ or seen.__context__
    return text


def assert_hidden(text: str) -> None:
    """Fail when a key of STATE, or the beginning of one, is in *text*."""
    assert not [secret for secret in SECRETS if secret.reveal().hex()[:16] in text]
