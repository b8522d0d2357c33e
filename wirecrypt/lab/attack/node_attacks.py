"""A third node that is enabled itself, with all rights on it: it wants to speak, or to hear, for another node.

Its own pairs are its own: what it may do there is no attack.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from ipaddress import ip_address
from typing import Any, Final

from wirecrypt.errors import ClusterError, WirecryptError
from wirecrypt.lab import operations
from wirecrypt.lab.attack import packets
from wirecrypt.lab.attack.ground import FAMILIES, FREE, OUTSIDE, OWN, PEER, THIRD, UNKNOWN, Ground, Markers, moved
from wirecrypt.lab.attack.scoreboard import Attack, Outcome
from wirecrypt.lab.attack.wire_attacks import SPI, WRONG
from wirecrypt.lab.kube.api_client import LabApi
from wirecrypt.lab.kube.volumes import ACCOUNT_PATH
from wirecrypt.lab.waiting import DEADLINE, until

NODE: Final = "third node, enabled"
NODE_PEERS: Final = f"{operations.GROUP}/nodepeers"
CLAIM: Final = "attacked"  # link that holds what is claimed
KEYS: Final = "/api/v1/namespaces/wirecrypt-keys/secrets"
SEEDS: Final = "/api/v1/namespaces/wirecrypt-system/secrets"
ACCOUNTS: Final = "/api/v1/namespaces/wirecrypt-keys/serviceaccounts"
_REFUSED: Final = re.compile("forbidden|denied", re.IGNORECASE)
Try = Callable[[], object]
Write = tuple[str, dict[str, Any]]  # path, and what is merged into it


def inside_own_sa(whom: str, ground: Ground) -> Outcome:
    """Send packets of another node and its pods inside the own SA, to pod or node: none is delivered, the own ones are."""
    place = f"pod/{OWN}/a" if whom == "pod" else OWN
    own, peer, third = ground.aim(OWN), ground.aim(PEER), ground.aim(THIRD)
    targets = own.pods if whom == "pod" else own.nodes
    ears, tried, control = ground.ears(place), ground.hidden(), Markers()
    forged = [
        packets.udp(source, targets[f], tried())
        for f in FAMILIES
        for source in (peer.pods[f], peer.nodes[f], UNKNOWN[f], OUTSIDE[f])
    ]

    def count() -> int:
        return ground.stat(OWN, "XfrmInTmplMismatch", "XfrmInNoPols") + ground.guard(OWN, "ingress_wrong_sender")

    before = count()
    _send(ground, forged)
    refusals = moved(count, before, len(forged))
    _send(ground, [packets.udp(source[f], targets[f], control()) for f in FAMILIES for source in (third.pods, third.nodes)])
    heard, arrived = ears.wait(control.made), ears.heard(tried.made)
    readable = ground.readable([*tried.made, *control.made])
    fell = f"{len(arrived)} of {len(forged)} forged packets were delivered" if arrived else ""
    evidence = (
        f"{len(forged)} forged, {refusals} refused, {len(arrived)} delivered; in its own name {heard} of {len(control.made)}; "
        f"all of it in ESP: {not readable}"
    )
    return Outcome(heard == len(control.made) and refusals >= len(forged) and not readable, evidence, fell)


def _send(ground: Ground, found: list[bytes]) -> None:
    """Send packets from the third node with whatever source they have; its own policies put them into its SA."""
    ground.python(THIRD, _RAW, *(packet.hex() for packet in found))


def foreign_spi(ground: Ground) -> Outcome:
    """Take its own ESP and put another node's SPI in, as itself and as that node: refused."""
    own, peer, third, mark = ground.aim(OWN), ground.aim(PEER), ground.aim(THIRD), Markers()
    since = ground.lab.time()
    _send(ground, [packets.udp(third.nodes[4], own.pods[4], mark())])
    ears = ground.ears(f"pod/{OWN}/a")
    heard = ears.wait(mark.made)
    mine = [p for p in ground.esp_to(OWN, since) if p[12:16] == ip_address(third.nodes[4]).packed]
    spi = ground.spi(PEER, OWN).to_bytes(4, "big")
    changed = [packet[: SPI.start] + spi + packet[SPI.stop :] for packet in mine]
    found = [
        packets.ipv4(source, own.nodes[4], packets.ESP, p[20:]) for p in changed for source in (third.nodes[4], peer.nodes[4])
    ]

    def count() -> int:
        return ground.stat(OWN, *WRONG) + ground.guard(OWN, "ingress_")

    before = count()
    ground.inject(OWN, *found)
    refused = moved(count, before, len(found))
    again = len(ears.heard(mark.made))
    fell = f"delivered {again} times" if again > 1 else ""
    return Outcome(heard == 1 and bool(found) and refused >= len(found), f"{len(found)} packets, {refused} refused", fell)


