"""The tally of acceptance itself, on a small project of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.acceptance import promised_numbers

ROOT = Path(__file__).parents[2]

PAGE = """# A page

## 9. Before
1. Not this.

## 10. Acceptance
1. The first.
2. The second,
   over two lines with 3. inside.
3. The third.
## After
4. Not this either.
"""

TESTS = '''
def test_one():
    """shop 1: Holds."""

def test_one_more():
    """shop 1, 2: Does not hold."""
    assert False

def test_other():
    """Shows nothing."""
'''


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with a page of three numbers and tests for two of them."""
    (tmp_path / "spec").mkdir()
    (tmp_path / "spec" / "shop.md").write_text(PAGE)
    (tmp_path / "test_shop.py").write_text(TESTS)
    return tmp_path


def tally(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run pytest with the tally in *project*."""
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "tests.support.acceptance",
            "--rootdir=.",
            "-p",
            "no:cacheprovider",
            "--acceptance=shop",
            "--spec=spec",
            *arguments,
        ],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        check=False,
    )


def test_numbers_are_those_of_the_section(project: Path) -> None:
    """The numbers promised are the items of the section "Acceptance" alone."""
    assert promised_numbers(project / "spec" / "shop.md") == [1, 2, 3]
    assert promised_numbers(project / "spec" / "nowhere.md") == []


def test_table_shows_the_worst_result(project: Path) -> None:
    """A number's result is the worst of its tests', and one without a test is missing."""
    ran = tally(project, "-n", "2")
    table = ran.stdout.split(" acceptance =")[1]
    assert "shop   1  failed\n" in table
    assert "test_shop.py::test_one  passed\n" in table
    assert "shop   2  failed\n" in table
    assert "shop   3  missing\n" in table
    assert "test_other" not in table
    assert "2 of 3 numbers have tests" in table


def test_missing_number_fails_the_run(project: Path) -> None:
    """A run whose tests all pass fails while a number has none, and passes once it has."""
    (project / "test_shop.py").write_text(TESTS.replace("assert False", "assert True"))
    assert tally(project).returncode == 1
    with (project / "test_shop.py").open("a") as tests:
        tests.write('\ndef test_three():\n    """shop 3: Holds."""\n')
    assert tally(project).returncode == 0
