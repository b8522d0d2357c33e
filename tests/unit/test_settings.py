"""The configuration document: what is taken, and how everything else is refused."""

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wirecrypt.errors import ConfigError
from wirecrypt.model.objects import ConfigDocument
from wirecrypt.model.xfrm import Algorithm
from wirecrypt.settings import Joining, Mode, NodeToNode, Settings, from_document, parse
from wirecrypt.settings.reference import document, page

ROOT = Path(__file__).resolve().parents[2]


def test_an_empty_document_means_all_defaults() -> None:
    """Nothing said is the protecting default."""
    assert parse("") == Settings()
    assert Settings().mode is Mode.STRICT
    assert Settings().node_to_node is NodeToNode.WORKERS


def test_every_field_of_a_document_arrives() -> None:
    """Words, lists, units, YAML's booleans for off and nested groups become typed values."""
    settings = parse(
        "{mode: permissive, joining: block, algorithm: chacha20-poly1305, lanes: auto, nodeToNode: off,\n"
        " clusterCIDRs: [10.0.0.0/8, 'fd00::/16'], nodeCIDRs: [192.0.2.0/24], uplinks: [eth0], mark: {shift: 8}, mtu: 9000,\n"
        " rotation: {interval: 24h, jitter: 0}, limits: {softBytes: 1Gi, maxAge: 7d}, linger: 0.5}"
    )
    assert settings.mode is Mode.PERMISSIVE
    assert settings.joining is Joining.BLOCK
    assert settings.algorithm is Algorithm.CHACHA20_POLY1305
    assert settings.lanes is None
    assert settings.node_to_node is NodeToNode.OFF
    assert [str(p) for p in settings.cluster_cidrs] == ["10.0.0.0/8", "fd00::/16"]
    assert [str(p) for p in settings.node_cidrs] == ["192.0.2.0/24"]
    assert settings.uplinks == ("eth0",)
    assert settings.mark.layout.mask == 0xFF << 8
    assert settings.rotation.interval == 86400
    assert settings.limits.soft_bytes == 2**30
    assert settings.limits.max_age == 7 * 86400
    assert settings.linger == 0.5


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("workers", NodeToNode.WORKERS),
        ("all", NodeToNode.ALL),
        ("off", NodeToNode.OFF),
        ("'off'", NodeToNode.OFF),
        ("false", NodeToNode.OFF),
    ],
)
def test_traffic_between_node_addresses_is_chosen_by_a_word(word: str, value: NodeToNode) -> None:
    """Quoted or not: YAML reads a bare off as a boolean, and it means the word all the same."""
    assert parse(f"nodeToNode: {word}").node_to_node is value


@pytest.mark.parametrize(
    ("text", "path", "allowed"),
    [
        ("mdoe: strict", "mdoe", "one of"),
        ("mode: loose", "mode = 'loose'", "strict or permissive"),
        ("mode: true", "mode = True", "strict or permissive"),
        ("metrics: {port: 14581}", "metrics.port = 14581", "1 to 65534, but 14581, 14582, 14583"),
        ("metrics: {port: 14582}", "metrics.port = 14582", "1 to 65534, but 14581, 14582, 14583"),
        ("metrics: {port: 14583}", "metrics.port = 14583", "1 to 65534, but 14581, 14582, 14583"),
        ("lanes: 17", "lanes = 17", "1 to 16"),
        ("lanes: true", "lanes = True", "1 to 16"),
        ("clusterCIDRs: [10.0.0.1/8]", "clusterCIDRs", "host bits zero"),
        ("clusterCIDRs: [10.1.2.3/8]", "clusterCIDRs", "has host bits set"),
        ("clusterCIDRs: 10.0.0.0/8", "clusterCIDRs", "a list"),
        ("vxlanPorts: [4789, 4789]", "vxlanPorts", "twice"),
        ("vxlanPorts: [1, 2, 3, 4, 5]", "vxlanPorts", "at most 4"),
        ("genevePorts: [1, 2, 3, 4, 5]", "genevePorts", "at most 4"),
        ("mark: {shift: 25}", "mark.shift = 25", "0 to 24"),
        ("mark: 20", "mark = 20", "a mapping"),
        ("mark: {shfit: 1}", "mark.shfit", "shift"),
        ("rotation: {interval: 5}", "rotation.interval = 5", "off, or a duration"),
        ("rotation: {interval: fast}", "rotation.interval = 'fast'", "24h"),
        ("nodeToNode: on", "nodeToNode = True", "workers or all or off"),
        ("nodeToNode: 'on'", "nodeToNode = 'on'", "workers or all or off"),
        ("nodeToNode: true", "nodeToNode = True", "workers or all or off"),
        ("nodeToNode: [workers]", "nodeToNode", "workers or all or off"),
        ("nodeToNodePorts: [22]", "nodeToNodePorts", "no such field"),
        ("limits: {softBytes: 8Ti}", "limits.hardBytes", "more than limits.softBytes"),
        ("uplinks: ['a/b']", "uplinks", "link's name"),
        ("- mode", "document", "a mapping"),
        ("mode: [", "line", "not YAML"),
    ],
)
def test_a_bad_field_is_refused_with_path_and_allowed_values(text: str, path: str, allowed: str) -> None:
    """The error names the field by its path, shows the value and what is allowed, and says where to correct it."""
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert path in str(caught.value)
    assert allowed in str(caught.value)
    assert "Next:" in str(caught.value)


