"""The agent's files: nobody else's, whole or old, read strictly, and never shown."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.agent.written_state import (
    EPOCH,
    KEY,
    OLD_KEY,
    PEER,
    SECRETS,
    SHARE,
    STATE,
    WRITTEN,
    assert_hidden,
    chain_text,
    entry,
    fields,
    own,
    write,
)
from wirecrypt.agent.store import state as changes
from wirecrypt.agent.store.blocklist import Blocklist, load_blocklist, save_blocklist
from wirecrypt.agent.store.state import OwnSession, State
from wirecrypt.agent.store.state_fields import CHECKSUM, encode
from wirecrypt.agent.store.statefile import (
    StateFile,
    decode_state,
    encode_state,
    open_state,
)
from wirecrypt.errors import StateError
from wirecrypt.keys import new_session_key
from wirecrypt.model.objects import NodeKey
from wirecrypt.model.pair import End, Pair
from wirecrypt.model.session import Epoch, Generation

BLOCKLIST = Blocklist(
    End("one", 16, "uid-1", (ip_address("192.0.2.1"), ip_address("fd00::1")), (ip_network("10.1.0.0/24"),)),
    (End("two", 17, PEER, (ip_address("192.0.2.2"),), (ip_network("10.2.0.0/24"), ip_network("fd00:12::/64"))),),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.json"


# ---- what is kept


def test_a_state_comes_back_equal(path: Path) -> None:
    """Sessions with and without their keys, node keys, the ledger and all numbers survive a restart of the agent."""
    with open_state(path) as file:
        file.save(STATE)
    with open_state(path) as file:
        loaded = file.load()
    assert loaded == STATE
    assert loaded is not None
    assert loaded.session(5) == STATE.sessions[1]
    assert loaded.node_key(EPOCH) == NodeKey(EPOCH, SHARE)


def test_no_file_is_no_state(path: Path) -> None:
    """A first start, or one after a reboot, finds nothing, and that is no error."""
    with open_state(path) as file:
        assert file.load() is None
        file.remove()


def test_a_removed_state_is_gone(path: Path) -> None:
    """A node that left keeps no key."""
    with open_state(path) as file:
        file.save(STATE)
        file.remove()
        assert file.load() is None


def test_the_blocklist_comes_back_equal(path: Path) -> None:
    """The pairs to block at boot come back with both ends' claims; no file is no list."""
    assert load_blocklist(path) is None
    save_blocklist(BLOCKLIST, path)
    loaded = load_blocklist(path)
    assert loaded == BLOCKLIST
    assert loaded is not None
    assert loaded.pairs() == (Pair(BLOCKLIST.own, BLOCKLIST.peers[0]),)


def test_a_blocklist_has_one_entry_per_node_uid() -> None:
    """A peer whose claims changed replaces its old entry; a peer is taken out by its UID."""
    mark_trouble = replace(BLOCKLIST.peers[0], endpoints=(ip_address("192.0.2.9"),))
    assert BLOCKLIST.with_peers([(mark_trouble, False)]).peers == (mark_trouble,)
    assert BLOCKLIST.with_peers([(mark_trouble, False)]).without_peers(PEER).peers == ()


# ---- how it is written


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_files_are_for_their_user_alone(path: Path, umask: int) -> None:
    """Mode 0600 whatever the umask, and nothing else stays in the folder but the lock."""
    before = os.umask(umask)
    try:
        with open_state(path) as file:
            file.save(STATE)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert {each.name for each in path.parent.iterdir()} == {"state.json", "state.json.lock"}


# ---- what is refused


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o700, 0o400, 0o4600])
def test_a_file_of_another_mode_is_refused(path: Path, mode: int) -> None:
    """What others could have read or written is not believed."""
    write(path, WRITTEN, mode)
    with pytest.raises(StateError, match=f"has mode {mode:04o} instead of 0600"):
        StateFile(path).load()


def altered(**values: object) -> bytes:
    """Return the file of STATE, with its checksum, but top fields replaced, or taken out where the value is None."""
    return encode({name: value for name, value in (fields() | values).items() if value is not None})


def session_with(**values: object) -> bytes:
    """Return the file of STATE with fields of its second session replaced."""
    sessions = fields()["sessions"]
    sessions[1] |= values
    return altered(sessions=sessions)


def version_1() -> bytes:
    """Return the file of STATE as the first version wrote it."""
    raw = fields()
    del raw["peer_uid"], raw["rolled_back"], raw["node_id"]
    for each in raw["sessions"]:
        del each["offered"]
    return json.dumps(raw | {"version": 1}).encode()


def test_a_file_of_the_first_version_is_read() -> None:
    """It names no NodePeer and does not say what was offered: all of it is taken as offered, so perhaps known to peers."""
    read = decode_state(version_1(), place="file")
    sessions = tuple(replace(each, offered=True) for each in STATE.sessions)
    assert read == replace(STATE, sessions=sessions, peer_uid="", node_id=0, rolled_back=0)


