"""The lab on a kernel with ESP that is taken for the machine's own: it starts inside the guest of these tests."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

import pytest

from wirecrypt.errors import LabError
from wirecrypt.lab.machine import hostkernel, kernels
from wirecrypt.lab.machine.channel import Command
from wirecrypt.lab.machine.machine import Build, Machine

STATE = "ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1001 reqid 1 mode tunnel aead rfc4106(gcm(aes))"
DELETE = "ip xfrm state delete src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1001"
KEY = "0x" + "11" * 36


@pytest.fixture(autouse=True)
def _no_wish(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WIRECRYPT_LAB_KERNEL", raising=False)


def test_a_kernel_with_esp_and_tcx_is_taken_where_nothing_prebuilt_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`auto` is then this kernel, unless it is older or IPsec of someone else is on the machine; else the prebuilt one."""
    assert hostkernel.objections() == []
    assert kernels.find("auto").vehicle == "uml"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    modern = tuple(int(part) for part in hostkernel.version().split(".")) >= kernels.TCX
    if modern and not hostkernel.foreign():
        assert kernels.find("auto").vehicle == "host"
    else:
        with pytest.raises(LabError, match="not on this machine"):
            kernels.find("auto")


def test_foreign_ipsec_on_the_machine_keeps_labs_away() -> None:
    """With a state of somebody's VPN in the machine's network, `auto` is not this kernel; asked for by name, it is."""
    subprocess.run([*STATE.split(), KEY, "128"], check=True)
    try:
        assert "192.0.2.2" in "".join(hostkernel.foreign())
        assert kernels.find("host").vehicle == "host"
    finally:
        subprocess.run(DELETE.split(), check=True)


def test_a_node_on_the_machines_kernel_has_esp_of_its_own() -> None:
    """A node of the lab takes IPsec states; the machine itself has none of them, also not when the lab is gone."""
    with Machine.boot(Build(kernels.find("host"))) as machine:
        machine.channel.make_node("node-1", "0-0-0")
        machine.channel.run("node-1", Command([*STATE.split(), KEY, "128"]))
        assert "0x00001001" in machine.channel.run("node-1", Command(["ip", "xfrm", "state"])).stdout
        assert not [line for line in hostkernel.foreign() if "192.0.2.2" in line]
        assert machine.channel.hello()["kernel"] == platform.release()
    assert not [line for line in hostkernel.foreign() if "192.0.2.2" in line]