@pytest.mark.parametrize("field", ["clusterCIDRs", "nodeCIDRs", "serviceCIDRs"])
@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ("10.0.0.0", "10.0.0.0 has no prefix length: write one, as in 10.0.0.0/8, or 10.0.0.0/32 for this one address"),
        ("fd00::", "fd00:: has no prefix length: write one, as in fd00::/16, or fd00::/128 for this one address"),
        ("0.0.0.0/0", "0.0.0.0/0 is every address there is"),
        ("0.0.0.0/0.0.0.0", "0.0.0.0/0 is every address there is"),
        ("::/0", "::/0 is every address there is"),
    ],
)
def test_a_range_has_a_length_and_an_end(field: str, entry: str, why: str) -> None:
    """An address alone is no range, and a range of all addresses is nobody's; both families, all fields."""
    with pytest.raises(ConfigError) as caught:
        parse(f"{field}: ['{entry}']")
    assert why in str(caught.value)
    assert parse(f"{field}: [10.0.0.0/32, 'fd00::/128', 0.0.0.0/1]")


@pytest.mark.parametrize("field", ["clusterCIDRs", "serviceCIDRs"])
@pytest.mark.parametrize(
    ("entry", "why"),
    [
        *((entry, "no machine's own") for entry in ("127.0.0.0/8", "0.0.0.0/8", "240.0.0.0/4", "255.255.255.255/32")),
        *((entry, "no machine's own") for entry in ("169.254.7.0/24", "224.0.0.0/4", "fe80::/64", "ff02::/16", "::1/128")),
        *((entry, "no machine's own") for entry in ("::ffff:10.0.0.0/104", "64:ff9b::/96", "2002:a00::/24", "2001::/32")),
        *((entry, "neighbours") for entry in ("128.0.0.0/1", "fc00::/6", "8000::/1")),
        ("fe80::%eth0/64", "a zone is one machine's"),
    ],
)
def test_a_range_that_is_nobodys_is_refused(field: str, entry: str, why: str) -> None:
    """Loopback, link-local, groups, IPv4 by other names: they match nothing, or drop what neighbours need."""
    with pytest.raises(ConfigError) as caught:
        parse(f"{field}: ['{entry}']")
    assert why in str(caught.value)
    assert parse(f"{field}: [10.0.0.0/8, 'fd00::/8', '2000::/4', 100.64.0.0/10]")


@pytest.mark.parametrize(
    "entry",
    [
        *("0.0.0.7", "127.0.0.1", "169.254.1.1", "224.0.0.1", "255.255.255.255", "::", "::1", "fe80::1", "fe80::1%eth0"),
        *("::ffff:192.0.2.1", "64:ff9b::c000:201", "2002:c000:201::1", "ff02::1"),
        *("192.0.2.1/32", "192.0.2.1:6443", "api.example", "192.0.2.01"),
    ],
)
def test_an_api_server_has_an_address_that_a_packet_can_have(entry: str) -> None:
    """Otherwise nothing would be protected or let pass by it, in silence; names, ports and lengths are no addresses."""
    with pytest.raises(ConfigError, match="apiServers"):
        parse(f"apiServers: ['{entry}']")
    assert parse("apiServers: [192.0.2.1, '2001:db8::1']")


