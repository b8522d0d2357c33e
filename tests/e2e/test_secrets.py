"""Key bytes stand in Secrets, process memory and the tmpfs file, and nowhere else."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.e2e import product
from wirecrypt.lab import operations
from wirecrypt.lab.lab import Lab
from wirecrypt.lab.waiting import until

NEWEST_KERNEL = True  # what is judged here does not depend on the kernel; joining and rotating are tried on all
QUIET = True

SECRETS = b"/registry/secrets/"
BINDING = "validatingadmissionpolicybinding/wirecrypt-agent-own-node"
_DELETE_RECEIVING = (
    "spi=$(ip xfrm state list src 192.0.2.11 dst 192.0.2.12 | sed -n 's/.*proto esp spi \\(0x[0-9a-f]*\\).*/\\1/p' | head -1); "
    "ip xfrm state delete src 192.0.2.11 dst 192.0.2.12 proto esp spi $spi"
)


@pytest.mark.K2
@pytest.mark.L1
def test_no_key_byte_leaves_secrets_memory_and_tmpfs(protected: Lab) -> None:
    """Traffic and session keys, shares and seeds are in no log, status, event, command line, environment, output, etcd key."""
    lab = protected
    needles = dict(_needles(lab))
    assert len(needles) > 10
    found = [(place, name) for place, text in _places(lab) for name, forms in needles.items() for f in forms if f in text]
    assert found == []


@pytest.mark.K2
@pytest.mark.L1
def test_the_search_for_key_bytes_finds_them_where_they_may_be(protected: Lab) -> None:
    """The detector fires: the same search finds shares in the Secrets' part of etcd, and private keys in the tmpfs file."""
    lab = protected
    needles = dict(_needles(lab))
    secrets = b"".join(v for k, v in lab.etcd_dump().items() if k.startswith(SECRETS))
    state = _state(lab, "node-1").encode()
    assert any(f in secrets for n, forms in needles.items() if n.startswith("share") for f in forms)
    assert any(f in state for n, forms in needles.items() if n.startswith("private") for f in forms)


@pytest.mark.K2
@pytest.mark.L1
def test_no_process_of_ours_can_leave_a_core_and_the_state_file_is_private(protected: Lab) -> None:
    """Core dumps are off in agents and controllers, and the state file can be read by its owner only."""
    lab = protected
    for pod in lab.kubelet.pods():
        limits = lab.exec("guest", ["cat", f"/proc/{pod.process.pid}/limits"]).stdout
        assert [line.split()[4:6] for line in limits.splitlines() if line.startswith("Max core file size")] == [["0", "0"]]
    agent = lab.kubelet.pod("wirecrypt-agent", "node-1")
    assert agent.exec(["stat", "-c", "%a %u", "/run/wirecrypt/state.json"]).stdout.split() == ["600", "0"]


@pytest.mark.K3
@pytest.mark.L1
def test_an_agent_that_finds_the_admission_policy_missing_reports_it_and_takes_no_new_key(protected: Lab) -> None:
    """Without its binding the policy fails open: the agent says so, keeps what it has, installs no session made meanwhile."""
    lab = protected
    agent = lab.kubelet.pod("wirecrypt-agent", "node-1")
    with _without_binding(lab):
        until(lambda: _restarted_says(lab), what="node-1 reports AdmissionPolicyMissing", seconds=product.SECONDS, every=2)
        before = product.states(lab, "node-1")
        session = _last_session(lab, "node-2")
        lab.exec("node-2", ["sh", "-c", _DELETE_RECEIVING])
        until(lambda: _last_session(lab, "node-2") > session, what="node-2 has a new session", seconds=product.SECONDS, every=1)
        product.wait_passes(lab, "node-1", 3)
        assert product.states(lab, "node-1") == before
    agent.kill()
    agent.restart()
    operations.wait_protected(lab, product.PAIR, product.SECONDS)
    product.settle(lab, *product.PAIR)
    assert {s.key for s in before}.isdisjoint({s.key for s in product.states(lab, "node-1")})


@contextmanager
def _without_binding(lab: Lab) -> Iterator[None]:
    """Take the policy's binding away while the block lasts."""
    document = json.loads(lab.kubectl("get", BINDING, "-o", "json"))
    for field in ("resourceVersion", "uid", "creationTimestamp", "managedFields", "generation"):
        document["metadata"].pop(field, None)
    lab.kubectl("delete", BINDING)
    try:
        yield
    finally:
        lab.kubectl("apply", "-f", "-", stdin=json.dumps(document))


