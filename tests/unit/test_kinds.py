"""The kinds of manifests/: whatever a field holds, its size has a bound that the API server knows."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from wirecrypt.model.session import LEAP

MANIFESTS = Path(__file__).resolve().parents[2] / "manifests"
KINDS = sorted(MANIFESTS.glob("crd-*.yaml"))
MOST = 2**53 - 1  # the highest number that every reader of JSON reads as it is
BOUNDS = {"integer": ("minimum", "maximum"), "string": ("maxLength",), "array": ("maxItems",)}
FIXED = {"date-time"}  # formats whose texts have a length


def fields(schema: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield each field below *schema* by its path."""
    for name, inner in schema.get("properties", {}).items():
        yield f"{path}.{name}", inner
        yield from fields(inner, f"{path}.{name}")
    for name in ("items", "additionalProperties"):
        if isinstance(schema.get(name), dict):
            yield f"{path}[]", schema[name]
            yield from fields(schema[name], f"{path}[]")


def schema(kind: Path) -> dict[str, Any]:
    """Return the schema of the one version of a kind."""
    (version,) = yaml.safe_load(kind.read_text())["spec"]["versions"]
    found: dict[str, Any] = version["schema"]["openAPIV3Schema"]
    return found


def missing(field: Mapping[str, Any]) -> list[str]:
    """Return the bounds that a field has not."""
    if "enum" in field or field.get("format") in FIXED:
        return []
    wanted = list(BOUNDS.get(str(field.get("type")), ()))
    return [bound for bound in (*wanted, *(["maxProperties"] if "additionalProperties" in field else [])) if bound not in field]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.stem)
def test_every_number_text_and_list_has_a_bound(kind: Path) -> None:
    """What an agent, or who took it over, writes is read by everybody: nothing of it is without end."""
    found = dict(fields(schema(kind)))
    assert len(found) > 10
    assert {path: lost for path, field in found.items() if (lost := missing(field))} == {}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.stem)
def test_no_number_is_above_what_json_carries(kind: Path) -> None:
    """Epochs and session numbers end there, so that one above the highest can always be counted."""
    highest = [field["maximum"] for _, field in fields(schema(kind)) if field.get("type") == "integer"]
    assert max(highest) == MOST


@pytest.mark.parametrize("field", [{"type": "integer", "minimum": 0}, {"type": "string"}, {"additionalProperties": {}}])
def test_a_field_without_a_bound_is_found(field: dict[str, Any]) -> None:
    """The test above would fire."""
    assert missing(field)


def test_the_step_of_one_write_is_far_above_what_the_controller_follows() -> None:
    """Else one node that leads the controller on, as far as it follows, shuts out all that publish the next epoch."""
    steps = [int(n) for kind in KINDS for n in re.findall(r"<= \w+(?:\.\w+)? \+ (\d+)", kind.read_text())]
    assert len(steps) == 4
    assert min(steps) >= 1000 * LEAP