@pytest.mark.parametrize(
    "names", ["[]", "[auto]", "[eth0, auto]", "[lo]", "['eth*']", "['.']", "['a:b']", "[ääääääää]", "[eth0.100.200.300]"]
)
def test_uplinks_that_can_be_no_links_are_refused(names: str) -> None:
    """An empty list is not auto, auto stands alone, patterns are not known, and the loopback leads nowhere."""
    with pytest.raises(ConfigError, match="uplinks"):
        parse(f"uplinks: {names}")
    assert parse("uplinks: [eth0.100, wg-0]").uplinks == ("eth0.100", "wg-0")
    assert parse("uplinks: auto").uplinks == ()


DEEP = 3000
DIGITS = 5000
BOMB = "[&l0 [x, x]" + "".join(f", &l{i + 1} [{', '.join([f'*l{i}'] * 9)}]" for i in range(7)) + "]"


@pytest.mark.parametrize(
    ("text", "place", "why"),
    [
        ("mode: strict\nrotation:\n  interval: 2024-02-30\n", "line 3", "day is out of range"),
        ("mode: strict\nmtu: " + "9" * DIGITS, "line 2", "value that cannot be read"),
        ("mtu: 0x" + "9" * DIGITS, "mtu", "out of range"),
        ("drain: 0x" + "9" * DIGITS, "drain", "a duration"),
        ("? " + "9" * DIGITS + "\n: 1", "line 1", "value that cannot be read"),
        ("? 0x" + "9" * DIGITS + "\n: 1", "a number of 20000 bits", "no such field"),
        ("mode: strict\nuplinks: " + "[" * DEEP + "]" * DEEP, "line 2", "nested more than"),
        ("mode: strict\nuplinks: " + "{a: " * DEEP + "1" + "}" * DEEP, "line 2", "nested more than"),
        ("lanes: !!int ''", "line 1", "value that cannot be read"),
        ("lanes: !!bool x", "line 1", "value that cannot be read"),
        ("lanes: !!timestamp x", "line 1", "value that cannot be read"),
        ("mode: strict\nlanes: 2\nmode: permissive\n", "line 3", "mode stands there twice"),
        ("mark: {shift: 8, 'shift': 9}", "line 1", "shift stands there twice"),
        ("rotation: {interval: 1h}\nrotation: {jitter: 1m}\n", "line 2", "rotation stands there twice"),
        ("uplinks: " + BOMB, "uplinks", "not a text"),
        ("drain: " + BOMB, "drain", "not a number with a unit"),
        ("? [a, b]\n: 1", "line 1", "not YAML"),
        ("? " + "x" * DIGITS + "\n: 1", "xxx", "no such field"),
    ],
)
def test_text_that_no_value_can_be_made_of_is_refused_with_its_place(text: str, place: str, why: str) -> None:
    """Dates that do not exist, endless numbers, deep nesting, a field that stands there twice: refused, with the line."""
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert place in str(caught.value)
    assert why in str(caught.value)
    assert len(str(caught.value)) < 2000


@given(st.text(alphabet="mode: stric\n[]{}&*!'\"#-?|>%@09xa.,", max_size=60))
def test_any_text_is_taken_or_refused(text: str) -> None:
    """Nothing that can be written into the ConfigMap ends in another error than `ConfigError`."""
    with suppress(ConfigError):
        parse(text)


def test_a_config_map_without_the_document_is_refused_and_so_is_none() -> None:
    """A misspelt key of the ConfigMap, or a ConfigMap that is not there, is an error and not a silent default."""
    with pytest.raises(ConfigError, match="is not there"):
        from_document(None)
    assert from_document(ConfigDocument({"config.yaml": "lanes: 2"}, "1")).lanes == 2
    with pytest.raises(ConfigError, match="exactly the key"):
        from_document(ConfigDocument({"config.yml": "lanes: 2"}, "1"))


def test_the_reference_page_is_the_generated_one() -> None:
    """The page under docs/reference does not differ from what the fields say."""
    assert page() == (ROOT / "docs/reference/configuration.md").read_text()


def test_the_shipped_document_has_every_default_commented_and_valid() -> None:
    """The document in the overlay to copy is the generated one, and with the comment marks taken away it means the defaults."""
    assert document() == (ROOT / "overlays/example/config.yaml").read_text()
    uncommented = "".join(line[1:] for line in document().splitlines(keepends=True) if not line.startswith("# "))
    assert parse(uncommented) == Settings()
    assert parse(document()) == Settings()
