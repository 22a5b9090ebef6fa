"""What documents say of the repository, compared with the repository."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
NAME = re.compile(r"[A-Za-z0-9._-]+")


def declared() -> set[str]:
    """Return the name of every dependency in pyproject.toml."""
    project, groups = PROJECT["project"], PROJECT["dependency-groups"]
    lists = [project["dependencies"], *project["optional-dependencies"].values(), *groups.values()]
    return {NAME.match(entry)[0] for entries in lists for entry in entries}


def test_every_dependency_has_its_line():
    """The ADR on dependencies has a line for each dependency, and for no other."""
    text = (ROOT / "docs/adr/0002-dependencies.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    listed = {NAME.match(name)[0] for row in rows for name in re.findall(r"`([^`]+)`", row)}
    assert listed == declared()


def test_rooms_are_those_of_the_import_law():
    """ARCHITECTURE.md draws the rooms in the order in which the import law has them."""
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    block = re.search(r"```\n(__main__ .*?)```", text, re.DOTALL)[1]
    drawn = [re.split(r"  +", line)[0] for line in block.strip().splitlines()]
    law = PROJECT["tool"]["importlinter"]["contracts"][0]["layers"]
    assert drawn == [re.sub(r"[()]", "", layer) for layer in law]


def test_links_lead_somewhere():
    """Every relative link of every document leads to a file."""
    for document in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text(encoding="utf-8")):
            assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_every_decision_is_listed():
    """ARCHITECTURE.md links every page of docs/adr."""
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    pages = {f"docs/adr/{page.name}" for page in ROOT.glob("docs/adr/*.md")}
    assert set(re.findall(r"\((docs/adr/[^)]+\.md)\)", text)) == pages
