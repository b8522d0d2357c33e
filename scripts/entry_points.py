"""Write the programs that pyproject.toml names into this virtual environment, as an editable installation would.

An installer does the same in several seconds, and needs every file that the package's description names.
"""  # noqa: INP001  # a program, no package

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

if __name__ == "__main__":
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for name, target in project["scripts"].items():
        module, _, function = target.partition(":")
        program = Path(sys.prefix) / "bin" / name
        program.write_text(
            f"#!{sys.prefix}/bin/python3\nimport sys\n\nfrom {module} import {function}\n\nsys.exit({function}())\n"
        )
        program.chmod(0o755)
