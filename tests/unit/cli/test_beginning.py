"""How the programs that run for ever begin."""

import subprocess
import sys

CODE = """
import gc, resource
from wirecrypt.cli.beginning import begin
begin("json")
print(resource.getrlimit(resource.RLIMIT_CORE), gc.isenabled(), gc.get_threshold()[0] >= 100_000)
"""


def test_they_leave_no_core_and_look_for_cycles_rarely() -> None:
    """A core would hold keys; what is kept of every peer is not walked a hundred times a pass."""
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert done.stdout == "(0, 0) True True\n"
