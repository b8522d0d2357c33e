"""What kernels listed after iproute2's commands decodes to the values that we would write, and the rest to none."""

import json
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from wirecrypt.kernel.xfrm import policy as xfrm_policy
from wirecrypt.kernel.xfrm import sa as xfrm_state
from wirecrypt.kernel.xfrm.wire import Foreign, attribute
from wirecrypt.model.mark import Mark
from wirecrypt.model.secret import SecretBytes
from wirecrypt.model.xfrm import (
    Algorithm,
    Direction,
    Policy,
    PolicyAction,
    PolicyKey,
    Sa,
    SaEntry,
    SaKey,
    SaLimits,
    SaUsage,
    Selector,
    Template,
)

KEY = SecretBytes(bytes(range(36)))
A4, B4 = ip_address("192.0.2.11"), ip_address("192.0.2.12")
A6, B6 = ip_address("fd00:2::11"), ip_address("fd00:2::12")
FROM = Selector(ip_network("0.0.0.0/0"), ip_network("10.2.0.0/24"))
FROM6 = Selector(ip_network("fd00:11::/64"), ip_network("fd00:12::/64"))
TMPL = Template(A4, B4, spi=0x04100010, reqid=0x04100010)
TMPL6 = Template(A6, B6, spi=0x04100011, reqid=0x04100010)
GCM_SA = Sa(
    src=A4,
    dst=B4,
    spi=0x04100010,
    reqid=0x04100010,
    algorithm=Algorithm.AES_256_GCM,
    key=KEY,
    set_mark=Mark(0x08000000, 0x0FF00000),
)
CHACHA_SA = Sa(
    src=A6,
    dst=B6,
    spi=0x04100011,
    reqid=0x04100010,
    algorithm=Algorithm.CHACHA20_POLY1305,
    key=KEY,
    limits=SaLimits(1000, 2000, 30, 40),
)
OURS = {
    "sa-v4-gcm-mark": SaEntry(GCM_SA, SaUsage(0, 0, 0)),
    "sa-v6-chacha-limits": SaEntry(CHACHA_SA, SaUsage(0, 0, 0)),
    "policy-out-mark": Policy(Direction.OUT, FROM, 22300, templates=(TMPL,), mark=Mark(0x01000000, 0x0FF00000)),
    "policy-in-use": Policy(Direction.IN, FROM6, 22300, templates=(Template(A4, B4, optional=True),)),
    "policy-fwd-6in6": Policy(Direction.FWD, FROM6, 22300, templates=(TMPL6,)),
    "policy-block": Policy(Direction.OUT, FROM, 22300, PolicyAction.BLOCK, (TMPL,)),
}
WHY = {
    "sa-foreign-ah": "the protocol is ah, not esp",
    "sa-foreign-transport": "the mode is not tunnel",
    "sa-foreign-cbc": "has attributes [1, 2, 20] that wirecrypt never sets",
    "sa-foreign-encap": "has attributes [4] that wirecrypt never sets",
    "sa-foreign-if-id": "has attributes [31] that wirecrypt never sets",
    "sa-foreign-extra-flag": "has attributes [24] that wirecrypt never sets",
    "sa-foreign-flags": "has flags 0xa4, not esn and af-unspec",
    "sa-foreign-no-esn": "has flags 0x20, not esn and af-unspec",
    "sa-foreign-time": "has a time limit",
    "sa-foreign-selector": "has a selector",
    "sa-foreign-icv": "the ICV has 96 bits",
    "sa-foreign-short-key": "the key has 160 bits",
    "sa-foreign-mark": "has attributes [21] that wirecrypt never sets",
    "policy-foreign-transport": "a template is not an ESP tunnel",
    "policy-foreign-ah": "a template is not an ESP tunnel",
    "policy-foreign-if-id": "has attributes [31] that wirecrypt never sets",
    "policy-foreign-link": "selects a link or a user",
    "policy-foreign-limit": "has a time limit",
    "policy-foreign-flag": "has flags or is shared",
}
FILES = sorted((Path(__file__).parents[3] / "vectors" / "xfrm").glob("answers-*.json"))
VECTORS = [
    pytest.param(v["name"], bytes.fromhex(v["hex"]), id=f"{document['source']}-{v['name']}")
    for document in (json.loads(file.read_text()) for file in FILES)
    for v in document["vectors"]
]


@pytest.mark.parametrize(("name", "listed"), VECTORS)
def test_listed_object_decodes(name: str, listed: bytes) -> None:
    """An object is equal to the value that writes it, or foreign with the reason."""
    found = (xfrm_state if name.startswith("sa-") else xfrm_policy).decode(listed)
    if name in OURS:
        assert found == OURS[name]
    else:
        assert isinstance(found, Foreign)
        assert found.why == WHY[name]
        assert KEY.reveal().hex() not in str(found)


