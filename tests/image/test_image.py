"""The image of the Dockerfile, really built, and what is started in it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

import wirecrypt

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.image.conftest import Image

# Building takes one to four minutes and is part of whichever test comes first.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

MANIFESTS = Path(__file__).resolve().parents[2] / "manifests"
HEADERS = "usr/share/wirecrypt/headers"
LOAD_ALL = """
import importlib, pkgutil, sys, wirecrypt
for module in pkgutil.walk_packages(wirecrypt.__path__, "wirecrypt."):
    if not module.name.startswith(("wirecrypt.lab", "wirecrypt.cli.verbs.lab")) and not module.name.endswith("__main__"):
        importlib.import_module(module.name)
print(*filter(None, (getattr(module, "__cached__", None) for module in sys.modules.values())), sep="\\n")
"""


def test_starts_the_command_of_this_version(image: Image) -> None:
    """`wirecrypt --version` in the image prints this checkout's version."""
    assert image.run("wirecrypt", "--version") == f"wirecrypt, version {wirecrypt.__version__}\n"


def test_a_verb_works_without_a_cluster(image: Image) -> None:
    """`wirecrypt spi` decodes an SPI in the image."""
    assert "0x04100100" in image.run("wirecrypt", "spi", "0x04100100")


def test_works_as_a_plugin_of_kubectl(image: Image) -> None:
    """The image has the command under the name by which kubectl finds it."""
    assert image.run("kubectl-wirecrypt", "--help").startswith("Usage: kubectl wirecrypt")


def test_is_not_root_by_default(image: Image) -> None:
    """Without a word of the manifest the image's program is user 65532, with a name and no home."""
    assert image.run("id", "-u", "-n").strip() == "wirecrypt"
    assert image.run("id", "-u").strip() == "65532"
    assert image.configuration()["User"] == "65532:65532"


def test_describes_itself(image: Image) -> None:
    """The labels tell version, licence and revision, and the entry point is the command."""
    configuration = image.configuration()
    labels = {key.removeprefix("org.opencontainers.image."): value for key, value in configuration["Labels"].items()}
    assert labels["version"] == wirecrypt.__version__
    assert labels["licenses"] == "Apache-2.0"
    assert len(labels["revision"]) == 40
    assert configuration["Entrypoint"] == ["wirecrypt"]


LOAD_PROGRAMS = """
from pathlib import Path
from wirecrypt.kernel.bpf import cache, load
from wirecrypt.kernel.bpf.pins import Pins
load.load(Pins(Path("/bpf")), cache.programs(Path("/tmp/programs")))
"""


def test_the_compiler_is_there(image: Image) -> None:
    """The distribution's bcc is found by the image's own Python."""
    assert image.run("python3", "-c", "import bcc; print(bcc.__file__)").startswith("/usr/lib/python3/dist-packages/bcc/")


def test_programs_load_with_the_capabilities_of_the_manifest(image: Image, bpf_folder: Path) -> None:
    """The image compiles, loads and pins the eBPF programs as root with the agent's capabilities and no other."""
    kept = ",".join(f"+{name.lower()}" for name in capabilities())
    options = ["--user", "0", "--volume", f"{bpf_folder}:/bpf", *(f"--cap-add=CAP_{name}" for name in capabilities())]
    mounted = ("unshare", "-m", "sh", "-ec", f'mount -t bpf bpf {bpf_folder}; "$@"; ls {bpf_folder}/wirecrypt', "sh")
    limited = ("setpriv", "--inh-caps=-all", f"--bounding-set=-all,{kept}")
    pinned = image.run(*limited, "python3", "-c", LOAD_PROGRAMS, options=tuple(options), prefix=mounted)
    assert {"wirecrypt_mark", "wirecrypt_guard_egress", "wirecrypt_guard_ingress"} <= {n.split("-")[0] for n in pinned.split()}


def test_nothing_is_compiled_at_start(image: Image) -> None:
    """Every module that agent, controller and command line import has its byte code in the image."""
    cached = image.run("python3", "-c", LOAD_ALL).split()
    assert len(cached) > 100
    assert [path for path in cached if not (image.root / path.lstrip("/")).exists()] == []


def test_headers_are_only_what_the_compiler_reads(image: Image) -> None:
    """Kernel headers are there, of one architecture, without scripts, drivers or tools."""
    assert sorted(path.name for path in (image.root / HEADERS / "arch").iterdir()) == ["x86"]
    assert sorted(path.name for path in (image.root / HEADERS / "include").iterdir()) == [
        "asm-generic", "generated", "linux", "uapi", "vdso",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("what", "is_it"),
    [
        ("package lists and archives", lambda p: p.is_relative_to("var/lib/apt/lists") or p.suffix == ".deb"),
        ("caches of pip", lambda p: ".cache" in p.parts or "http-v2" in p.parts),
        ("pip, setuptools and hatchling", lambda p: {"pip", "setuptools", "hatchling", "ensurepip"} & {*p.parts}),
        ("a compiler for C", lambda p: p.parent.name == "bin" and p.name in {"cc", "gcc", "make"}),
        ("history", lambda p: p.name in {".git", ".gitignore", ".ci", ".hypothesis"}),
        ("tests of this project", lambda p: p.name == "conftest.py" or "wirecrypt/tests" in str(p)),
        ("configuration and authorities of the build machine", lambda p: p.name in {"pip.conf", "ca-certificates.crt"}),
        ("build folders", lambda p: p.parts[0] in {"src", "dist", "cache"} or p.is_relative_to("opt/build")),
        ("logs", lambda p: p.is_relative_to("var/log")),
    ],
)
def test_nothing_is_left_of(image: Image, what: str, is_it: Callable[[Path], bool]) -> None:
    """No file of the image is a left-over of its making."""
    found = [path for path in image.root.rglob("*") if not path.is_dir() and is_it(path.relative_to(image.root))]
    assert found == [], what


def test_keeps_its_size(image: Image) -> None:
    """The image is at most 600 MB, of which the base is about 120 and the compiler's libraries 230."""
    assert image.size() < 600e6


def capabilities() -> list[str]:
    """Return what the agent's container may do, by its manifest."""
    agent: dict[str, Any] = yaml.safe_load((MANIFESTS / "agent.yaml").read_text())
    added: list[str] = agent["spec"]["template"]["spec"]["containers"][0]["securityContext"]["capabilities"]["add"]
    return added


@pytest.fixture
def bpf_folder(tmp_path: Path) -> Path:
    """Return an empty folder to mount a bpf file system on, in a mount namespace of the test's own."""
    probe = subprocess.run(
        ["unshare", "-m", "mount", "-t", "bpf", "bpf", tmp_path], capture_output=True, text=True, check=False
    )
    if probe.returncode:
        pytest.skip(f"this kernel mounts no bpf file system: {probe.stderr.strip()}")
    return tmp_path
