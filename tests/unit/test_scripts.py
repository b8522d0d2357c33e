"""The scripts that fetch and build notice a failure, try what else there is, and never take a failed try for done."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
INSTALLED = "echo installed"
MIRROR = "echo ' 500 http://mirror.test/debian bookworm/main amd64 Packages'"
DOWNLOAD = """
case "$*" in
  *apt-{broken}*download*) echo "E: failed to fetch" >&2; exit 100 ;;
  *download*) touch user-mode-linux.deb libc6.deb ;;
esac
"""
UNPACK = """
mkdir -p root/usr/bin root/usr/lib/x86_64-linux-gnu root/usr/lib/uml/modules/9.9.1
printf '#!/bin/sh\\n{version}\\n' >root/usr/bin/linux.uml
chmod 755 root/usr/bin/linux.uml
touch root/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2 root/usr/lib/x86_64-linux-gnu/libc.so.6
"""


class Machine:
    """A machine whose package tools are made up, with an empty cache."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cache = folder / "cache/wirecrypt"
        self.programs = folder / "bin"
        self.programs.mkdir()
        (folder / "lib/uml/modules/6.1.9").mkdir(parents=True)
        self.has("linux.uml", "echo 6.1.9")
        self.has("id", "echo 0")
        self.has("dpkg-query", INSTALLED)
        self.has("apt-cache", MIRROR)
        self.has("apt-get", DOWNLOAD.format(broken="none"))
        self.has("dpkg-deb", UNPACK.format(version="echo 9.9.1"))
        self.has("patchelf", "")
        self.has("depmod", "")

    def has(self, name: str, script: str) -> None:
        """Put a program on the PATH."""
        path = self.programs / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    @property
    def environment(self) -> dict[str, str]:
        """Environment with these programs and this cache."""
        path = f"{self.programs}:{os.environ['PATH']}"
        return {**os.environ, "PATH": path, "XDG_CACHE_HOME": str(self.folder / "cache")}

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a script or a text of bash with these programs and this cache."""
        return subprocess.run(words, env=self.environment, capture_output=True, text=True, timeout=60, check=False)

    def start(self, *words: str, process_group: int | None = None) -> subprocess.Popen[str]:
        """Start the same in the background, with its input and outputs in pipes."""
        pipe = subprocess.PIPE
        return subprocess.Popen(
            words, env=self.environment, stdin=pipe, stdout=pipe, stderr=pipe, text=True, process_group=process_group
        )

    def get_uml(self) -> subprocess.CompletedProcess[str]:
        """Fetch the prebuilt kernels."""
        return self.run(str(SCRIPTS / "get-uml"))

    @property
    def prebuilt(self) -> dict[str, str]:
        """The prebuilt kernels that the cache names, and where the names lead."""
        return {link.name: str(link.readlink()) for link in (self.cache / "kernels/prebuilt").iterdir()}

    @property
    def done(self) -> list[str]:
        """What counts as done."""
        return [entry.name for entry in (self.cache / "done").iterdir() if entry.suffix != ".lock"]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_the_prebuilt_kernel_is_named_once_it_has_run(machine: Machine) -> None:
    """What Debian's development branch has is unpacked and named by the version that it tells."""
    done = machine.get_uml()
    assert done.returncode == 0, done.stderr
    assert machine.prebuilt == {"linux-9.9": "../../uml-sid/linux"}
    assert (machine.cache / "kernels/linux-6.1").readlink() == machine.programs / "linux.uml"
    assert len(machine.done) == 1


def test_a_failed_download_makes_way_for_the_next_release(machine: Machine) -> None:
    """The fall-back is taken, and said."""
    machine.has("apt-get", DOWNLOAD.format(broken="sid"))
    done = machine.get_uml()
    assert done.returncode == 0, done.stderr
    assert "taking the one of the next release" in done.stderr
    assert machine.prebuilt == {"linux-9.9": "../../uml-trixie/linux"}


def test_two_failed_downloads_are_an_error_and_tried_again_the_next_time(machine: Machine) -> None:
    """No name without a kernel behind it, nothing that counts as done; once the mirror is back it works."""
    machine.has("apt-get", DOWNLOAD.format(broken=""))
    assert machine.get_uml().returncode != 0
    assert (machine.prebuilt, machine.done) == ({}, [])
    machine.has("apt-get", DOWNLOAD.format(broken="none"))
    assert machine.get_uml().returncode == 0
    assert list(machine.prebuilt) == ["linux-9.9"]


@pytest.mark.parametrize("version", ["exit 1", "true", "echo help"])
def test_a_kernel_that_does_not_run_gets_no_name(machine: Machine, version: str) -> None:
    """A program that fails, says nothing, or something else than a version is no kernel."""
    machine.has("dpkg-deb", UNPACK.format(version=version))
    assert machine.get_uml().returncode != 0
    assert (machine.prebuilt, machine.done) == ({}, [])


