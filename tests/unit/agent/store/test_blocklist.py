"""The list of pairs on disk, when it is damaged: kept aside, told, and made again from the API."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.unit.agent.cloud import Cloud, active
from wirecrypt.agent.store.blocklist import PairsOnDisk, load_blocklist, open_blocklist, save_blocklist
from wirecrypt.agent.store.state_fields import CHECKSUM, encode
from wirecrypt.errors import StateError


@pytest.fixture
def cloud(tmp_path: Path) -> Cloud:
    """Return nodes a and b, Active and encrypted."""
    return active(tmp_path, "a", "b")


def fields(path: Path) -> dict[str, Any]:
    """Return what a list on disk holds besides its checksum."""
    raw: dict[str, Any] = json.loads(path.read_bytes())
    del raw[CHECKSUM]
    return raw


def damage(path: Path, how: str) -> None:
    if how == "garbage":
        path.write_bytes(b"garbage")
    elif how == "version":
        path.write_bytes(encode({**fields(path), "version": 99}))
    elif how == "digit":
        path.write_bytes(path.read_bytes().replace(b'"10.', b'"11.'))
    elif how == "mode":
        path.chmod(0o644)
    else:
        path.rename(path.with_suffix(".real"))
        path.symlink_to(path.with_suffix(".real"))


@pytest.mark.parametrize("version", [1, 2])
def test_a_list_of_a_version_before_is_read(cloud: Cloud, version: int) -> None:
    """What an older agent wrote has its pairs, node→node in clear as it was then, and of the first version no farewell."""
    path = cloud.machines["a"].pairs
    now = load_blocklist(path)
    assert now is not None
    assert not now.exempt, "sealed by now"
    old = fields(path)
    for end in (old["own"], *old["peers"]):
        del end["addresses"]
    for end in old["peers"]:
        del end["exempt"]
    if version == 1:
        del old["leaving"]
    path.write_text(json.dumps({**old, "version": version}))
    assert load_blocklist(path) == replace(now, leaving=False, exempt=frozenset(p.node_uid for p in now.peers))


def test_a_list_without_a_checksum_is_read_and_gets_one(cloud: Cloud) -> None:
    """As the version before wrote it, with all that it says; the next change is written with a checksum."""
    path = cloud.machines["a"].pairs
    now = load_blocklist(path)
    assert now is not None
    path.write_text(json.dumps({**fields(path), "version": 3}))
    assert load_blocklist(path) == now
    save_blocklist(now, path)
    assert CHECKSUM in json.loads(path.read_bytes())


def test_one_changed_digit_or_letter_is_refused(cloud: Cloud) -> None:
    """Wherever it stands: another prefix would be blocked than the peer's, or a flag would be another."""
    path = cloud.machines["a"].pairs
    written = path.read_bytes()
    for at, byte in enumerate(written):
        for sign in {b"0", b"1", b"a", b"B"} - {bytes([byte])} if chr(byte).isalnum() else ():
            path.write_bytes(written[:at] + sign + written[at + 1 :])
            with pytest.raises(StateError):
                load_blocklist(path)


def test_what_is_exempt_is_read_as_it_was_written(cloud: Cloud) -> None:
    """A peer whose node→node is in clear stays so through a boot, another does not, and one that left is forgotten."""
    path = cloud.machines["a"].pairs
    now = load_blocklist(path)
    assert now is not None
    peer, other = now.peers[0], replace(now.peers[0], node_uid="uid-other")
    listed = now.with_peers([(peer, True), (other, False)])
    save_blocklist(listed, path)
    assert load_blocklist(path) == listed
    assert listed.exempt == {peer.node_uid}
    assert listed.with_peers([(peer, False)]).exempt == listed.without_peers(peer.node_uid).exempt == frozenset()


@pytest.mark.parametrize(
    ("leaving", "words"), [("yes", "neither true nor false"), (1, "neither true nor false"), (None, "missing")]
)
def test_a_farewell_that_is_none_is_not_read(cloud: Cloud, leaving: object, words: str) -> None:
    """Only true and false say whether the node was seen Leaving."""
    path = cloud.machines["a"].pairs
    path.write_bytes(encode({**fields(path), "leaving": leaving}))
    with pytest.raises(StateError, match=rf"leaving\): {words}"):
        load_blocklist(path)


@pytest.mark.parametrize("how", ["garbage", "version", "digit", "mode", "link"])
def test_a_list_that_cannot_be_read_is_kept_aside(cloud: Cloud, how: str) -> None:
    """It is logged with the reason and renamed; the list is empty; a second one does not take the first one's place."""
    path = cloud.machines["a"].pairs
    damage(path, how)
    content = path.read_bytes()
    with capture_logs() as said:
        assert open_blocklist(path) == (None, "")
    assert [entry["log_level"] for entry in said] == ["error"]
    aside = path.with_name(f"{path.name}.unreadable")
    assert (path.exists(), aside.read_bytes()) == (False, content)
    path.write_bytes(b"worse")
    assert open_blocklist(path) == (None, "")
    assert (aside.read_bytes(), aside.with_name(f"{aside.name}.1").read_bytes()) == (content, b"worse")


def test_a_list_that_cannot_even_be_kept_aside_is_told(tmp_path: Path) -> None:
    """Where the system refuses both, the agent goes on with an empty list and says so."""
    (tmp_path / "file").write_bytes(b"")
    pairs = PairsOnDisk(tmp_path / "file" / "pairs.json")
    assert (pairs.list, "Not a directory" in pairs.trouble) == (None, True)


@pytest.mark.L1
def test_after_a_boot_without_a_readable_list_the_api_says_what_to_block(cloud: Cloud) -> None:
    """The first pass blocks every pair whose ends are both Active; it is reported until a person removed the file."""
    a = cloud.machines["a"]
    a.pairs.write_bytes(b"garbage")
    a.boot()
    cloud.run(0.25, "a")
    assert a.kernel.out(cloud.peer("b")) == {"block"}
    cloud.run(20)
    assert a.kernel.out(cloud.peer("b")) == {"esp"}
    assert cloud.ready("a") == (False, "PairsUnreadable")
    assert load_blocklist(a.pairs) is not None
    a.pairs.with_name(f"{a.pairs.name}.unreadable").unlink()
    cloud.run(6)
    assert cloud.ready("a") == (True, "AllPeersProtected")


@pytest.mark.L1
def test_a_lost_list_is_no_farewell(cloud: Cloud) -> None:
    """A node whose list cannot be read, and that the API does not show, keeps what its kernel has."""
    a = cloud.machines["a"]
    a.pairs.write_bytes(b"garbage")
    cloud.api.nodes["a"] = replace(cloud.api.nodes["a"], label=None)
    cloud.remove("a")
    a.start()
    cloud.run(20, "a")
    assert a.kernel.out(cloud.peer("b")) == {"esp"}
    assert (a.filters.loaded(), a.store.kept is not None) == (True, True)


@pytest.mark.L1
def test_a_list_that_cannot_be_written_does_not_keep_a_pair_from_being_blocked(cloud: Cloud) -> None:
    """The pair is blocked and then encrypted, though not ready; the refusal is reported."""
    a = cloud.machines["a"]
    a.pairs.unlink()
    a.pairs = a.pairs.parent / "nowhere" / "pairs.json"
    a.boot()
    cloud.run(0.25, "a")
    assert a.kernel.out(cloud.peer("b")) == {"block"}
    cloud.run(10)
    assert a.kernel.out(cloud.peer("b")) == {"esp"}
    assert cloud.ready("a") == (False, "PairsNotWritten")
