"""What can be said of the image without building it."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from wirecrypt import __version__

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def locked(name: str) -> dict[str, str]:
    """Return the package versions that a lock file pins, each with its hashes."""
    text = (ROOT / name).read_text().replace("\\\n", "")
    found = re.findall(r"^([a-z0-9.-]+==\S+)((?: +--hash=sha256:[0-9a-f]{64})+) *$", text, re.MULTILINE)
    assert len(found) == len(re.findall(r"^\w", text, re.MULTILINE)), "a line of the lock file is not understood"
    return {pin: " ".join(sorted(hashes.split())) for pin, hashes in found}


def test_hadolint_has_no_objection() -> None:
    """The linter for Dockerfiles finds nothing; what it may not look for has its reason in .hadolint.yaml."""
    hadolint = Path(sys.executable).parent / "hadolint"
    done = subprocess.run([hadolint, "Dockerfile"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize("part", ["requirements-runtime.lock", "requirements-build.lock"])
def test_the_image_gets_what_was_tested(part: str) -> None:
    """Every package in the image's lock files is one of requirements.lock, in the same version with the same hashes."""
    pins = locked(part)
    assert pins
    assert pins.items() <= locked("requirements.lock").items()


def test_all_that_is_needed_is_locked() -> None:
    """Each dependency of the project is in the lock file for the image, the build's own in that for the build."""
    runtime = {pin.split("==")[0] for pin in locked("requirements-runtime.lock")}
    assert {re.split(r"[<>=]", requirement)[0] for requirement in PROJECT["project"]["dependencies"]} <= runtime
    assert {*PROJECT["build-system"]["requires"]} <= locked("requirements-build.lock").keys()


def test_versions_agree() -> None:
    """The package, its description, the image's label and the overlay to copy say the same version."""
    assert PROJECT["project"]["version"] == __version__
    assert f"ARG VERSION={__version__}\n" in DOCKERFILE
    assert f"newTag: {__version__}\n" in (ROOT / "overlays/example/kustomization.yaml").read_text()


def test_the_build_sees_what_it_copies_and_no_more() -> None:
    """The files that .dockerignore lets pass are those that the Dockerfile copies out of the checkout."""
    copies = re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.MULTILINE)
    allowed = re.findall(r"^!(.*)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    assert sorted(allowed) == sorted(" ".join(copies).split())
