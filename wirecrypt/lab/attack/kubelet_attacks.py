"""Who has the identity of one node's kubelet: they want another node's objects, more rights, or keys.

A kubelet may change the label of its own Node: that ends the encryption of its own pairs, in the open, and is no attack here.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any, Final

from wirecrypt.lab import operations
from wirecrypt.lab.attack.ground import OUTSIDE, OWN, THIRD, Ground
from wirecrypt.lab.attack.node_attacks import KEYS, NODE_PEERS, SEEDS, Try, Write, forbidden, refused
from wirecrypt.lab.attack.scoreboard import Attack, Outcome
from wirecrypt.lab.kube.api_client import LabApi
from wirecrypt.lab.waiting import DEADLINE, until

KUBELET: Final = "a node's kubelet"
NODES: Final = "/api/v1/nodes"
SYSTEM: Final = "/api/v1/namespaces/wirecrypt-system"
ENCRYPTED: Final = f"{operations.GROUP}/encryptednodes"
HARMLESS: Final[Write] = (f"{NODES}/{THIRD}/status", {"status": {"nodeInfo": {"osImage": "lab"}}})


def api(ground: Ground) -> LabApi:
    """Return the API as the third node's kubelet sees it."""
    return ground.lab.api.as_user(ground.lab.plane.node_token(THIRD))


def objects(ground: Ground) -> Outcome:
    """Write its own and another node's objects of the product, and its configuration."""
    writes: list[Write] = [
        (f"{kind}/{node}{part}", body)
        for node in (OWN, THIRD)
        for kind, part, body in (
            (NODE_PEERS, "", {"spec": {"podCIDRs": []}}),
            (NODE_PEERS, "/status", {"status": {"lastSession": 99}}),
            (ENCRYPTED, "", {"spec": {"state": "Leaving"}}),
            (ENCRYPTED, "/status", {"status": {"sendingEpoch": 99}}),
        )
    ]
    writes.append((f"{SYSTEM}/configmaps/wirecrypt-config", {"data": {}}))
    return refused(api(ground), writes, HARMLESS)


def labels(ground: Ground) -> Outcome:
    """Call its own Node one of the control plane, give it a restricted label, change another Node, take its prefix."""
    writes: list[Write] = [
        (f"{NODES}/{THIRD}", {"metadata": {"labels": {"node-role.kubernetes.io/control-plane": ""}}}),
        (f"{NODES}/{THIRD}", {"metadata": {"labels": {"node-restriction.kubernetes.io/wirecrypt": "off"}}}),
        (f"{NODES}/{OWN}", {"metadata": {"labels": {operations.LABEL: None}}}),
        (f"{NODES}/{OWN}/status", {"status": {"addresses": []}}),
        (f"{NODES}/{THIRD}", {"spec": {"podCIDRs": [str(ground.lab.nodes[OWN].addresses.pods4)]}}),
    ]
    return refused(api(ground), writes, HARMLESS)


def addresses(ground: Ground) -> Outcome:
    """Give its Node an outside address and that of another node's pod: the controller refuses both, and says so."""
    lab, path, mine = ground.lab, f"{NODES}/{THIRD}/status", api(ground)
    before, wanted = lab.api.get(f"{NODES}/{THIRD}")["status"]["addresses"], [OUTSIDE[4], ground.aim(OWN).pods[4]]
    told: list[str] = []

    def seen() -> bool:
        told[:] = [p for p in operations.encrypted_node(lab, THIRD)["spec"].get("problems", []) if p.startswith(tuple(wanted))]
        return len(told) == len(wanted) or bool(_granted(ground, wanted))

    try:
        mine.patch(path, {"status": {"addresses": [*before, *({"type": "InternalIP", "address": a} for a in wanted)]}})
        until(seen, what="the controller has seen the addresses", seconds=DEADLINE, every=0.3)
        fell = _granted(ground, wanted)
    finally:
        mine.patch(path, {"status": {"addresses": before}})
    return Outcome(len(told) == len(wanted), f"refused: {'; '.join(told)}", f"granted: {', '.join(fell)}" if fell else "")


