"""What `agent prepare` does for a node that may be labelled later."""

from __future__ import annotations

from structlog.testing import capture_logs

from wirecrypt.agent.prepare import compile_ahead
from wirecrypt.errors import BpfError


def test_a_compiler_that_fails_does_not_keep_the_agent_from_starting() -> None:
    """The failure is told with its reason, and preparing goes on."""

    def fail() -> bool:
        raise BpfError("compile the eBPF programs", answer="no headers")

    with capture_logs() as said:
        compile_ahead(fail)
    assert [(entry["log_level"], "no headers" in entry["error"]) for entry in said] == [("warning", True)]


def test_only_what_was_compiled_is_told() -> None:
    """Programs that were there already are no event."""
    with capture_logs() as said:
        compile_ahead(lambda: False)
        compile_ahead(lambda: True)
    assert [entry["event"] for entry in said] == ["programs compiled"]