def test_a_file_of_the_version_before_is_read() -> None:
    """It does not say which nodeID the sessions are of, so they are of none that another NodePeer could have."""
    raw = fields()
    del raw["node_id"]
    assert decode_state(encode(raw | {"version": 3}), place="file") == replace(decode_state(WRITTEN, place="file"), node_id=0)


def ledger_twice() -> bytes:
    """Return the file of STATE with a generation listed twice."""
    ledger = fields()["ledger"]
    ledger["uid-3"] *= 2
    return altered(ledger=ledger)


MALFORMED: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "no JSON object"),
    "cut": (WRITTEN[:-9], "no JSON object"),
    "not text": (b"\xff\xfe", "no JSON object"),
    "a list": (b"[]", "no JSON object"),
    "deep": (b"[" * 100_000, "no JSON object"),
    "no version": (altered(version=None), "version.*missing"),
    "version of the future": (altered(version=5), "version 5 is not known"),
    "no checksum": (json.dumps(fields()).encode(), "the fields are not"),
    "checksum of the version before": (altered(version=2), "the fields are not"),
    "checksum as a number": (json.dumps({CHECKSUM: 0} | fields()).encode(), "checksum.*not that of the file"),
    "checksum at the end": (json.dumps(fields() | {CHECKSUM: "0" * 64}).encode(), "checksum.*not that of the file"),
    "written by hand": (json.dumps(json.loads(WRITTEN), indent=1).encode(), "not that of the file"),
    "version as text": (altered(version="1"), "version.*no whole number"),
    "a field too many": (altered(more=1), "the fields are not"),
    "a field too few": (altered(ledger=None), "the fields are not"),
    "a number as a flag": (altered(last_session=True), "last_session.*no whole number"),
    "a negative number": (altered(last_session=-1), "last_session.*no whole number"),
    "a fraction": (altered(last_session=5.0), "last_session.*no whole number"),
    "last below a session": (altered(last_session=4), "contradict"),
    "short private key": (session_with(private="00"), r"sessions\[1\].private.*not 32 bytes in hex"),
    "private key not hex": (session_with(private="zz" * 32), r"sessions\[1\].private.*possible values"),
    "private key of another X": (session_with(private="11" * 32), r"sessions\[1\].private.*not the key of this X"),
    "unknown algorithm": (session_with(algorithm="rot13"), r"sessions\[1\].algorithm.*possible values"),
    "published as text": (session_with(published="yes"), r"published.*neither true nor false"),
    "offered as text": (session_with(offered="yes"), r"offered.*neither true nor false"),
    "number as text": (session_with(number="5"), "number.*no whole number"),
    "two sessions of one number": (session_with(number=4), "contradict"),
    "uid as a number": (altered(node_uid=1), "node_uid.*no text"),
    "sessions as an object": (altered(sessions={}), "sessions.*no list"),
    "ledger as a list": (altered(ledger=[]), "ledger.*no mapping"),
    "a generation twice": (ledger_twice(), "stands there twice"),
}


@pytest.mark.K2
@pytest.mark.parametrize(("content", "reason"), MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_file_is_refused_without_showing_it(path: Path, content: bytes, reason: str) -> None:
    """The error names the file, the field and the reason; its whole chain has no byte of a key."""
    write(path, content)
    with pytest.raises(StateError, match=reason) as caught:
        StateFile(path).load()
    assert str(path) in str(caught.value)
    assert_hidden(chain_text(caught.value))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=70),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
TOP = tuple(fields())


@given(name=st.sampled_from(TOP), value=JSON)
def test_any_value_of_any_field_is_read_or_refused(name: str, value: object) -> None:
    """Whatever stands in a field gives a state that writes the same again, or a StateError."""
    content = altered(**{name: value})
    try:
        state = decode_state(content, place="file")
    except StateError:
        return
    assert decode_state(encode_state(state).reveal(), place="file") == state


@pytest.mark.parametrize(
    ("field", "value"),
    [("endpoints", ["192.0.2.300"]), ("pod_cidrs", ["10.1.0.1/24"]), ("endpoints", "192.0.2.1"), ("node_id", "17")],
)
def test_a_malformed_blocklist_is_refused(path: Path, field: str, value: object) -> None:
    """A list of pairs that cannot be read is an error: booting without it would not block."""
    save_blocklist(BLOCKLIST, path)
    raw = json.loads(path.read_bytes())
    del raw[CHECKSUM]
    raw["peers"][0][field] = value
    write(path, encode(raw))
    with pytest.raises(StateError, match=rf"peers\[0\].{field}"):
        load_blocklist(path)