def test_a_failure_inside_a_substitution_is_not_done(machine: Machine) -> None:
    """The shell ends what runs inside $(...) at a failure too, so that a half-finished installation is tried again."""
    text = 'half() { false; echo on; }; all() { once it half; echo found; }; x=$(all); echo "$x"'
    done = machine.run("bash", "-c", f'source "{SCRIPTS}/common.sh"; {text}')
    assert (done.returncode, done.stdout, machine.done) == (1, "", [])


@pytest.mark.parametrize("failing", ["defconfig", "merge", "olddefconfig", "vmlinux"])
def test_every_step_of_the_kernel_build_can_fail_it(machine: Machine, failing: str) -> None:
    """Configuring, merging the fragment and compiling: the first failure ends the build with the end of its log."""
    machine.has("apt-cache", f"case $* in *pkgnames*) echo linux-source-7.2 ;; *) {MIRROR} ;; esac")
    machine.has("apt-get", "case $* in *download*) touch linux-source-7.2.deb ;; esac")
    machine.has("dpkg-deb", "")
    step = f'case "$0 $*" in *{failing}*) echo "{failing} went wrong"; exit 2 ;; esac'
    source = "mkdir -p scripts/kconfig arch/um/drivers; touch arch/um/drivers/vector_kern.c vmlinux"
    merge = f"cp {machine.programs}/make scripts/kconfig/merge_config.sh"
    machine.has("tar", f"case $* in *-xJ*) {source}; {merge} ;; esac")
    machine.has("make", step)
    machine.has("strip", 'touch "$3"')
    done = machine.run(str(SCRIPTS / "build-kernel"))
    assert done.returncode == 1, done.stderr
    assert f"{failing} went wrong" in done.stderr
    assert not (machine.cache / "kernels/linux-7.2").exists()
    assert machine.done == []


def calls_of_test(machine: Machine, words: str) -> list[str]:
    """Return what scripts/test calls, in a checkout with made-up programs."""
    checkout = machine.folder / "checkout"
    (checkout / "scripts").mkdir(parents=True)
    (checkout / ".venv/bin").mkdir(parents=True)
    for area in ("unit/model", "cluster", "kernel", "e2e", "image"):
        (checkout / "tests" / area).mkdir(parents=True)
    (checkout / "tests/unit/test_docs.py").touch()
    for name in ("test", "common.sh"):
        (checkout / "scripts" / name).write_text((SCRIPTS / name).read_text())
    programs = ("scripts/setup", "scripts/build-kernel", "scripts/get-promtool", "scripts/lint-shell",
                ".venv/bin/ruff", ".venv/bin/mypy", ".venv/bin/lint-imports", ".venv/bin/python3")  # fmt: skip
    for name in programs:
        (checkout / name).write_text('#!/bin/sh\necho "${0##*/} $*"\n')
        (checkout / name).chmod(0o755)
    done = machine.run("bash", str(checkout / "scripts/test"), *words.split())
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("words", "lint", "pytest_words"),
    [
        ("", True, ""),
        ("--kernel 6.1", True, "--kernel 6.1"),
        ("--kernel=6.1 --slow", True, "--kernel=6.1 --slow"),
        ("--slow", True, "--slow"),
        ("tests/e2e", False, "tests/e2e"),
        ("--slow tests/image", False, "--slow tests/image"),
        ("R1 L6 --kernel 7.2", False, "--kernel 7.2 -m R1 or L6"),
        ("-k name", False, "-k name"),
    ],
)
def test_lint_is_left_out_only_when_something_is_named(machine: Machine, words: str, lint: bool, pytest_words: str) -> None:  # noqa: FBT001
    """Options that choose a kernel or ask for slow tests name nothing; what is slow is left to pytest."""
    lines = calls_of_test(machine, words)
    assert lines[-1] == f"python3 -m pytest {pytest_words}".strip()
    assert ("lint-shell " in lines) == lint
    assert ("mypy " in lines) == lint


UNIT, SERVER, KERNELS = ["setup python"], ["setup "], ["setup ", "build-kernel "]


@pytest.mark.parametrize(
    ("words", "prepared"),
    [
        ("tests/unit", UNIT),
        ("./tests/unit/test_docs.py::test_a_page -x", UNIT),
        ("tests/unit/model tests/unit/test_docs.py --kernel 6.1", UNIT),
        ("tests/cluster", SERVER),
        ("tests/unit tests/cluster", SERVER),
        ("tests/image tests/unit --slow", SERVER),
        ("tests/unit tests/kernel", KERNELS),
        ("tests/e2e", KERNELS),
        ("tests", KERNELS),
        ("R1 tests/unit", KERNELS),
        ("-k name", KERNELS),
        ("--ignore tests/unit", KERNELS),
        ("--ignore=tests/unit", KERNELS),
        ("--deselect tests/unit/test_docs.py::test_a_page", KERNELS),
        ("", KERNELS),
    ],
)
def test_only_what_the_named_paths_need_is_fetched_and_built(machine: Machine, words: str, prepared: list[str]) -> None:
    """Unit tests need no kernel and no API server; where no path is named, everything may be needed."""
    called = [line for line in calls_of_test(machine, words) if line.startswith(("setup", "build"))]
    assert called == prepared


QUIETLY = 'source "{scripts}/common.sh"; SIGNS=1; quietly "fetching what is missing" bash -c \'{command}\'; echo reached'


