"""enable and disable: the label, and nothing changed when anything is wrong."""

import json
from typing import Any

import pytest

from tests.unit.cli.conftest import Line
from tests.unit.cli.fake_cli_client import encrypted, forbid, node_label, peer, status
from wirecrypt.cluster.answer import ServerError, Throttled
from wirecrypt.errors import ClusterError, Forbidden, Unreachable
from wirecrypt.model.objects import LABEL, ConfigDocument, NodeState


@pytest.fixture
def nodes(wirecrypt: Line) -> Line:
    """Return the command line with Nodes a (enabled), b, and w on Windows."""
    wirecrypt.client.nodes = {"a": node_label("a", "enabled"), "b": node_label("b"), "w": node_label("w", linux=False)}
    return wirecrypt


def test_enable_labels_and_says_so(nodes: Line) -> None:
    """A node that is not enabled gets the label, one that is is said to be unchanged."""
    done = nodes("enable a b b")
    assert (done.exit_code, nodes.client.writes) == (0, ["label b enabled"])
    assert done.stdout.splitlines() == ["node/a unchanged: enabled already", "node/b enabled"]


def test_disable_removes_any_value(nodes: Line) -> None:
    """Also a value that means nothing goes; a node without label is unchanged."""
    nodes.client.nodes["a"] = node_label("a", "yes")
    done = nodes("disable a b")
    assert nodes.client.writes == ["label a None"]
    assert done.stdout.splitlines() == ["node/a disabled", "node/b unchanged: disabled already"]


@pytest.mark.parametrize("verb", ["enable", "disable"])
def test_an_unknown_node_changes_nothing(nodes: Line, verb: str) -> None:
    """One unknown name among known ones: refused before any is changed, exit 2."""
    nodes.client.nodes |= {"b": node_label("b", None if verb == "enable" else "enabled")}
    done = nodes(f"{verb} b nope")
    assert (done.exit_code, nodes.client.writes) == (2, [])
    assert "nope" in done.stderr
    assert "kubectl get nodes" in done.stderr


@pytest.mark.parametrize("line", ["enable", "enable --all a", "disable"])
def test_which_nodes_must_be_clear(nodes: Line, line: str) -> None:
    """No name, or names and --all: exit 2, nothing changed."""
    assert (nodes(line).exit_code, nodes.client.writes) == (2, [])


def test_all_means_nodes_with_an_agent(nodes: Line) -> None:
    """--all leaves out nodes without Linux; naming one is refused."""
    assert nodes("enable --all").exit_code == 0
    assert nodes.client.writes == ["label b enabled"]
    done = nodes("enable w")
    assert (done.exit_code, "does not run Linux" in done.stderr) == (2, True)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("clusterCIDRs: [10.0.0.0/8]", "nodeCIDRs of the configuration is empty"),
        ("nodeCIDRs: [192.0.2.0/24]", "clusterCIDRs of the configuration is empty"),
        ("", "clusterCIDRs and nodeCIDRs of the configuration are empty"),
        ("mode: lax", "mode"),
        (None, "there is no ConfigMap wirecrypt-config"),
    ],
)
@pytest.mark.parametrize("line", ["enable b", "enable --all", "enable b --dry-run"])
def test_nothing_is_enabled_before_the_ranges_are_set(nodes: Line, text: str | None, words: str, line: str) -> None:
    """No node would join: refused as input, with what is missing and the next step; taking nodes out needs no range."""
    nodes.client.document = None if text is None else ConfigDocument({"config.yaml": text}, "1")
    done = nodes(line)
    assert (done.exit_code, nodes.client.writes) == (2, [])
    assert words in done.stderr
    assert "Next: " in done.stderr
    assert nodes("disable a").exit_code == 0
    assert nodes.client.writes == ["label a None"]


def test_who_may_not_read_the_configuration_enables_and_is_told(nodes: Line) -> None:
    """The controller asks for the ranges all the same: the label is set, and that they were not seen is said."""
    nodes.client.refuse = forbid("config")
    done = nodes("enable b")
    assert (done.exit_code, nodes.client.writes) == (0, ["label b enabled"])
    assert "could not be read: 403" in done.stderr


def test_forbidden_changes_nothing(nodes: Line) -> None:
    """A right that is missing for the last node is noticed before the first is changed."""
    nodes.client.nodes["c"] = node_label("c")
    nodes.client.refuse = forbid("label c")
    done = nodes("enable b c")
    assert (done.exit_code, nodes.client.writes) == (1, [])
    assert done.stderr.startswith("error: write (label c dry): 403 Forbidden")