def agent_api(ground: Ground) -> LabApi:
    """Return the API as the third node's agent sees it, by the token in its container."""
    token = ground.lab.kubelet.pod("wirecrypt-agent", THIRD).exec(["cat", f"{ACCOUNT_PATH}/token"]).stdout.strip()
    return ground.lab.api.as_user(token)


def refused(api: LabApi, writes: list[Write], allowed: Write) -> Outcome:
    """Patch what must be refused; the control is a patch that is allowed, tried without effect."""
    return forbidden({f"{path} {body}": partial(api.patch, f"{path}?dryRun=All", body) for path, body in writes},
                     partial(api.patch, f"{allowed[0]}?dryRun=All", allowed[1]))  # fmt: skip


def forbidden(tries: Mapping[str, Try], allowed: Try) -> Outcome:
    """Try what must be refused because it is not this user's; the control is something that is."""
    answers = {name: _answer(attempt) for name, attempt in tries.items()}
    accepted = [name for name, answer in answers.items() if not answer]
    unclear = [f"{name}: {answer}" for name, answer in answers.items() if answer and not _REFUSED.search(answer)]
    control = not _answer(allowed)
    remarks = "".join(f"; not refused but: {text}" for text in unclear)
    evidence = f"{len(tries)} tries, {len(tries) - len(accepted)} refused; what it may do is accepted: {control}{remarks}"
    return Outcome(control and not unclear, evidence, f"accepted: {'; '.join(accepted)}" if accepted else "")


def _answer(attempt: Try) -> str:
    """Return why the API server refuses, empty when it does not."""
    try:
        attempt()
    except ClusterError as error:
        return str(error)
    return ""


def other_status(ground: Ground) -> Outcome:
    """Write sessions, addresses and status of another node with its agent's token."""
    nodes = f"{operations.GROUP}/encryptednodes"
    session: dict[str, Any] = {"status": {"lastSession": 99}}
    writes: list[Write] = [
        (f"{NODE_PEERS}/{OWN}/status", session),
        (f"{NODE_PEERS}/{OWN}/status", {"status": {"proposed": [FREE]}}),
        (f"{nodes}/{OWN}/status", {"status": {"sendingEpoch": 99}}),
    ]
    return refused(agent_api(ground), writes, (f"{NODE_PEERS}/{THIRD}/status", session))


def secrets(ground: Ground) -> Outcome:
    """Read the Secrets of keys and the seeds with its agent's token, and ask for tokens that could; its own keys it gets."""
    api, lab = agent_api(ground), ground.lab
    found = [f"{path}/{secret['metadata']['name']}" for path in (KEYS, SEEDS) for secret in lab.api.items(path)]
    reads = {path: partial(api.get, path) for path in (KEYS, SEEDS, *found)}
    tokens = {f"token of {node}": partial(_read_keys, api, node, as_account_of=node) for node in (OWN, PEER)}
    stretched = {f"keys of {node}": partial(_read_keys, api, node, as_account_of=THIRD) for node in (OWN, PEER)}
    return forbidden({**reads, **tokens, **stretched}, partial(_read_keys, api, THIRD, as_account_of=THIRD))


def _read_keys(api: LabApi, node: str, *, as_account_of: str) -> None:
    """Read the keys of *node* by a token of the account of a node."""
    name = f"wirecrypt-node-{as_account_of}"
    bound = {"apiVersion": "v1", "kind": "Secret", "name": name}
    asked = api.post(f"{ACCOUNTS}/{name}/token", {"spec": {"expirationSeconds": 600, "boundObjectRef": bound}})
    api.as_user(asked["status"]["token"]).get(f"{KEYS}/wirecrypt-node-{node}")