# ---- one agent at a time


def test_two_agents_never_share_the_file(path: Path) -> None:
    """A second agent is refused at once while the first holds the lock, and gets it afterwards."""
    with open_state(path), pytest.raises(StateError, match="another agent holds it"), open_state(path):
        pass
    with open_state(path):
        pass


def test_a_killed_agent_gives_the_lock_back(path: Path) -> None:
    """The kernel frees the lock of a process that died by SIGKILL; while it lived, nobody else got it."""
    script = (
        "import sys, time, pathlib\n"
        "from wirecrypt.agent.store.statefile import open_state\n"
        "with open_state(pathlib.Path(sys.argv[1])):\n"
        "    print('held', flush=True)\n"
        "    time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(StateError, match="another agent holds it"), open_state(path):
            pass
        other.kill()
    with open_state(path):
        pass


def test_an_error_inside_the_block_is_not_taken_for_the_locks(path: Path) -> None:
    """What fails while the lock is held comes out as it is."""
    with pytest.raises(BlockingIOError), open_state(path):
        raise BlockingIOError


# ---- pure changes


def test_a_session_is_kept_published_and_emptied() -> None:
    """A session goes through its life under one number; the highest number stays remembered after it is gone."""
    made = changes.with_session(State("uid-1", "boot"), own(1, KEY, published=False))
    said = changes.published(made, {1})
    emptied = changes.without_keys(said, {1})
    gone = changes.without_sessions(emptied, {1})
    assert [made.sessions[0].published, said.sessions[0].published] == [False, True]
    assert (said.sessions[0].key, emptied.sessions[0].key) == (KEY, None)
    assert (gone.sessions, gone.last_session) == ((), 1)


@pytest.mark.K1
@pytest.mark.parametrize(
    "bad",
    [own(5, new_session_key()), own(4, OLD_KEY), own(3, new_session_key())],
    ids=["another X", "a destroyed key comes back", "a lower number"],
)
def test_a_number_is_never_used_twice(bad: OwnSession) -> None:
    """One number never gets two X, an old number no session, and a destroyed key stays destroyed."""
    with pytest.raises(StateError, match="used before"):
        changes.with_session(STATE, bad)


def test_a_session_holds_its_own_key_only() -> None:
    """A key that is not that of the published X cannot be kept with it."""
    with pytest.raises(StateError, match="not that of its X"):
        replace(own(1, KEY), key=OLD_KEY)


@pytest.mark.K1
def test_the_ledger_keeps_one_set_of_facts_per_generation() -> None:
    """Listing the same entry again changes nothing; the same generation with other facts is refused."""
    assert changes.with_ledger_entries(STATE, [(PEER, entry(5))]) == STATE
    with pytest.raises(StateError, match="other facts"):
        changes.with_ledger_entries(STATE, [(PEER, entry(5, lanes=4))])
    added = changes.with_ledger_entries(STATE, [("uid-4", entry(5))])
    assert added.entry("uid-4", Generation(3, 5, 9)) == entry(5)


@pytest.mark.K1
def test_an_entry_stays_while_its_session_key_lives() -> None:
    """A generation whose x exists could be created again, so its entry stays until the key is destroyed."""
    assert STATE.living(PEER) == {Generation(3, 5, 9)}
    with pytest.raises(StateError, match="still lives"):
        changes.without_ledger_entries(STATE, {PEER: {Generation(3, 5, 9)}})
    shorter = changes.without_ledger_entries(STATE, {PEER: {Generation(3, 4, 9)}})
    assert shorter.ledger[PEER] == {entry(5)}
    emptied = changes.without_ledger_entries(changes.without_keys(shorter, {5}), {PEER: {Generation(3, 5, 9)}})
    assert emptied.ledger == {"uid-3": frozenset({entry(5)})}


def test_node_keys_are_told_apart_by_number_and_id() -> None:
    """A number that came back with another id is another epoch, and keys stand in order."""
    again = NodeKey(Epoch(3, "cd" * 16), SHARE)
    first = NodeKey(Epoch(2, "ff" * 16), SHARE)
    state = changes.with_node_keys(STATE, [again, first])
    assert state.node_keys == (first, again)
    assert state.node_key(EPOCH) is None


@pytest.mark.K2
@pytest.mark.parametrize("form", [repr, str, lambda value: f"{value}"], ids=["repr", "str", "format"])
def test_no_text_form_of_a_state_shows_a_key(form: Callable[[object], str]) -> None:
    """A state, its encoded content and its parts print fingerprints in the place of keys."""
    shown = form(STATE) + form(encode_state(STATE)) + form(STATE.sessions[1]) + form(entry(5))
    for secret in SECRETS:
        assert repr(secret.reveal()[:8])[2:-1] not in shown
        assert secret.reveal().hex()[:16] not in shown