def test_a_refusal_half_way_says_what_was_done(nodes: Line) -> None:
    """When only the real write fails, the error names the nodes that were changed before."""
    nodes.client.nodes["c"] = node_label("c")
    dry = forbid("label c")
    nodes.client.refuse = lambda what: None if what.endswith(" dry") else dry(what)
    done = nodes("enable b c")
    assert (done.exit_code, nodes.client.writes) == (1, ["label b enabled"])
    assert "b changed already" in done.stderr


def test_wait_until_ready(nodes: Line) -> None:
    """--wait tells why a node is not Ready yet, each reason once, and returns when it is."""

    def later(seconds: float) -> None:
        if seconds >= 6:
            nodes.client.objects["b"] = encrypted("b", made=status())
        elif seconds >= 3:
            made = status(ready=False, reason="Joining", message="1 of 2")
            nodes.client.objects["b"] = encrypted("b", made=made, state=NodeState.JOINING)

    nodes.slept = later
    done = nodes("enable b --wait")
    assert done.exit_code == 0
    assert done.stdout.splitlines() == [
        "node/b enabled",
        "waiting for 1 node: b (no EncryptedNode yet: is the controller running?)",
        "waiting for 1 node: b (Joining: 1 of 2)",
        "1 node is Ready",
    ]
    assert 6 <= nodes.passed < 6.7


def test_wait_ends_with_the_time(nodes: Line) -> None:
    """--timeout over: exit 3, and it says that it goes on."""
    done = nodes("enable b --wait --timeout 10s -o json")
    assert (done.exit_code, nodes.passed) == (3, 10)
    assert json.loads(done.stdout)["waitingFor"] == ["b (no EncryptedNode yet: is the controller running?)"]
    assert "node/b enabled" in done.stderr


@pytest.mark.parametrize(
    ("error", "reads"),
    [
        (Unreachable("GET", answer="refused"), 8),
        (ServerError("GET", answer="502 Bad Gateway"), 8),
        (Throttled("GET", answer="503 starting"), 8),
        (Throttled("GET", answer="429 TooManyRequests", after=4.0), 2),
    ],
)
@pytest.mark.parametrize("ends", [True, False])
def test_wait_goes_on_while_the_server_is_unwell(nodes: Line, error: ClusterError, reads: int, *, ends: bool) -> None:
    """No answer, a proxy's 502, 429 or 503: asked again when the server says, until the command's own time is over."""
    asked: list[float] = []

    def unwell() -> None:
        if nodes.passed < 8 or not ends:
            asked.append(nodes.passed)
            raise error

    nodes.client.objects["b"] = encrypted("b", made=status())
    nodes.client.before_read = unwell
    done = nodes("enable b --wait --timeout 10s")
    assert (done.exit_code, nodes.passed) == ((0, 8) if ends else (3, 10))
    assert len([when for when in asked if when < 8]) == reads
    assert f"the API server: {error.answer}" in done.stdout


def test_wait_ends_when_the_server_refuses(nodes: Line) -> None:
    """A refusal that time does not heal is an error: exit 1."""

    def forbidden() -> None:
        raise Forbidden("GET", answer="403 no")

    nodes.client.before_read = forbidden
    assert nodes("enable b --wait").exit_code == 1


def test_wait_until_gone(nodes: Line) -> None:
    """With --wait, disable returns when EncryptedNode and NodePeer are gone, not before."""
    nodes.client.objects["a"] = encrypted("a", state=NodeState.LEAVING)
    nodes.client.peers["a"] = peer("a")

    def later(seconds: float) -> None:
        if seconds >= 2:
            nodes.client.objects.pop("a", None)
        if seconds >= 4:
            nodes.client.peers.pop("a", None)

    nodes.slept = later
    done = nodes("disable a --wait")
    assert done.exit_code == 0
    assert 4 <= nodes.passed < 4.5
    assert "waiting for 1 node: a (Leaving)" in done.stdout


