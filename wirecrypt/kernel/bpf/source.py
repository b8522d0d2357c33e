"""Where the C sources are, and which version of the programs they make."""

from __future__ import annotations

import hashlib
from functools import cache
from typing import Final

from wirecrypt import datafiles
from wirecrypt.errors import BpfError

FOLDER: Final = datafiles.folder("bpf")
SOURCE: Final = FOLDER / "wirecrypt.c"
HEADER: Final = FOLDER / "wirecrypt.h"
CONTROL: Final = "wirecrypt_control"  # the filter of the control port's sockets; all others are for tc
PROGRAMS: Final = ("wirecrypt_mark", "wirecrypt_guard_egress", "wirecrypt_guard_ingress", CONTROL)


@cache
def version() -> str:
    """Return 12 hex digits of a hash over all sources: programs of another version are not current."""
    try:
        text = b"\0".join(path.read_bytes() for path in sorted(FOLDER.glob("*.[ch]")))
    except OSError as error:
        raise BpfError("read the eBPF sources", what=str(FOLDER), answer=str(error), hint="reinstall wirecrypt") from error
    return hashlib.sha256(text).hexdigest()[:12]
