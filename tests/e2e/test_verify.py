"""`wirecrypt verify` says the truth about a pair, and names the cause when it is broken; so does the tcpdump script."""

from __future__ import annotations

import pytest

from tests.e2e import product
from wirecrypt.lab import operations
from wirecrypt.lab.lab import Lab
from wirecrypt.lab.waiting import until

NEWEST_KERNEL = True  # what is judged here does not depend on the kernel; joining and rotating are tried on all
QUIET = True


def _broken(lab: Lab, damage: str) -> str:
    """Do *damage* in node-1 again and again while a verification lasts, for the agent repairs it within a pass."""

    def seen() -> str:
        damaging = lab.spawn("node-1", ["sh", "-c", f"while :; do {damage}; sleep 0.02; done"])
        try:
            done = operations.wirecrypt(lab, "verify", "--seconds", "1", check=False)
        finally:
            damaging.kill(9)
        return done.stdout + done.stderr if done.returncode == 1 else ""

    return until(seen, what="verify finds the damage before the agent repairs it", seconds=product.SECONDS, every=1)


@pytest.mark.V1
@pytest.mark.L1
def test_verify_finds_two_protected_nodes_protected(protected: Lab) -> None:
    """Both directions are proved by probes and by what leaves the uplinks; the exit status is 0."""
    done = operations.verify(protected, "--seconds", "3")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "node-1" in done.stdout
    assert "node-2" in done.stdout


@pytest.mark.V1
@pytest.mark.L1
def test_verify_names_the_pair_and_the_sa_when_an_sa_was_deleted(protected: Lab) -> None:
    """A receiving SA deleted on node-1: exit status not 0, both nodes and the cause named; the pair heals with new keys.

    It is replaced at once, so somebody deletes it again each time.
    """
    before = product.states(protected, "node-1")
    with product.trickle(protected, *product.PAIR):
        text = _broken(protected, _DELETE_SA)
        product.settle(protected, *product.PAIR)
    assert "node-1" in text
    assert "node-2" in text
    assert "SA" in text
    assert {s.key for s in before}.isdisjoint({s.key for s in product.states(protected, "node-1")})


@pytest.mark.V1
@pytest.mark.L1
def test_verify_names_the_pair_and_the_policy_when_a_policy_was_deleted(protected: Lab) -> None:
    """The sending policy deleted on node-1: exit status not 0, the pair and the policy named; it is put back, nothing leaks.

    It is put back at once, so somebody deletes it again each time.
    """
    before = product.policies(protected, "node-1")
    with product.trickle(protected, *product.PAIR):
        text = _broken(protected, _DELETE_POLICY)
        until(
            lambda: product.policies(protected, "node-1") == before,
            what="node-1 has its policies again",
            seconds=product.SECONDS,
            every=0.5,
        )
    assert "node-1" in text
    assert "node-2" in text
    assert "polic" in text.lower()
    product.settle(protected, *product.PAIR)


@pytest.mark.K1
@pytest.mark.L1
def test_the_key_audit_finds_both_ends_equal_and_nothing_twice_over_all_nodes(all_protected: Lab) -> None:
    """`verify --keys` compares fingerprints of all SAs of all nodes: six directions among three nodes."""
    done = operations.verify(all_protected, "--keys", "--seconds", "1", "-o", "json")
    assert done.returncode == 0, done.stdout + done.stderr
    states = {state for node in all_protected.nodes for state in product.states(all_protected, node)}
    assert len({(state.src, state.dst) for state in states}) == 6
    assert all(f"0x{int(state.spi, 16):08x}" in done.stdout for state in states)


@pytest.mark.L1
def test_the_check_script_tells_encrypted_clear_and_silent_apart(protected: Lab) -> None:
    """On a node with nothing of ours: 0 towards an encrypted node, 1 towards a plain one, 2 when nothing was seen."""
    lab = protected
    script = str(operations.ROOT / "scripts/check-encryption.sh")

    def check(node: str, remote: str, target: str = "") -> int:
        local = [word for prefix in product.prefixes(lab, node) for word in ("-l", prefix)]
        words = ["sh", script, "-i", "upl", "-s", "3", *local, "-r", remote]
        ping = lab.spawn(f"pod/{node}/a", ["ping", "-i", "0.2", target]) if target else None
        try:
            return lab.exec(node, words, check=False).status
        finally:
            if ping:
                ping.kill(9)

    assert check("node-1", "10.2.0.0/24", lab.pods["pod/node-2/a"].ip4) == 0
    assert check("node-1", "10.3.0.0/24", lab.pods["pod/node-3/a"].ip4) == 1
    assert check("node-3", "10.7.0.0/24") == 2


_DELETE_POLICY = "ip xfrm policy delete src 0.0.0.0/0 dst 10.2.0.0/24 dir out"
_DELETE_SA = (
    "spi=$(ip xfrm state list dst 192.0.2.11 | sed -n 's/.*proto esp spi \\(0x[0-9a-f]*\\).*/\\1/p' | head -1); "
    '[ -z "$spi" ] || ip xfrm state delete src 192.0.2.12 dst 192.0.2.11 proto esp spi $spi'
)