def test_a_bad_duration_is_usage(nodes: Line) -> None:
    """--timeout wants a number with a unit; nothing is changed."""
    done = nodes("enable b --wait --timeout soon")
    assert (done.exit_code, nodes.client.writes) == (2, [])
    assert "such as 10s" in done.stderr


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"linux": False}, "does not run Linux"),
        ({"architecture": "arm64"}, "is arm64, and the agent is for amd64"),
        ({"kernel": "5.18.19-arch1"}, "runs Linux 5.18.19-arch1, and the agent needs 5.19 or newer"),
        ({"kernel": "4.19.0"}, "runs Linux 4.19.0"),
        ({"kernel": "unknown"}, "runs Linux unknown"),
        ({"architecture": "", "kernel": ""}, "has not said what it runs on"),
    ],
)
def test_a_node_that_cannot_run_the_agent_is_refused(nodes: Line, more: dict[str, Any], why: str) -> None:
    """One among others: which, why and what to do, exit 2, and none is labelled; it can be taken out all the same."""
    nodes.client.nodes |= {"c": node_label("c", **more)}
    done = nodes("enable b c")
    assert (done.exit_code, nodes.client.writes) == (2, [])
    assert f"c {why}" in done.stderr
    assert "nothing was changed" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    nodes.client.nodes |= {"c": node_label("c", "enabled", **more)}
    assert (nodes("disable c").exit_code, nodes.client.writes) == (0, ["label c None"])


@pytest.mark.parametrize("kernel", ["5.19.0", "5.19-rc1", "6.1.0-28-amd64", "10.0.1"])
def test_a_kernel_that_is_new_enough_is_taken(nodes: Line, kernel: str) -> None:
    """Versions are numbers, not texts."""
    nodes.client.nodes |= {"b": node_label("b", kernel=kernel)}
    assert nodes("enable b").exit_code == 0


def test_all_with_a_node_that_cannot_is_refused_by_name(nodes: Line) -> None:
    """--all never leaves one out in silence, but those without Linux."""
    nodes.client.nodes |= {f"c{i}": node_label(f"c{i}", architecture="arm64") for i in range(7)}
    done = nodes("enable --all")
    assert (done.exit_code, nodes.client.writes) == (2, [])
    assert "c4 is arm64" in done.stderr
    assert "and 2 more nodes" in done.stderr
    assert "-l kubernetes.io/arch=amd64" in done.stderr


@pytest.mark.parametrize(
    ("missing", "texts"),
    [
        (("kind nodepeers.wirecrypt.io",), ("not installed", "no kind nodepeers.wirecrypt.io", "docs/how-to/install.md")),
        (("DaemonSet of the agent in wirecrypt-system",), ("not whole", "no DaemonSet", "your own overlay again")),
        (("Deployment of the controller in wirecrypt-system",), ("not whole", "no Deployment")),
    ],
)
@pytest.mark.parametrize("line", ["enable b", "enable a", "enable b --dry-run", "enable --all --wait"])
def test_what_is_not_installed_is_not_enabled(nodes: Line, line: str, missing: tuple[str, ...], texts: tuple[str, ...]) -> None:
    """What is missing and the next step, exit 1; no Node is labelled, and nobody is told that one is enabled already."""
    nodes.client.missing = missing
    done = nodes(line)
    assert (done.exit_code, done.stdout, nodes.client.writes) == (1, "", [])
    assert all(text in done.stderr for text in texts)
    assert len(done.stderr.splitlines()) == 1


def test_what_may_not_be_looked_at_is_not_taken_for_installed(nodes: Line) -> None:
    """A right that is missing: exit 1, nothing is labelled. To take a node out nothing needs to be installed."""
    nodes.client.refuse = forbid("missing parts")
    done = nodes("enable b")
    assert (done.exit_code, nodes.client.writes, "403" in done.stderr) == (1, [], True)
    nodes.client.missing = ("kind nodepeers.wirecrypt.io",)
    assert (nodes("disable a").exit_code, nodes.client.writes) == (0, ["label a None"])


def test_labels_choose_nodes(nodes: Line) -> None:
    """With -l those that it chooses, for both verbs."""
    nodes.client.nodes |= {"c": node_label("c", "on"), "d": node_label("d", "on")}
    assert nodes(f"enable -l {LABEL}=on").exit_code == 0
    assert nodes.client.writes == ["label c enabled", "label d enabled"]
    nodes.client.nodes |= {"e": node_label("e", "off")}
    assert nodes(f"disable --selector {LABEL}=off").stdout.splitlines() == ["node/e disabled"]


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (f"enable -l {LABEL}=nobody", "no Node has these labels"),
        (f"disable a -l {LABEL}=enabled", "both names and -l"),
        (f"disable --all -l {LABEL}=enabled", "both -l and --all"),
        ("disable -l =", "as for kubectl"),
        ("disable --selector=", "it is empty"),
    ],
)
def test_a_selector_that_chooses_nothing_clear_is_refused(nodes: Line, line: str, text: str) -> None:
    """No Node, two ways at once, no selector at all: exit 2 with the reason, nothing changed."""
    done = nodes(line)
    assert (done.exit_code, nodes.client.writes, text in done.stderr) == (2, [], True), done.stderr


