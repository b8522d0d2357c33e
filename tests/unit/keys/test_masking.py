"""Key bytes never become text: in no form of a key object, nor in an error (K2 at the level of one process)."""

from __future__ import annotations

import copy
import pickle
import traceback
from collections.abc import Callable

import pytest

from wirecrypt.errors import WirecryptError
from wirecrypt.keys import KeyEnd, SessionKey, Terms, new_seed, new_session_key, pair_keys, pair_secret, seal, share
from wirecrypt.keys.datagram import ControlMessage, DatagramKind
from wirecrypt.model.secret import SecretBytes
from wirecrypt.model.session import Announcement, Epoch, Generation
from wirecrypt.model.xfrm import Algorithm

pytestmark = pytest.mark.K2

LOW, HIGH, SEED = new_session_key(), new_session_key(), new_seed()
ENDS = KeyEnd(16, "a", 1, LOW.public), KeyEnd(17, "b", 1, HIGH.public)
TERMS = Terms.of(Epoch(1, "00" * 16), Algorithm.AES_256_GCM, *ENDS)
SHARE = share(SEED, "a")
SALT = pair_secret(SHARE, "b")
PAIR = pair_keys(TERMS, LOW, SALT)

OBJECTS: dict[str, tuple[object, list[SecretBytes]]] = {
    "seed": (SEED, [SEED]),
    "share": (SHARE, [SHARE]),
    "pair secret": (SALT, [SALT]),
    "session key": (LOW, [LOW.store()]),
    "pair keys": (PAIR, [LOW.store(), SALT, LOW.agree(HIGH.public)]),
    "traffic key": (PAIR.traffic_key("lo", 0), [PAIR.traffic_key("lo", 0)]),
    "control key": (PAIR.control_key("lo"), [PAIR.control_key("lo")]),
}


def forms(secret: SecretBytes) -> list[str]:
    """Return every text in which 8 bytes of a key would show: hex, Python's bytes, a list of numbers, base 10."""
    raw = secret.reveal()[:8]
    return [raw.hex(), repr(raw)[2:-1], ", ".join(map(str, raw)), str(int.from_bytes(raw, "big"))]


def assert_hidden(text: str, secrets: list[SecretBytes]) -> None:
    for secret in secrets:
        assert not [form for form in forms(secret) if form.lower() in text.lower()]


@pytest.mark.parametrize(("value", "secrets"), OBJECTS.values(), ids=OBJECTS.keys())
@pytest.mark.parametrize("spec", ["", "s", "x", ">100"])
def test_no_text_form_shows_a_key(value: object, secrets: list[SecretBytes], spec: str) -> None:
    """repr, str, format and the % operator give fingerprints only."""
    texts = [repr(value), str(value), repr([value]), "%s %r" % (value, value), ascii(value)]  # noqa: UP031  # as old loggers do
    if isinstance(value, SecretBytes) or not spec:
        texts.append(f"{value:{spec}}")
    for text in texts:
        assert_hidden(text, secrets)


@pytest.mark.parametrize(("value", "secrets"), OBJECTS.values(), ids=OBJECTS.keys())
@pytest.mark.parametrize("way", [pickle.dumps, copy.deepcopy], ids=["pickle", "deepcopy"])
def test_a_key_is_never_pickled(value: object, secrets: list[SecretBytes], way: Callable[[object], object]) -> None:
    """Pickling fails, also inside other objects, and the failure does not show the key."""
    with pytest.raises(TypeError, match="never pickled") as caught:
        way([value])
    assert_hidden(str(caught.value), secrets)


LONG = SecretBytes(SEED.reveal() + b"\x01")
PROBE = ControlMessage(DatagramKind.PROBE, Generation(1, 1, 1), 0, bytes(16), Announcement(frozenset(), None, 1))
FAILURES: dict[str, Callable[[], object]] = {
    "seed": lambda: share(LONG, "a"),
    "share": lambda: pair_secret(LONG, "b"),
    "session key": lambda: SessionKey.load(LONG),
    "pair secret": lambda: pair_keys(TERMS, LOW, LONG),
    "foreign session key": lambda: pair_keys(TERMS, SessionKey.load(SEED), SALT),
    "small order": lambda: SessionKey.load(SEED).agree(bytes(32)),
    "control key": lambda: seal(PROBE, LONG),
}


@pytest.mark.parametrize("call", FAILURES.values(), ids=FAILURES.keys())
def test_no_error_shows_a_key(call: Callable[[], object]) -> None:
    """The text, the arguments, the attributes and the printed chain of an error never carry key bytes."""
    with pytest.raises(WirecryptError) as caught:
        call()
    error = caught.value
    chain = "".join(traceback.format_exception(error))
    assert_hidden(chain + repr(error) + repr(error.args) + repr(vars(error)), [SEED, LONG, SALT, LOW.store()])


def test_equal_keys_are_told_by_their_fingerprints() -> None:
    """Two objects of one key show the same fingerprint, those of another show another."""
    again = SessionKey.load(LOW.store())
    assert again == LOW
    assert repr(again) == repr(LOW) != repr(HIGH)
