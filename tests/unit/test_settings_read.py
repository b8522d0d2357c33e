"""Every field of the configuration does something: it is read outside of settings/."""

from __future__ import annotations

from pathlib import Path

import wirecrypt
from tests.unit.settings_read import FIELDS, reads
from wirecrypt import settings

PACKAGE = Path(wirecrypt.__file__).parent
SETTINGS = Path(settings.__file__).parent


def test_every_field_is_read_by_the_program() -> None:
    """One that nobody reads would be a promise that nobody keeps."""
    files = [path for path in PACKAGE.rglob("*.py") if not path.is_relative_to(SETTINGS) and "lab" not in path.parts]
    assert FIELDS - reads(files) == set()


def test_a_field_that_nobody_reads_is_found(tmp_path: Path) -> None:
    """And reading is told from having a field of the same name."""
    file = tmp_path / "some.py"
    file.write_text(
        "def some(settings: Settings, other: Other):\n"
        "    lanes, logs = settings.lanes, settings.logs\n"
        "    return lanes, logs.level, other.mode, other.logs.format\n"
    )
    assert reads([file]) == {("Settings", "lanes"), ("Logs", "level")}
