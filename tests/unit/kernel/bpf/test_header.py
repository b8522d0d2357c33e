"""The header that C and Python share, and the parser that reads it."""

from __future__ import annotations

import ctypes

import pytest

from wirecrypt.errors import BpfError
from wirecrypt.kernel.bpf.header import header, parse
from wirecrypt.kernel.bpf.reasons import REASONS
from wirecrypt.kernel.bpf.records import reason_names
from wirecrypt.model.guard import GuardAction
from wirecrypt.model.mark import SLOTS, MarkKind
from wirecrypt.model.spi import MAX_NODE_ID, MIN_NODE_ID, Spi

BODY = """
#define WC_N 2
enum wc_color { WC_RED = 1, WC_BLUE = 0x10, };
struct wc_point { __u32 x; __u16 y[WC_N]; __u8 z; };
"""


def guarded(body: str) -> str:
    return f"/* a comment */\n#ifndef X_H\n#define X_H\n{body}\n#endif\n"


def test_marks_are_those_of_the_model() -> None:
    """Kinds and slots are the same in C and in the model."""
    numbers = header().numbers
    assert {kind.name: numbers[f"WC_KIND_{kind.name}"] for kind in MarkKind} == {kind.name: kind.value for kind in MarkKind}
    assert numbers["WC_SLOTS"] == SLOTS


def test_actions_are_those_of_the_port() -> None:
    """Actions are the same in C and in the port."""
    assert {f"WC_ACTION_{action.name}": action.value for action in GuardAction} == header().enums["wc_action"]


@pytest.mark.parametrize("sender", [MIN_NODE_ID, MAX_NODE_ID])
def test_the_sender_is_read_out_of_an_spi_as_in_the_model(sender: int) -> None:
    """The bits of the sender's nodeID are the same in C and in the model, and an entry has room for them."""
    h = header()
    spi = int(Spi(63, 63, sender, 15))
    assert spi >> h.numbers["WC_SPI_SENDER_SHIFT"] & h.numbers["WC_SPI_SENDER"] == sender
    assert h.structs["wc_entry"](node=sender).node == sender


def test_every_reason_has_a_sentence_and_a_next_step() -> None:
    """The reasons of the header and those with words are the same, and no words are missing."""
    assert sorted(REASONS) == sorted(reason_names().values())
    assert [name for name, reason in REASONS.items() if not (reason.sentence.endswith(".") and reason.next_step)] == []


def test_reasons_are_numbered_without_holes_and_ingress_follows_egress() -> None:
    """Counters are indexed by reason, and an ingress reason is its egress twin plus WC_INGRESS."""
    h = header()
    assert sorted(reason_names()) == list(range(h.numbers["WC_REASONS"]))
    twins = {name: number for number, name in reason_names().items()}
    egress = [name for name in twins if name.startswith("egress_")]
    assert len(egress) == h.numbers["WC_INGRESS"]
    assert {twins[name.replace("egress", "ingress")] - twins[name] for name in egress} == {h.numbers["WC_INGRESS"]}


def test_structs_are_laid_out_as_c_does() -> None:
    """A struct has C's offsets and padding."""
    point = parse(guarded(BODY)).structs["wc_point"]
    assert [getattr(point, name).offset for name in ("x", "y", "z")] == [0, 4, 8]
    assert ctypes.sizeof(point) == 12


@pytest.mark.parametrize("body", [
    "#define WC_N (1 + 1)\n",
    "#define WC_N two\n",
    "#define WC_N 1\n#define WC_N 2\n",
    "enum wc_color { WC_RED };",
    "struct wc_point { int x; };",
    "struct wc_point { __u32 *x; };",
    "struct wc_point { __u32 x[UNKNOWN]; };",
    "typedef int wc_t;",
    "int x;",
])  # fmt: skip
def test_what_is_not_understood_is_refused(body: str) -> None:
    """A declaration beyond the parser's few forms is an error that shows it, never skipped."""
    with pytest.raises(BpfError, match="not understood"):
        parse(guarded(body))


def test_a_header_without_include_guard_is_refused() -> None:
    """Text outside the include guard would be read twice by C and is refused."""
    with pytest.raises(BpfError, match="include guard"):
        parse(BODY)


def test_a_layout_changes_with_its_blocks_and_with_nothing_else() -> None:
    """A comment or another block leaves a layout's hash, a changed field or constant does not."""
    base = parse(guarded(BODY))
    same = parse(guarded(BODY.replace("struct", "/* new */\nstruct").replace("WC_RED = 1", "WC_RED = 3")))
    other = parse(guarded(BODY.replace("__u8 z", "__u16 z")))
    assert base.layout(["wc_point"]) == same.layout(["wc_point"]) != other.layout(["wc_point"])
    assert base.layout(["wc_color"]) != same.layout(["wc_color"])
