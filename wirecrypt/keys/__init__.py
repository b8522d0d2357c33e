"""Only home of cryptography.

Node-key shares, sessions, traffic and control keys. Pure; no file, no socket, no object of the API.

How facts become bytes is said in `encoding`; what is derived from what in `nodekey` (node keys, pair secrets) and
`derive` (traffic and control keys); the datagram's layout in `datagram` and its MAC in `control`.
"""

from wirecrypt.keys.control import open_, seal
from wirecrypt.keys.datagram import ControlMessage, DatagramKind
from wirecrypt.keys.derive import KeyEnd, PairKeys, Terms, pair_keys
from wirecrypt.keys.encoding import frames
from wirecrypt.keys.nodekey import new_seed, pair_secret, share, shares
from wirecrypt.keys.sessionkey import SessionKey, new_session_key

__all__ = [
    "ControlMessage",
    "DatagramKind",
    "KeyEnd",
    "PairKeys",
    "SessionKey",
    "Terms",
    "frames",
    "new_seed",
    "new_session_key",
    "open_",
    "pair_keys",
    "pair_secret",
    "seal",
    "share",
    "shares",
]