def _last_session(lab: Lab, node: str) -> int:
    return int(lab.api.get(f"{operations.GROUP}/nodepeers/{node}").get("status", {}).get("lastSession", 0))


def _restarted_says(lab: Lab) -> bool:
    """Restart the agent (it tries at its start; the API server takes a moment to drop a binding) and ask for its reason."""
    agent = lab.kubelet.pod("wirecrypt-agent", "node-1")
    agent.kill()
    agent.restart()
    product.wait_passes(lab, "node-1", 2)
    return operations.condition(operations.encrypted_node(lab, "node-1"), "Ready").get("reason") == "AdmissionPolicyMissing"


def _state(lab: Lab, node: str) -> str:
    return lab.kubelet.pod("wirecrypt-agent", node).exec(["cat", "/run/wirecrypt/state.json"]).stdout


def _needles(lab: Lab) -> Iterator[tuple[str, list[bytes]]]:
    """Yield each secret by name, in the forms that text could carry it in."""
    for node in product.PAIR:
        for state in product.states(lab, node):
            yield f"traffic {node} {state.spi}", _forms(bytes.fromhex(state.key.removeprefix("0x"))[:32])
        document = json.loads(_state(lab, node))
        yield from _own_needles(node, document)
        for entry in (e for entries in document["ledger"].values() for e in entries):
            for side in ("control_own", "control_peer"):
                yield f"control {node} {side} {entry['lo']}.{entry['hi']}", _forms(bytes.fromhex(entry[side]))
    for secret in lab.api.items("/api/v1/namespaces/wirecrypt-system/secrets"):
        for name, value in secret.get("data", {}).items():
            raw = base64.b64decode(value)
            if len(raw) >= 32 and secret["type"].startswith("wirecrypt.io/"):
                yield f"seed {secret['metadata']['name']} {name}", _forms(raw[-32:])


def _own_needles(node: str, document: dict[str, Any]) -> Iterator[tuple[str, list[bytes]]]:
    for session in document["sessions"]:
        if session["private"]:
            yield f"private {node} {session['number']}", _forms(bytes.fromhex(session["private"]))
    for number, key in enumerate(document["node_keys"]):
        yield f"share {node} {number}", _forms(bytes.fromhex(key["share"])[:48])


def _forms(secret: bytes) -> list[bytes]:
    """Return the raw bytes, hex in both cases, base64 at all three alignments (without the ends that depend on neighbours)."""
    encoded = [base64.b64encode(bytes(shift) + secret)[4 * (shift > 0) : -4] for shift in range(3)]
    return [secret, secret.hex().encode(), secret.hex().upper().encode(), *encoded]


def _places(lab: Lab) -> Iterator[tuple[str, bytes]]:
    """Yield every place in which no key may stand."""
    for pod in lab.kubelet.pods():
        yield f"log of {pod.name}", pod.log().encode()
        for file in ("cmdline", "environ"):
            path = f"/proc/{pod.process.pid}/{file}"
            yield f"{file} of {pod.name}", lab.exec("guest", ["base64", "-w0", path]).stdout.encode()
            yield f"{file} of {pod.name}", base64.b64decode(lab.exec("guest", ["base64", "-w0", path]).stdout)
    for kind in ("encryptednodes", "nodepeers", "keyrotations", "events", "configmaps", "pods", "leases"):
        yield kind, lab.kubectl("get", kind, "-A", "-o", "json").encode()
    yield "audit log", json.dumps(lab.audit()).encode()
    for key, value in lab.etcd_dump().items():
        if not key.startswith(SECRETS):
            yield f"etcd {key.decode(errors='replace')}", value
    verbs = (
        ("status", "-o", "json"),
        ("verify", "--seconds", "1", "-o", "json"),
        ("verify", "--keys", "--seconds", "1"),
        ("doctor",),
    )
    for words in verbs:
        done = operations.wirecrypt(lab, *words, check=False)
        yield "wirecrypt " + " ".join(words), (done.stdout + done.stderr).encode()
    for node in product.PAIR:
        yield f"plan of {node}", operations.wirecrypt(lab, "plan", node, check=False).stdout.encode()