def quietly(machine: Machine, command: str) -> subprocess.CompletedProcess[str]:
    """Run a command whose output goes to a log."""
    return machine.run("bash", "-c", QUIETLY.format(scripts=SCRIPTS, command=command))


def logs(machine: Machine) -> list[Path]:
    """Return the logs that were kept."""
    return list((machine.cache / "logs").iterdir())


def test_what_was_fetched_and_built_is_one_line(machine: Machine) -> None:
    """However much was said; with the time that it took, and without a log that nobody needs."""
    done = quietly(machine, 'for n in $(seq 1000); do echo "noise $n"; echo "go: noise" >&2; done')
    assert re.fullmatch(r"==> fetching what is missing: done, \d+ min \d+ s\n", done.stderr)
    assert (done.returncode, done.stdout, logs(machine)) == (0, "reached\n", [])


def test_what_cannot_be_fetched_or_built_is_told_by_the_end_of_its_log(machine: Machine) -> None:
    """The whole is kept where the error says, and nothing goes on."""
    done = quietly(machine, 'for n in $(seq 100); do echo "noise $n"; done; echo "no such mirror" >&2; exit 3')
    *shown, last = done.stderr.splitlines()
    assert (len(shown), shown[-1]) == (20, "no such mirror")
    assert re.match(r"error: fetching what is missing failed after \d+ s, see above; all that was said is in ", last)
    assert Path(last.rpartition(" ")[2]).read_text().count("noise") == 100
    assert (done.returncode, done.stdout) == (1, "")


def test_a_long_build_shows_signs_of_life_with_its_latest_step(machine: Machine) -> None:
    """It ends once one has been seen."""
    step = f'source "{SCRIPTS}/common.sh"; say "building a program that takes long"'
    code = QUIETLY.format(scripts=SCRIPTS, command=step + "; read -r _")
    process = machine.start("bash", "-c", code)
    assert process.stderr
    try:
        sign = next(line for line in process.stderr if "…" in line and "building" in line)
        assert re.fullmatch(r"    … \d+ s: building a program that takes long\n", sign)
        said, complained = process.communicate("\n", timeout=60)
        assert said == "reached\n"
        assert complained.splitlines()[-1].startswith("==> fetching what is missing: done")
    finally:
        process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_build_leaves_no_signs_of_life_behind(machine: Machine, number: int) -> None:
    """Nor its log: the signal goes to all, as from a terminal."""
    code = QUIETLY.format(scripts=SCRIPTS, command="echo begun; read -r _")
    process = machine.start("env", "--default-signal=INT", "bash", "-c", code, process_group=0)
    assert process.stderr
    try:
        next(line for line in process.stderr if "…" in line)
        os.killpg(process.pid, number)
        said, _ = process.communicate(timeout=60)  # its end: nobody holds the pipes any more
    finally:
        process.kill()
    assert (process.returncode, said, logs(machine)) == (-number, "", [])


ROOTLESS = {
    "bench": "it measures in memory; only a missing environment needs root, and is named then",
    "build-xstate": "it calls a compiler; only a missing one needs root, and is named then",
    "check": "it is for everybody",
    "check-encryption.sh": "a capture can be judged without; tcpdump says when it may not look",
    "lint-shell": "it reads files",
    "lock": "it asks a package index; only a missing package needs root, and is named then",
}
PROGRAMS = {path.name: path for path in SCRIPTS.iterdir() if path.is_file() and path.read_bytes()[:2] == b"#!"}
NOBODY = 65534


@pytest.fixture
def readable() -> Iterator[Path]:
    """Return a checkout's scripts where every user can read them."""
    with tempfile.TemporaryDirectory(prefix="wirecrypt-", dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        for name in ("scripts", ".ci"):
            shutil.copytree(SCRIPTS.parent / name, Path(folder) / name)
        yield Path(folder)


@pytest.mark.parametrize("name", [*sorted(f"scripts/{name}" for name in PROGRAMS.keys() - ROOTLESS), ".ci/run"])
def test_a_script_that_needs_root_says_so_at_once(readable: Path, name: str) -> None:
    """In one line, with an exit status of its own, and before it makes anything."""
    readable.chmod(0o777)
    user = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
    environment = {"PATH": os.environ["PATH"], "HOME": str(readable / "home")}
    done = subprocess.run([readable / name], env=environment, capture_output=True, text=True, timeout=60, check=False, **user)
    called = "test" if name == ".ci/run" else Path(name).name
    assert done.stderr.startswith(
        f"error: scripts/{called} needs root, and this is user {NOBODY if user else os.geteuid()}. Next: "
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (77, "", 1)
    assert not (readable / "home").exists()


def test_the_scripts_that_need_no_root_are_known() -> None:
    """Each with its reason, and no other says that it needs none."""
    declared = {name for name, path in PROGRAMS.items() if "\nROOTLESS=yes\n" in path.read_text()}
    alone = {name for name, path in PROGRAMS.items() if "common.sh" not in path.read_text()}
    assert declared | alone == ROOTLESS.keys()
