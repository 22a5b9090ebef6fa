"""The repositories are those of the page (identity.md, section 4)."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from tallystick.identity import APIKeyRepository, HumanProofRepository, UserRepository

SPEC = Path(__file__).parents[3] / "shared" / "spec" / "identity.md"
HERE = Path(__file__).parent
SECTIONS = {
    "### 4.1": (UserRepository, 19),
    "### 4.2": (APIKeyRepository, 23),
    "### 4.4": (HumanProofRepository, 20),
}


def spec_methods(section: str) -> set[str]:
    """The methods of a table of section 4: the names before brackets in its first column."""
    text = SPEC.read_text().partition(section)[2].partition("\n###")[0]
    found = set()
    for line in text.splitlines():
        cell = line.strip("|").split(" | ")[0]
        if line.startswith("|") and not line.startswith(("| method", "|---")):
            bare = re.sub(r"->\s*\w+", "", cell)
            while "(" in bare:
                bare = re.sub(r"\([^()]*\)", "", bare)
            found |= set(re.findall(r"\b[a-z][a-z_]+\b", bare))
    return found


@pytest.mark.skipif(
    not SPEC.exists(), reason="the specification's pages are not beside the project"
)
@pytest.mark.parametrize("section", SECTIONS)
def test_every_method_is_there(section: str) -> None:
    """identity 3: Every method of the page's table exists under that name, and no other does."""
    repository, count = SECTIONS[section]
    named = spec_methods(section)
    assert count == len(named), sorted(named)
    assert named == methods_of(repository)


@pytest.mark.parametrize("section", SECTIONS)
def test_every_method_is_called(section: str) -> None:
    """identity 3: Every method of a repository is called by a test."""
    tests = "".join(path.read_text() for path in HERE.rglob("*.py"))
    uncalled = {name for name in methods_of(SECTIONS[section][0]) if f".{name}(" not in tests}
    assert uncalled == set()


@pytest.mark.parametrize("section", SECTIONS)
def test_every_method_says_what_it_does(section: str) -> None:
    """identity 3: Every method has a docstring, kept by what wraps it."""
    repository = SECTIONS[section][0]
    assert all(inspect.getdoc(getattr(repository, name)) for name in methods_of(repository))


def methods_of(repository: type) -> set[str]:
    """The public methods of a repository."""
    return {
        name
        for name in vars(repository)
        if inspect.isroutine(getattr(repository, name)) and not name.startswith("_")
    }
