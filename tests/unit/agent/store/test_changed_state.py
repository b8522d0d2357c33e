"""A state file in which something was changed: refused, kept aside without its keys, and never shown."""

from __future__ import annotations

import json
import os
import stat
import string
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from tests.unit.agent.written_state import KEY, SECRETS, STATE, WRITTEN, assert_hidden, chain_text, fields, write
from wirecrypt.agent.store.state_fields import CHECKSUM
from wirecrypt.agent.store.statefile import StateFile, decode_state, encode_state, open_state
from wirecrypt.errors import StateError

OTHER_BYTES = st.tuples(st.integers(0, len(WRITTEN) - 1), st.integers(0, 255)).filter(
    lambda found: WRITTEN[found[0]] != found[1]
)
SIGNS = [at for at, byte in enumerate(WRITTEN) if chr(byte).isalnum()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.json"


def assert_refused(content: bytes) -> None:
    with pytest.raises(StateError) as caught:
        decode_state(content, place="file")
    assert_hidden(chain_text(caught.value))


@pytest.mark.K2
@given(changed=OTHER_BYTES)
def test_one_changed_byte_is_refused(changed: tuple[int, int]) -> None:
    """A damaged file gives a StateError that shows no key, never a state or another exception."""
    at, byte = changed
    assert_refused(WRITTEN[:at] + bytes([byte]) + WRITTEN[at + 1 :])


@pytest.mark.K1
@given(at=st.sampled_from(SIGNS), sign=st.sampled_from(string.ascii_letters + string.digits))
def test_one_changed_digit_or_letter_is_refused(at: int, sign: str) -> None:
    """Also where the file is as good JSON as before: another key, number or node would be taken for what was written."""
    assume(WRITTEN[at] != ord(sign))
    assert_refused(WRITTEN[:at] + sign.encode() + WRITTEN[at + 1 :])


@pytest.mark.K1
@given(first=OTHER_BYTES, second=OTHER_BYTES)
def test_two_changed_bytes_are_refused(first: tuple[int, int], second: tuple[int, int]) -> None:
    """One change does not undo what the other one gives away."""
    content = bytearray(WRITTEN)
    for at, byte in (first, second):
        content[at] = byte
    assert_refused(bytes(content))


@pytest.mark.K1
def test_no_digit_of_a_key_can_be_changed_unseen() -> None:
    """Each digit of each key of the file: those that are private, which nothing else in it speaks for, and those of peers."""
    keys = [secret.reveal().hex() for secret in SECRETS[:1] + SECRETS[2:]] + [KEY.public.hex(), bytes(32).hex()]
    for key in keys:
        start = WRITTEN.index(key.encode())
        for at in range(start, start + len(key)):
            changed = WRITTEN[:at] + (b"1" if WRITTEN[at : at + 1] != b"1" else b"2") + WRITTEN[at + 1 :]
            with pytest.raises(StateError, match=r"checksum\): not that of the file"):
                decode_state(changed, place="file")


# ---- what has no checksum yet


def version_2() -> bytes:
    """Return the file of STATE as the version before wrote it: without a checksum."""
    raw = fields()
    del raw["node_id"]
    return json.dumps(raw | {"version": 2}).encode()


def test_a_file_without_a_checksum_is_read_and_gets_one(path: Path) -> None:
    """An agent that is replaced by a newer one loses no session by it; from the next write on a change is noticed."""
    write(path, version_2())
    with open_state(path) as file:
        loaded = file.load()
        sessions = tuple(replace(each, offered=False) for each in STATE.sessions)
        assert loaded == replace(STATE, sessions=sessions, node_id=0)
        assert CHECKSUM not in json.loads(path.read_bytes())
        file.save(loaded)
        assert file.load() == loaded
    assert path.read_bytes() == encode_state(replace(STATE, node_id=0)).reveal()
    assert json.loads(path.read_bytes()).keys() == fields().keys() | {CHECKSUM}


# ---- what is kept of it


def test_a_file_that_cannot_be_read_is_kept_aside(path: Path) -> None:
    """For a person to look at: with its owner and time, for its user alone, and the newest only. Nothing of it is logged."""
    with capture_logs() as said, open_state(path) as file:
        for problem, content in (("older", b"x" * 9), ("newer", WRITTEN[:-20] + b"7" * 20)):
            write(path, content, 0o644 if problem == "newer" else 0o600)
            os.utime(path, (5, 5))
            with pytest.raises(StateError):
                file.load()
            assert file.load() is None
    kept = path.with_name("state.json.unreadable")
    assert {each.name for each in path.parent.iterdir()} == {"state.json.lock", kept.name}
    assert (kept.stat().st_size, kept.stat().st_mtime) == (len(WRITTEN), 5)
    assert (stat.S_IMODE(kept.stat().st_mode), kept.stat().st_uid) == (0o600, os.geteuid())
    assert said == []


@pytest.mark.K2
def test_what_is_kept_aside_holds_no_key(path: Path) -> None:
    """A private key is destroyed with its session: it must not go on in a file that waits for a person."""
    write(path, WRITTEN[:-1])
    with pytest.raises(StateError):
        StateFile(path).load()
    kept = path.with_name("state.json.unreadable").read_bytes()
    assert set(kept) & set(b"123456789abcdefABCDEF") == set()
    assert kept.startswith(b'{"0h00ksum":"')


def test_a_link_in_the_place_of_the_file_is_kept_aside_alone(path: Path) -> None:
    """What it leads to, or what has the same content under another name, is no file of the agent's and is not written into."""
    target = path.with_name("target")
    for link in (path.symlink_to, path.hardlink_to):
        write(target, b"12")
        link(target)
        with pytest.raises(StateError):
            StateFile(path).load()
        assert not os.path.lexists(path)
        assert target.read_bytes() == path.with_name("state.json.unreadable").read_bytes() == b"12"


def test_a_file_that_cannot_be_kept_aside_is_told(path: Path) -> None:
    """Its error is that of reading, as without; the log says why it stands where it stood."""
    write(path, b"bad")
    path.with_name("state.json.unreadable").mkdir()
    with capture_logs() as said, pytest.raises(StateError, match="no JSON object"):
        StateFile(path).load()
    assert [(line["event"], line["path"]) for line in said] == [("file not kept aside", str(path))]
    assert path.read_bytes() == b"000"


def test_nothing_is_kept_of_a_node_that_left(path: Path) -> None:
    """Neither the file nor one that was kept aside."""
    write(path, b"bad")
    with open_state(path) as file:
        with pytest.raises(StateError):
            file.load()
        file.save(STATE)
        file.remove()
    assert [each.name for each in path.parent.iterdir()] == ["state.json.lock"]
