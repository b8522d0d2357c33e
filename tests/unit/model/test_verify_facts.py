"""Facts travel as JSON between agents and whoever asks, also between versions."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wirecrypt.errors import ObjectError
from wirecrypt.model.verify_facts import (
    FORMAT,
    CaptureSummary,
    Change,
    Clear,
    Deviation,
    EspSeen,
    LaneProbe,
    NodeEvidence,
    NodePlan,
    PeerEvidence,
    SaFact,
    decode,
    encode,
)

SECONDS = st.floats(0, 1e6)


def some(kind: type, **more: Any) -> st.SearchStrategy[Any]:  # noqa: ANN401 - strategies of any field
    return st.lists(st.builds(kind, **more), max_size=2).map(tuple)


PEERS = st.builds(
    PeerEvidence,
    sas=some(SaFact),
    policies_out=some(Deviation),
    probes=some(LaneProbe, seconds=st.none() | SECONDS),
    esp=some(EspSeen),
    clear=some(Clear),
)
FACTS = st.builds(
    NodeEvidence,
    format=st.just(FORMAT),
    pass_age=SECONDS,
    watched=st.builds(CaptureSummary, seconds=SECONDS),
    peers=st.lists(PEERS, max_size=2).map(tuple),
)


@given(FACTS)
def test_facts_survive_the_wire(facts: NodeEvidence) -> None:
    """What an agent encodes is decoded to the same facts."""
    assert decode(NodeEvidence, json.loads(json.dumps(encode(facts))), "answer") == facts


def test_a_plan_survives_the_wire() -> None:
    """So does a plan."""
    plan = NodePlan(FORMAT, "a", settled=True, changes=(Change("add sending", "x", "b", "new"),))
    assert decode(NodePlan, json.loads(json.dumps(encode(plan))), "answer") == plan


def test_unknown_fields_are_ignored() -> None:
    """A newer agent may say more."""
    raw = encode(NodePlan(FORMAT, "a", settled=True)) | {"novelty": [1]}
    assert decode(NodePlan, raw, "answer").node == "a"


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"format": 2}, "format"),
        ({"node": 7}, "node"),
        ({"settled": "yes"}, "settled"),
        ({"changes": {}}, "changes"),
        ({"changes": [{"step": "x"}]}, r"changes\[0\].object"),
        ({"changes": ["x"]}, r"changes\[0\]"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_place(change: dict[str, object], place: str) -> None:
    """Another format, type or a missing field is an ObjectError that says where."""
    raw = json.loads(json.dumps(encode(NodePlan(FORMAT, "a", settled=True)))) | change
    with pytest.raises(ObjectError, match=f"answer.{place}"):
        decode(NodePlan, raw, "answer")


def test_no_object_at_all_is_refused() -> None:
    """A list, or nothing, is no answer."""
    with pytest.raises(ObjectError, match="not an object"):
        decode(NodeEvidence, [], "answer")
