"""The wheel: built from this checkout, installed into an environment of its own, used from there."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from wirecrypt import __version__, datafiles

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("bpf", "manifests", "overlays/example")
ASK = """
from wirecrypt import datafiles
from wirecrypt.kernel.bpf.source import SOURCE, version
print(datafiles.folder("manifests"), SOURCE, version(), sep="\\n")
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the wheel, built without network."""
    folder = tmp_path_factory.mktemp("wheel")
    call(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=ROOT)
    [found] = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def lab_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the lab's wheel, built without network."""
    folder = tmp_path_factory.mktemp("lab-wheel")
    call(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=ROOT / "lab-package")
    [found] = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an environment with the wheel in it, that borrows the dependencies of this one."""
    folder = tmp_path_factory.mktemp("environment")
    call(sys.executable, "-m", "venv", "--without-pip", folder)
    [packages] = folder.glob("lib/python3*/site-packages")
    (packages / "borrowed.pth").write_text("\n".join(path for path in sys.path if path.endswith("-packages")))
    python = folder / "bin" / "python3"
    call(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", "--no-compile", wheel)
    return folder


def call(*argv: str | Path, cwd: Path | None = None) -> str:
    """Run a program and return its output; its words are the assertion's message when it fails."""
    done = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def files(folder: Path) -> dict[str, bytes]:
    """Return the content of each file below a folder by its relative path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_carries_every_data_file_as_it_is(wheel: Path) -> None:
    """The wheel holds the eBPF sources, the manifests and the example of an overlay of the checkout, byte for byte."""
    with zipfile.ZipFile(wheel) as archive:
        for name in FOLDERS:
            prefix = f"wirecrypt/data/{name}/"
            packed = {n.removeprefix(prefix): archive.read(n) for n in archive.namelist() if n.startswith(prefix)}
            assert packed == files(ROOT / name)
            assert packed


def test_carries_nothing_else(wheel: Path) -> None:
    """The wheel holds the package and its description: no tests, no scripts, no byte code."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.split("/")[0] for name in names} == {"wirecrypt", f"wirecrypt-{__version__}.dist-info"}
    assert [name for name in names if name.endswith(".pyc") or "/tests/" in name] == []


def test_the_lab_is_a_wheel_of_its_own(wheel: Path, lab_wheel: Path) -> None:
    """Production carries nothing of the lab; the lab's wheel carries that folder, whole, and nothing else."""
    with zipfile.ZipFile(wheel) as archive:
        assert [name for name in archive.namelist() if name.startswith("wirecrypt/lab/")] == []
    with zipfile.ZipFile(lab_wheel) as archive:
        packed = {n for n in archive.namelist() if not n.startswith("wirecrypt_lab-")}
    listed = call("git", "ls-files", "wirecrypt/lab", cwd=ROOT).split() if (ROOT / ".git").exists() else packed
    assert packed == set(listed)


def test_without_the_lab_its_verb_tells_the_next_step(environment: Path, tmp_path: Path) -> None:
    """It is not offered, and asked for all the same it is one line and not a traceback."""
    program = environment / "bin/wirecrypt"
    assert "\n  lab " not in call(program, "--help", cwd=tmp_path)
    done = subprocess.run([program, "lab", "up"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.splitlines()) == (
        1,
        ["error: the lab is not installed. Next: install wirecrypt[lab], or run wirecrypt from a checkout"],
    )


def test_with_the_lab_its_verb_works(environment: Path, lab_wheel: Path, tmp_path: Path) -> None:
    """Both wheels in one environment are one package."""
    target = tmp_path / "lab"
    with zipfile.ZipFile(lab_wheel) as archive:
        archive.extractall(target)
    [packages] = environment.glob("lib/python3*/site-packages")
    shutil.copytree(packages / "wirecrypt", target / "wirecrypt", dirs_exist_ok=True)
    script = "import sys; from wirecrypt.cli.main import main; sys.argv = ['wirecrypt', 'lab', '--help']; main()"
    said = subprocess.run(
        [environment / "bin/python3", "-c", script], cwd=target, capture_output=True, text=True, check=True
    ).stdout
    assert "Run a small cluster on this machine" in said


def test_is_the_same_in_every_build(wheel: Path, tmp_path: Path) -> None:
    """Two builds of one checkout give the same bytes."""
    call(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path, cwd=ROOT)
    assert (tmp_path / wheel.name).read_bytes() == wheel.read_bytes()


@pytest.mark.parametrize(("name", "called"), [("wirecrypt", "wirecrypt"), ("kubectl-wirecrypt", "kubectl wirecrypt")])
def test_installs_the_command(environment: Path, tmp_path: Path, name: str, called: str) -> None:
    """The installed command explains itself under both of its names."""
    assert call(environment / "bin" / name, "--help", cwd=tmp_path).startswith(f"Usage: {called} [OPTIONS]")


def test_finds_its_data_where_it_is_installed(environment: Path, tmp_path: Path) -> None:
    """The installed package finds its own data files, and they are those of this checkout."""
    manifests, source, version = call(environment / "bin" / "python3", "-c", ASK, cwd=tmp_path).splitlines()
    assert Path(manifests).is_relative_to(environment)
    assert files(Path(manifests)) == files(ROOT / "manifests")
    assert Path(source).is_relative_to(environment)
    assert version == call(sys.executable, "-c", ASK, cwd=ROOT).splitlines()[2]


@pytest.mark.parametrize("name", FOLDERS)
def test_a_checkout_finds_the_folders_beside_the_package(name: str) -> None:
    """Without installation the data files are those that are edited."""
    assert datafiles.folder(name) == ROOT / name


def test_a_broken_installation_names_the_place_that_is_empty(tmp_path: Path) -> None:
    """Where there is neither, the answer is the place of an installed package, for the error that follows."""
    assert datafiles.folder("bpf", package=tmp_path / "wirecrypt") == tmp_path / "wirecrypt" / "data" / "bpf"
