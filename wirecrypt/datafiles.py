"""Where the files lie that come with the package and are no Python: the eBPF sources, the manifests and the overlay to copy.

In an installed wheel they are below wirecrypt/data, in a checkout next to the package; pyproject.toml maps one to the other.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import wirecrypt

_PACKAGE: Final = Path(wirecrypt.__file__).parent


def folder(name: str, *, package: Path = _PACKAGE) -> Path:
    """Return the folder *name* of this installation, as in pyproject.toml; where there is none, the place it should have."""
    installed = package / "data" / name
    checkout = package.parent / name
    return checkout if checkout.is_dir() and not installed.is_dir() else installed
