"""The probe tells what this kernel can do, and leaves nothing behind."""

from wirecrypt.kernel.net.links import KernelLinks
from wirecrypt.kernel.probe import ProbeResult, probe
from wirecrypt.kernel.xfrm.adapter import KernelXfrm


def test_probe_says_yes_to_all_that_is_needed(esp: None) -> None:
    """A kernel that runs these tests has every feature."""
    found = {f.name: f.verdict for f in probe()}
    assert found == dict.fromkeys(
        [
            "esp-ipv4",
            "esp-ipv6",
            "aes-256-gcm",
            "chacha20-poly1305",
            "esn",
            "so-rcvmark",
            "clsact",
            "bpf",
        ],
        ProbeResult.YES,
    )


def test_probe_leaves_nothing_behind(xfrm: KernelXfrm) -> None:
    """Probing changes neither states nor links of the network namespace that asks."""
    before = [link.name for link in KernelLinks().links()]
    probe()
    assert xfrm.list_sas() == []
    assert [link.name for link in KernelLinks().links()] == before