def other_prefix(ground: Ground) -> Outcome:
    """Claim another node's prefix and addresses in its own NodePeer and EncryptedNode with its agent's token."""
    own = ground.aim(OWN)
    place = ground.lab.nodes[OWN].addresses
    writes: list[Write] = [
        (f"{NODE_PEERS}/{THIRD}", {"spec": {"podCIDRs": [str(place.pods4)]}}),
        (f"{NODE_PEERS}/{THIRD}", {"spec": {"addresses": [own.nodes[4]]}}),
        (f"{NODE_PEERS}/{OWN}", {"spec": {"podCIDRs": []}}),
        (f"{operations.GROUP}/encryptednodes/{THIRD}", {"spec": {"state": "Leaving"}}),
    ]
    return refused(agent_api(ground), writes, (f"{NODE_PEERS}/{THIRD}/status", {"status": {"lastSession": 99}}))


def other_addresses(ground: Ground) -> Outcome:
    """Hold the address of another node and of its pod on a link of its own: a free address is granted, these are not."""
    lab, own = ground.lab, ground.aim(OWN)
    wanted = [own.nodes[4], own.pods[4]]
    adds = "".join(f"ip addr add {address}/32 dev {CLAIM};" for address in (*wanted, FREE))
    try:
        lab.exec(THIRD, ["sh", "-ec", f"ip link add {CLAIM} type dummy; ip link set {CLAIM} up; {adds}"])
        granted, known = _granted(ground), _known(ground)
    finally:
        lab.exec(THIRD, ["ip", "link", "del", CLAIM], check=False)
    taken = [address for address in wanted if address in granted]
    fell = f"granted: {', '.join(taken)}" if taken else ""
    evidence = f"granted: {', '.join(granted) or 'nothing'}; {len(known)} other nodes send to the free one"
    return Outcome(FREE in granted and bool(known), evidence, fell)


def _granted(ground: Ground) -> list[str]:
    """Wait until the free address is granted and in the kernels of both others; return what is granted."""
    try:
        until(lambda: FREE in _addresses(ground) and len(_known(ground)) == 2, what="a grant", seconds=DEADLINE, every=0.3)  # noqa: PLR2004
    except WirecryptError:
        return _addresses(ground)
    return _addresses(ground)


def _addresses(ground: Ground) -> list[str]:
    found: list[str] = ground.lab.api.get(f"{NODE_PEERS}/{THIRD}")["spec"].get("addresses", [])
    return found


def _known(ground: Ground) -> list[str]:
    return [node for node in (OWN, PEER) if FREE in ground.lab.exec(node, ["ip", "xfrm", "policy"]).stdout]


ATTACKS: Final = (
    Attack(NODE, "Sends packets of another node, its pods and unknown addresses inside its own SA to a pod.",
           partial(inside_own_sa, "pod"), quick=True),
    Attack(NODE, "Sends packets of another node, its pods and unknown addresses inside its own SA to a node.",
           partial(inside_own_sa, "node")),
    Attack(NODE, "Puts another node's SPI into its own ESP, as itself and as that node.", foreign_spi),
    Attack(NODE, "Writes sessions, addresses and status of another node with its agent's token.", other_status, quick=True),
    Attack(NODE, "Claims another node's prefix and addresses in the API with its agent's token.", other_prefix, quick=True),
    Attack(NODE, "Reads other nodes' Secrets of keys and the seeds, and asks for other nodes' tokens, with its agent's token.",
           secrets, quick=True),
    Attack(NODE, "Holds the addresses of another node and of its pod, so that its agent proposes them.", other_addresses),
)  # fmt: skip

_RAW = """
import ipaddress, socket, sys
for word in sys.argv[1:]:
    packet = bytes.fromhex(word)
    v6 = packet[0] >> 4 == 6
    target = str(ipaddress.ip_address(packet[24:40] if v6 else packet[16:20]))
    with socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_RAW, 255) as s:
        s.sendto(packet, (target, 0))
"""