def test_both_kernels_were_asked() -> None:
    """There are answers of the oldest and of the newest kernel, and each kind of object is among them."""
    assert [f.name for f in FILES] == ["answers-6.1.json", "answers-7.2.json"]
    assert {param.values[0] for param in VECTORS} == OURS.keys() | WHY.keys()


def test_foreign_object_is_named() -> None:
    """What is foreign is described so that a person finds it in `ip xfrm`."""
    listed = {param.values[0]: param.values[1] for param in VECTORS}
    state = xfrm_state.decode(listed["sa-foreign-ah"])
    policy = xfrm_policy.decode(listed["policy-foreign-if-id"])
    assert str(state).startswith("state to 192.0.2.12 proto ah spi 0x04100010: ")
    assert str(policy).startswith("policy out 0.0.0.0/0 → 10.2.0.0/24 priority 0: ")


NAME = PolicyKey(Direction.OUT, FROM)
REPLACED = {
    "policy-foreign-transport": NAME,
    "policy-foreign-ah": NAME,
    "policy-foreign-if-id": None,
    "policy-foreign-link": None,
    "policy-foreign-limit": NAME,
    "policy-foreign-flag": NAME,
}


@pytest.mark.C3
@pytest.mark.parametrize(("name", "listed"), [p for p in VECTORS if p.values[0].startswith("policy-foreign")])
def test_foreign_policy_has_the_name_of_the_one_that_would_replace_it(name: str, listed: bytes) -> None:
    """Direction, selector and mark are read of foreign ones too; with an interface ID ours would stand next to it."""
    found = xfrm_policy.decode(listed)
    assert isinstance(found, Foreign)
    assert found.name == REPLACED[name]


@pytest.mark.C3
@pytest.mark.parametrize(("kind", "value"), [(16, b"\x01\0\0\0\0\0"), (8, b"\x0c\0\0\0\x01\x01\x04\0wide")])
def test_a_sub_policy_and_one_with_a_security_context_stand_beside_ours(kind: int, value: bytes) -> None:
    """The kernel tells them from ours, so they are in nobody's way."""
    ours = Policy(Direction.OUT, FROM, 22300, PolicyAction.BLOCK)
    found = xfrm_policy.decode(xfrm_policy.update(ours).payload + attribute(kind, value))
    assert isinstance(found, Foreign)
    assert found.name is None


@pytest.mark.parametrize("hard", [False, True])
def test_expire_names_the_state(hard: bool) -> None:  # noqa: FBT001 - a test's parameter
    """An expire event (a state's head, then the flag "hard") gives the state's name and whether it was hard."""
    head = xfrm_state.add(CHACHA_SA).payload[:224]
    assert xfrm_state.decode_expire(head + bytes([hard]) + bytes(7)) == (SaKey(B6, 0x04100011), hard)


def test_a_policy_that_a_dump_shows_again_is_the_same_value(monkeypatch: pytest.MonkeyPatch) -> None:
    """However often it was used meanwhile; one that was replaced is decoded anew, and one that is gone is not kept."""
    asked: list[bytes] = []
    decode = xfrm_policy.decode
    monkeypatch.setattr(xfrm_policy, "decode", lambda payload: asked.append(payload) or decode(payload))
    policies = [p.values[1] for p in VECTORS if str(p.values[0]).startswith("policy-")]
    listed = [*{payload[:120] + payload[152:]: payload for payload in policies}.values()]
    decoder = xfrm_policy.Decoder()
    first = decoder.all(listed)
    assert first == [decode(payload) for payload in listed]
    used = [payload[:120] + bytes(range(1, 33)) + payload[152:] for payload in listed]
    again = decoder.all(used)
    assert all(one is other for one, other in zip(first, again, strict=True))
    assert asked == listed
    for position in (*range(120), *range(152, 168), *range(172, 236)):  # selector, limits, priority, direction, template
        changed = bytearray(listed[0])
        changed[position] ^= 1
        decoder.all([bytes(changed)])
        assert asked[-1] == bytes(changed)
    decoder.all([])
    decoder.all(listed[:1])
    assert asked[-1] == listed[0]


def test_sequence_number_has_64_bits() -> None:
    """Usage counts bytes and packets, and puts the halves of the extended sequence number together."""
    request = bytearray(xfrm_state.add(GCM_SA).payload)
    counters = request.index((4096).to_bytes(4, "little"), 224) - 20
    request[counters + 4 : counters + 20] = b"".join(n.to_bytes(4, "little") for n in (5, 0, 7, 0))
    request[160:176] = (1500).to_bytes(8, "little") + (3).to_bytes(8, "little")
    entry = xfrm_state.decode(bytes(request))
    assert isinstance(entry, SaEntry)
    assert entry.usage == SaUsage(bytes=1500, packets=3, sequence=7 << 32 | 5)
