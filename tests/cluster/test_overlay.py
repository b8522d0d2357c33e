"""The base against an installation: whatever is done with it, image and configuration stay what the user's overlay says."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.cluster.conftest import ROOT, binaries
from wirecrypt.cluster import paths
from wirecrypt.model.objects import SYSTEM_NAMESPACE

if TYPE_CHECKING:
    from tests.cluster.conftest import Server

EXAMPLE = ROOT / "overlays/example"
APPS = f"/apis/apps/v1/namespaces/{SYSTEM_NAMESPACE}"
IMAGE = "registry.test/mine/wirecrypt:9"
DOCUMENT = "clusterCIDRs: [10.0.0.0/13]\n"


@pytest.fixture
def installed(clean: Server, tmp_path: Path) -> Iterator[Server]:
    """Return the API server with an overlay of the user's own applied: a copy of the example with image and ranges."""
    mine = shutil.copytree(EXAMPLE, tmp_path / "mine")
    document = yaml.safe_load((mine / "kustomization.yaml").read_text())
    for key in ("resources", "components"):
        document[key] = [os.path.relpath(EXAMPLE / path, mine) for path in document[key]]
    name, _, tag = IMAGE.rpartition(":")
    document["images"] = [{"name": "wirecrypt", "newName": name, "newTag": tag}]
    (mine / "kustomization.yaml").write_text(yaml.safe_dump(document))
    (mine / "config.yaml").write_text(DOCUMENT)
    try:
        clean.kubectl("apply", "-k", str(mine))
        yield clean
    finally:
        clean.kubectl("apply", "-k", str(EXAMPLE))


def values(server: Server) -> tuple[dict[str, str], list[str]]:
    """Return what is the user's: the data of the ConfigMap, and the image of every container."""
    pods = [
        server.admin.get(f"{APPS}/{kind}")["spec"]["template"]["spec"]
        for kind in ("daemonsets/wirecrypt-agent", "deployments/wirecrypt-controller")
    ]
    images = [c["image"] for pod in pods for c in (*pod.get("initContainers", ()), *pod["containers"])]
    return server.admin.get(paths.CONFIG)["data"], images


def kubectl(server: Server, *words: str) -> subprocess.CompletedProcess[str]:
    """Run kubectl as administrator; it may fail."""
    command: list[Any] = [binaries() / "kubectl", "--kubeconfig", server.kubeconfig("admin"), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    "words",
    [
        ("apply", "-k", "manifests"),
        ("apply", "--server-side", "--force-conflicts", "-k", "manifests"),
        ("replace", "-k", "manifests"),
        ("apply", "-f", "manifests"),
        ("apply", "-k", "manifests/image"),
    ],
    ids=" ".join,
)
def test_the_base_takes_nothing_of_the_users_away(installed: Server, words: tuple[str, ...]) -> None:
    """Applied over an installation it is refused for want of an image, and says so; image and configuration stay."""
    mine = ({"config.yaml": DOCUMENT}, [IMAGE] * 3)
    assert values(installed) == mine
    done = kubectl(installed, *words[:-1], str(ROOT / words[-1]))
    assert values(installed) == mine
    assert ("image: Required value" in done.stderr) is (words[-1] == "manifests"), done


def test_the_own_overlay_may_be_applied_again(installed: Server, tmp_path: Path) -> None:
    """What is missing comes back by it, with the user's values."""
    installed.admin.delete(paths.CONFIG)
    installed.kubectl("apply", "-k", str(tmp_path / "mine"))
    assert values(installed) == ({"config.yaml": DOCUMENT}, [IMAGE] * 3)