@pytest.fixture
def three(nodes: Line) -> Line:
    """Return the command line with Nodes a and c enabled, b and w not."""
    nodes.client.nodes["c"] = node_label("c", "enabled")
    return nodes


def test_to_disable_all_is_asked_back(three: Line) -> None:
    """On a terminal the number of nodes is named, those that carry the label; yes goes on, and the question is no answer."""
    three.typed = "y\n"
    done = three("disable --all -o json")
    assert (done.exit_code, three.client.writes) == (0, ["label a None", "label c None"])
    assert "Take 2 nodes out of encryption?" in done.stderr
    assert [n["changed"] for n in json.loads(done.stdout)["nodes"]] == [True, False, True, False]


@pytest.mark.parametrize("typed", ["n\n", "\n", ""])
def test_without_a_yes_all_stay(three: Line, typed: str) -> None:
    """No, nothing, or the end of input: nothing is changed, exit 2."""
    three.typed = typed
    done = three("disable --all")
    assert (done.exit_code, three.client.writes) == (2, [])
    assert "nothing was changed" in done.stderr


def test_without_a_terminal_all_wants_yes(three: Line) -> None:
    """Nobody is there to be asked: refused with the option that says it, exit 2; with the option nobody is asked."""
    done = three("disable --all")
    assert (done.exit_code, three.client.writes) == (2, [])
    assert "--yes" in done.stderr
    sure = three("disable --all --yes")
    assert (sure.exit_code, three.client.writes, "out of encryption?" in sure.output) == (
        0,
        ["label a None", "label c None"],
        False,
    )


@pytest.mark.parametrize(("typed", "writes"), [(None, []), ("n\n", []), ("y\n", ["label a None", "label c None"])])
def test_a_selector_that_chooses_all_is_asked_back(three: Line, typed: str | None, writes: list[str]) -> None:
    """All enabled nodes are all nodes, however they are chosen; some of them are not."""
    three.typed = typed
    assert three(f"disable -l {LABEL}=enabled").exit_code == (0 if writes else 2)
    assert three.client.writes == writes
    three.client.nodes |= {"a": node_label("a", "one"), "c": node_label("c", "enabled")}
    assert three(f"disable -l {LABEL}=one").exit_code == 0


def test_who_names_nodes_is_not_asked(three: Line) -> None:
    """A name is meant, and where no node carries the label there is nothing to ask."""
    assert three("disable a c").exit_code == 0
    three.typed = ""
    assert (three("disable --all").exit_code, three.client.writes) == (0, ["label a None", "label c None"])


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("enable a b --dry-run", ["node/a unchanged: enabled already", "node/b would be enabled"]),
        ("disable a b --dry-run", ["node/a would be disabled", "node/b unchanged: disabled already"]),
        (
            "disable --all --dry-run",
            ["node/a would be disabled", "node/b unchanged: disabled already", "node/w unchanged: disabled already"],
        ),
    ],
)
def test_a_dry_run_says_what_would_be(nodes: Line, line: str, said: list[str]) -> None:
    """Each node with what would become of it; nothing is written, and nobody is asked."""
    done = nodes(line)
    assert (done.exit_code, nodes.client.writes, done.stdout.splitlines()) == (0, [], said)
    told = json.loads(nodes(f"{line} -o json").stdout)
    assert (told["dryRun"], nodes.client.writes) == (True, [])
    assert [n["changed"] for n in told["nodes"]] == ["would be" in each for each in said]


def test_a_dry_run_asks_whether_it_may(nodes: Line) -> None:
    """What the API server would refuse is refused in the dry run."""
    nodes.client.refuse = forbid("label b dry")
    assert nodes("enable b --dry-run").exit_code == 1


def test_a_dry_run_has_nothing_to_wait_for(nodes: Line) -> None:
    """--dry-run with --wait is wrong usage."""
    done = nodes("enable b --dry-run --wait")
    assert (done.exit_code, "both --dry-run and --wait" in done.stderr, nodes.client.writes) == (2, True, [])


def test_who_waits_for_long_asks_seldom(nodes: Line) -> None:
    """Five times a second at first, then each tenth of what was waited, and once a second from ten seconds on."""
    asked: list[float] = []
    nodes.slept = asked.append
    assert nodes("enable b --wait --timeout 60s").exit_code == 3
    waits = [round(later - before, 6) for before, later in zip([0.0, *asked], asked, strict=False)]
    assert (waits[0], max(waits)) == (0.2, 1.0)
    assert waits[:-1] == sorted(waits[:-1])
    assert len(asked) < 60 + 30
