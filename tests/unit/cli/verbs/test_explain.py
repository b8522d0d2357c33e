"""`wirecrypt explain`: names in, words out; nobody is asked."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from wirecrypt.cli.main import cli
from wirecrypt.doctor.meanings import KINDS


def run(*words: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(cli, ["explain", *words])
    return done.exit_code, done.stdout, done.stderr


@pytest.mark.parametrize("name", ["PeersFailing", "peersfailing", "egress_unknown", "XfrmInNoStates"])
def test_a_name_of_each_kind_is_explained(name: str) -> None:
    """In whatever case it is written; the sentence, and the next step."""
    code, out, _ = run(name)
    assert code == 0
    assert out.splitlines()[0].casefold().startswith(name.casefold())
    assert "\n  Next: " in out


def test_several_names_are_explained_in_order() -> None:
    """For programs as well."""
    code, out, _ = run("Left", "passed", "-o", "json")
    assert code == 0
    assert [m["name"] for m in json.loads(out)["meanings"]] == ["Left", "passed"]


def test_without_a_name_all_are_listed() -> None:
    """As many as there are."""
    code, out, _ = run()
    assert code == 0
    assert len(out.splitlines()) == 1 + sum(len(meanings) for meanings in KINDS.values())


def test_a_name_that_nothing_has_is_refused_with_what_is_alike() -> None:
    """Exit status 2, as for all wrong input, and nothing is explained."""
    code, out, err = run("Left", "PeersFailin")
    assert (code, out) == (2, "")
    assert "did you mean PeersFailing?" in err
    assert "lists all names" in run("qqqqqq")[2]
