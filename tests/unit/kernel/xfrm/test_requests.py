"""Our requests are, byte for byte, those that iproute2 sends for the same thing."""

import inspect
import json
import pkgutil
import struct
from collections.abc import Callable
from importlib import import_module
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import get_type_hints

import pytest

from wirecrypt.kernel import xfrm
from wirecrypt.kernel.xfrm import policy, sa
from wirecrypt.kernel.xfrm.wire import Request
from wirecrypt.model.mark import Mark
from wirecrypt.model.secret import SecretBytes
from wirecrypt.model.xfrm import (
    Algorithm,
    Direction,
    Policy,
    PolicyAction,
    PolicyKey,
    Sa,
    SaKey,
    SaLimits,
    Selector,
    Template,
)

VECTORS = json.loads((Path(__file__).parents[3] / "vectors" / "xfrm" / "requests.json").read_text())["vectors"]
KEY = SecretBytes(bytes(range(36)))
A4, B4 = ip_address("192.0.2.11"), ip_address("192.0.2.12")
A6, B6 = ip_address("fd00:2::11"), ip_address("fd00:2::12")
SPI4, SPI6 = 0x04100010, 0x04100011
FROM = Selector(ip_network("0.0.0.0/0"), ip_network("10.2.0.0/24"))
FROM6 = Selector(ip_network("fd00:11::/64"), ip_network("fd00:12::/64"))
CONTROL = Selector(ip_network("192.0.2.12/32"), ip_network("192.0.2.11/32"), proto=17, dport=4790)
POD = Mark(0x01000000, 0x0FF00000)
DECRYPTED = Mark(0x08000000, 0x0FF00000)
TMPL = Template(A4, B4, spi=SPI4, reqid=SPI4)
TMPL6 = Template(A6, B6, spi=SPI6, reqid=SPI4)


def gcm(**more: object) -> Sa:
    return Sa(src=A4, dst=B4, spi=SPI4, reqid=SPI4, algorithm=Algorithm.AES_256_GCM, key=KEY, **more)


def chacha(**more: object) -> Sa:
    return Sa(src=A6, dst=B6, spi=SPI6, reqid=SPI4, algorithm=Algorithm.CHACHA20_POLY1305, key=KEY, **more)


def out(selector: Selector, *templates: Template, **more: object) -> Policy:
    return Policy(Direction.OUT, selector, 22300, templates=templates, **more)


UPDATED = Sa(src=A4, dst=B4, spi=SPI4, reqid=SPI4, algorithm=Algorithm.CHACHA20_POLY1305, key=KEY, set_mark=DECRYPTED)
CALLS: dict[str, tuple[Callable[..., Request], *tuple[object, ...]]] = {
    "sa-add-v4-gcm": (sa.add, gcm()),
    "sa-add-v6-chacha": (sa.add, chacha()),
    "sa-add-mark": (sa.add, gcm(set_mark=DECRYPTED)),
    "sa-add-limits": (sa.add, chacha(limits=SaLimits(1000, 2000, 30, 40))),
    "sa-update": (sa.update, UPDATED),
    "sa-delete-v4": (sa.delete, SaKey(B4, SPI4)),
    "sa-delete-v6": (sa.delete, SaKey(B6, SPI6)),
    "sa-get-v4": (sa.get, SaKey(B4, SPI4)),
    "sa-get-v6": (sa.get, SaKey(B6, SPI6)),
    "sa-dump": (sa.dump,),
    "policy-add-out": (policy.add, out(FROM, TMPL)),
    "policy-update-out-mark": (policy.update, out(FROM, TMPL, mark=POD)),
    "policy-update-out-mixed": (policy.update, out(FROM6, TMPL)),
    "policy-update-out-4in6": (policy.update, out(FROM, TMPL6)),
    "policy-update-block": (policy.update, out(FROM, TMPL, verdict=PolicyAction.BLOCK)),
    "policy-update-bare-block": (policy.update, out(FROM6, verdict=PolicyAction.BLOCK)),
    "policy-update-in-use": (
        policy.update,
        Policy(Direction.IN, FROM6, 22300, templates=(Template(A4, B4, optional=True),)),
    ),
    "policy-update-fwd": (policy.update, Policy(Direction.FWD, FROM6, 22300, templates=(TMPL6,))),
    "policy-update-control": (policy.update, Policy(Direction.OUT, CONTROL, 22288, templates=(TMPL,), mark=POD)),
    "policy-delete": (policy.delete, PolicyKey(Direction.OUT, FROM)),
    "policy-delete-mark": (policy.delete, PolicyKey(Direction.IN, FROM6, POD)),
    "policy-get": (policy.get, PolicyKey(Direction.OUT, FROM)),
    "policy-get-mark": (policy.get, PolicyKey(Direction.FWD, FROM6, POD)),
    "policy-dump": (policy.dump,),
    "thresholds-set": (policy.set_thresholds, (0, 24, 0, 64)),
    "thresholds-get": (policy.get_thresholds,),
}
MODULES = [import_module(m.name) for m in pkgutil.iter_modules(xfrm.__path__, f"{xfrm.__name__}.")]


def encoders() -> set[Callable[..., Request]]:
    """Return every public function of the XFRM modules that makes a request."""
    own = [f for m in MODULES for _, f in inspect.getmembers(m, inspect.isfunction) if f.__module__ == m.__name__]
    return {f for f in own if not f.__name__.startswith("_") and get_type_hints(f).get("return") is Request}


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: v["name"])
def test_request_is_iproute2s(vector: dict[str, str]) -> None:
    """Type, flags and every byte of the payload are equal; sequence number and port differ per run."""
    golden = bytes.fromhex(vector["hex"])
    length, kind, flags = struct.unpack_from("=IHH", golden)
    encode, *what = CALLS[vector["name"]]
    ours = encode(*what)
    assert (ours.type, ours.flags, ours.payload.hex()) == (kind, flags, golden[16:].hex())
    assert length == len(golden)


def test_every_encoder_has_a_vector() -> None:
    """No function that makes a request is without a golden vector, and no vector without a call that makes it."""
    assert {v["name"] for v in VECTORS} == set(CALLS)
    assert {encode.__name__ for encode in encoders() - {call[0] for call in CALLS.values()}} == set()
    assert len(encoders()) > 8


def test_request_has_no_text_form_of_its_payload() -> None:
    """A request that ends up in a log or a traceback shows no key."""
    shown = repr(sa.add(gcm()))
    assert KEY.reveal().hex() not in shown
    assert str(KEY.reveal()[:4])[2:-1] not in shown
