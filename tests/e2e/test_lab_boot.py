"""An older kernel boots on a processor with more state than it knows; one that does not boot is one error that tells why.

The machine here may have a state that the kernel knows whole. A library makes the kernel set less of it: the machine's kernel
then answers as it does on a processor with AMX.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from wirecrypt.errors import BootError
from wirecrypt.lab.machine import kernels, xstate
from wirecrypt.lab.machine.channel import Command
from wirecrypt.lab.machine.machine import Build, Machine

NEWEST_KERNEL = True  # the kernel is always the same, one that traces its processes
LENGTHS = 832, 576  # bytes: legacy area, header and AVX; and without AVX, for a machine that has nothing behind it
PLAIN = "GLIBC_TUNABLES=glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX512BW,-AVX2,-AVX"  # what is cut off is not in use either
PANIC = "ptrace set fp regs failed, errno = 14; Kernel panic - not syncing: Attempted to kill init!"


@dataclass(frozen=True)
class Poor:
    """A cache with one kernel, which sets too little of its processes' state."""

    folder: Path
    version: str

    def trial(self, answer: int) -> None:
        """Let the lab's trial of this machine end with *answer*."""
        trial = self.folder / "wirecrypt/xstate/xstate-try"
        trial.write_text(f"#!/bin/sh\nexit {answer}\n")
        trial.chmod(0o755)


@pytest.fixture
def poor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Poor:
    """Put such a cache in the place of the real one, which lends its control plane and its library."""
    real, cache = kernels.cache(), tmp_path / "cache/wirecrypt"
    kernel = next(kernel for kernel in kernels.available() if kernel.traced)
    (cache / "kernels").mkdir(parents=True)
    (cache / "xstate").mkdir()
    (cache / "kube").symlink_to(real / "kube")
    (cache / "xstate/xstate.so").symlink_to(real / "xstate/xstate.so")
    length = next(n for n in LENGTHS if subprocess.run([real / "xstate/xstate-try", str(n)], check=False).returncode)
    source, short = Path(__file__).parent / "samples/short-state.c", tmp_path / "short-state.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-Wl,-z,now", f"-DLENGTH={length}", "-o", short, source, "-ldl"], check=True)
    program = cache / f"kernels/linux-{kernel.version}"
    preload = f"{short}${{LD_PRELOAD:+ $LD_PRELOAD}}"
    program.write_text(f'#!/bin/sh\nexport LD_PRELOAD="{preload}"\nexec {kernel.program.resolve()} "$@" {PLAIN}\n')
    program.chmod(0o755)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Poor(tmp_path / "cache", kernel.version)


def test_a_kernel_that_knows_less_state_than_the_machine_has_boots(poor: Poor) -> None:
    """Where the trial says that it is needed, the library completes what the kernel sets, and programs run."""
    poor.trial(xstate.REFUSED)
    with Machine.boot(Build(kernels.find(version=poor.version))) as machine:
        script = "print(sum(n * 0.5 for n in range(1000)))"
        done = machine.channel.run("guest", Command(["python3", "-c", script], env=dict([PLAIN.split("=", 1)])))
        assert (done.stdout, machine.channel.hello()["kernel"].startswith(poor.version)) == ("249750.0\n", True)


def test_a_kernel_that_does_not_boot_is_an_error_with_its_last_words(poor: Poor) -> None:
    """Which kernel, the panic without its stack, and the next step; the whole console is kept where the error says."""
    poor.trial(xstate.TAKEN)
    with pytest.raises(BootError) as raised:
        Machine.boot(Build(kernels.find(version=poor.version)))
    text = str(raised.value)
    assert f"the guest's kernel did not boot (Linux {poor.version}, uml): it ended; " in text
    assert PANIC in text
    assert "Call Trace" not in text
    console = re.search(r"Next: see the whole console in (\S+)", text)
    assert console
    assert "Call Trace" in Path(console[1]).read_text()


@pytest.mark.parametrize(
    "files",
    [
        pytest.param(["tests/kernel/test_probe.py"], id="in a guest"),
        pytest.param(["tests/e2e/test_rotation.py"], id="in a lab"),
        pytest.param(["tests/kernel/test_probe.py", "tests/e2e/test_rotation.py"], id="in both"),
    ],
)
def test_a_kernel_that_does_not_boot_fails_one_test(poor: Poor, pytestconfig: pytest.Config, files: list[str]) -> None:
    """The others that want it are skipped, and name the one that failed."""
    poor.trial(xstate.TAKEN)
    words = ["-p", "no:randomly", "-p", "no:cacheprovider", "-rs", f"--kernel={poor.version}", *files]
    argv = [sys.executable, "-m", "pytest", *words]
    done = subprocess.run(argv, cwd=pytestconfig.rootpath, env=dict(os.environ), capture_output=True, text=True, check=False)
    summary = done.stdout.strip().splitlines()[-1]
    counts = {words: int(number) for number, words in re.findall(r"([0-9]+) ([a-z]+)", summary.split(" in ")[0])}
    assert counts == {"failed" if "kernel" in files[0] else "error": 1, "skipped": sum(counts.values()) - 1}, done.stdout
    assert counts["skipped"] > 0
    assert PANIC in done.stdout
    assert f"Linux {poor.version} did not boot, see {files[0]}" in done.stdout