def _granted(ground: Ground, wanted: list[str]) -> list[str]:
    spec = ground.lab.api.get(f"{NODE_PEERS}/{THIRD}")["spec"]
    return [address for address in wanted if address in (*spec.get("endpoints", []), *spec.get("addresses", []))]


def keys(ground: Ground) -> Outcome:
    """List and get the Secrets of keys and seeds; its own Node it may read."""
    mine, lab = api(ground), ground.lab
    named = [f"{path}/{secret['metadata']['name']}" for path in (KEYS, SEEDS) for secret in lab.api.items(path)]
    outcome = forbidden(
        {path: partial(mine.get, path) for path in (KEYS, SEEDS, *named)}, partial(mine.get, f"{NODES}/{THIRD}")
    )
    return replace(outcome, happened=outcome.happened and len(named) > 1)


def tokens(ground: Ground) -> Outcome:
    """Ask for a token of the agent's account for another node's pod, for none, and for the controller's; its own it gets."""
    lab, mine = ground.lab, api(ground)
    pods = {node: lab.kubelet.pod("wirecrypt-agent", node).document["metadata"] for node in (OWN, THIRD)}
    bound = {node: {"kind": "Pod", "apiVersion": "v1", "name": m["name"], "uid": m["uid"]} for node, m in pods.items()}
    tries = {
        "for another node's agent": partial(_token, mine, "wirecrypt-agent", {"boundObjectRef": bound[OWN]}),
        "for no pod": partial(_token, mine, "wirecrypt-agent", {}),
        "for the controller": partial(_token, mine, "wirecrypt-controller", {"boundObjectRef": bound[THIRD]}),
    }
    return forbidden(tries, partial(_token, mine, "wirecrypt-agent", {"boundObjectRef": bound[THIRD]}))


def pods(ground: Ground) -> Outcome:
    """Make a pod of the agent's account on its node, bind one to another node, and end another node's agent."""
    lab, mine, path = ground.lab, api(ground), f"{SYSTEM}/pods?dryRun=All"
    agent, uid = lab.kubelet.pod("wirecrypt-agent", OWN).path, lab.api.get(f"{NODES}/{THIRD}")["metadata"]["uid"]
    tries: dict[str, Try] = {
        "a pod with the agent's account": partial(mine.post, path, _pod(uid, THIRD, "wirecrypt-agent")),
        "a pod for another node": partial(mine.post, path, _pod(uid, OWN, "")),
        "another node's agent changed": partial(mine.patch, f"{agent}/status?dryRun=All", {"status": {"phase": "Failed"}}),
        "another node's agent ended": partial(mine.delete, f"{agent}?dryRun=All"),
    }
    return forbidden(tries, partial(mine.post, path, _pod(uid, THIRD, "")))


def _pod(uid: str, node: str, account: str) -> dict[str, Any]:
    """Return a mirror pod of the third node, the only kind that its kubelet may make; *uid*: of the Node."""
    owner = {"apiVersion": "v1", "kind": "Node", "name": THIRD, "uid": uid, "controller": True}
    spec: dict[str, Any] = {"nodeName": node, "containers": [{"name": "x", "image": "x"}]}
    if account:
        spec["serviceAccountName"] = account
    metadata = {
        "name": f"attack-{node}", "annotations": {"kubernetes.io/config.mirror": "x"}, "ownerReferences": [owner],
    }  # fmt: skip
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def _token(mine: LabApi, account: str, spec: dict[str, Any]) -> object:
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
    return mine.post(f"{SYSTEM}/serviceaccounts/{account}/token", body)


ATTACKS: Final = (
    Attack(
        KUBELET, "Writes EncryptedNode and NodePeer of its own node and of another, and the configuration.", objects, quick=True
    ),
    Attack(
        KUBELET, "Calls its Node one of the control plane, changes another Node, takes another's prefix.", labels, quick=True
    ),
    Attack(KUBELET, "Gives its Node an outside address and that of another node's pod.", addresses, quick=True),
    Attack(KUBELET, "Reads the Secrets of keys and seeds.", keys, quick=True),
    Attack(
        KUBELET, "Asks for tokens of another node's agent, of the agent without a pod, of the controller.", tokens, quick=True
    ),
    Attack(KUBELET, "Makes a pod with the agent's account, makes one for another node, ends another node's agent.", pods),
)
