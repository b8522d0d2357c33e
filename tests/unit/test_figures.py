"""docs/figures.md is what the results say, and a result says where it was measured."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def figures(tmp_path: Path) -> ModuleType:
    """Return the script, with a folder of results of its own that holds what the real one does."""
    spec = importlib.util.spec_from_file_location("figures", ROOT / "scripts/figures.py")
    assert spec
    assert spec.loader
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    for path in (ROOT / "docs/figures").glob("*.json"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    script.RESULTS = tmp_path
    return script


def test_the_page_is_the_one_that_the_results_give(figures: ModuleType) -> None:
    """Nobody writes a figure into it."""
    assert (ROOT / "docs/figures.md").read_text() == figures.page()


def test_every_result_names_its_machine() -> None:
    """A time says nothing without."""
    results = [json.loads(path.read_text()) for path in (ROOT / "docs/figures").glob("*.json")]
    assert len(results) > 1
    assert all(result["machine"] for result in results)


def test_a_demos_result_is_taken_with_this_machine(figures: ModuleType, tmp_path: Path) -> None:
    """Its figures are on the page, and the machine is this one."""
    kept = json.loads((tmp_path / "demo.json").read_text())["figures"]
    file = tmp_path / "result"
    file.write_text(json.dumps({"held": True, "claims": [], "figures": {**kept, "rotation_seconds": 12.34}}))
    figures.take(file)
    assert "under load | 12.34 s |" in figures.page()
    assert f"On {figures.machine()}." in figures.page()


def test_what_tests_bench_measured_is_taken(figures: ModuleType, tmp_path: Path) -> None:
    """In a section of its own, with this machine."""
    file = tmp_path / "lab-up.json"
    file.write_text('{"what": "lab of 3 nodes up", "seconds": 5.5, "at": 1}')
    figures.take(file)
    assert "| lab of 3 nodes up | 5.5 s |" in figures.page()


def test_what_was_measured_by_some_number_is_a_table(figures: ModuleType, tmp_path: Path) -> None:
    """A row for each number."""
    file = tmp_path / "peers.json"
    file.write_text('{"what": "an agent by its peers", "rows": [{"peers": 10, "s": 0.5}, {"peers": 1000, "s": 50}]}')
    figures.take(file)
    assert "## An agent by its peers\n" in figures.page()
    assert "| peers | s |\n| --- | --- |\n| 10 | 0.5 |\n| 1,000 | 50 |\n" in figures.page()


def test_a_row_may_say_words(figures: ModuleType, tmp_path: Path) -> None:
    """Such as a name, or a median with its spread: they stand there as they are."""
    file = tmp_path / "throughput-a.json"
    file.write_text(
        '{"what": "a and b", "rows": [{"way": "a", "Mbit/s": "1,200 (900 to 1,300)"}, {"way": "b", "Mbit/s": 2000}]}'
    )
    figures.take(file)
    assert "| way | Mbit/s |\n| --- | --- |\n| a | 1,200 (900 to 1,300) |\n| b | 2,000 |\n" in figures.page()


@pytest.mark.parametrize("result", [{"held": False, "claims": [], "figures": {}}, {"seconds": 1}, {}])
def test_what_did_not_hold_or_is_no_result_is_refused(figures: ModuleType, tmp_path: Path, result: dict[str, object]) -> None:
    """And the results stay as they were."""
    before, file = figures.page(), tmp_path / "result"
    file.write_text(json.dumps(result))
    with pytest.raises(ValueError, match=str(file)):
        figures.take(file)
    assert figures.page() == before
