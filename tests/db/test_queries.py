"""Named queries: what `queries.sql` and its store must agree on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from tallystick.db.errors import QueryFileError
from tallystick.db.queries import Query, load_queries, parse_blocks


@dataclass(frozen=True, slots=True)
class Declared:
    """Two queries that a store uses."""

    one: Query
    two: Query


BOTH = "-- name: one\n-- The first.\nSELECT 1;\n\n-- name: two\n-- The second.\nSELECT 2;\n"


def write_package(path: Path, text: str, monkeypatch: pytest.MonkeyPatch, name: str) -> str:
    """Make an importable package with a queries.sql."""
    package = path / name
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "queries.sql").write_text(text)
    monkeypatch.syspath_prepend(path)
    return name


def test_both_sides_agree(tmp_path, monkeypatch):
    """Every declared query is loaded with its text, without its comment."""
    package = write_package(tmp_path, BOTH, monkeypatch, "agreeing")
    loaded = load_queries(Declared, package)
    assert (loaded.one, loaded.two) == (b"SELECT 1;", b"SELECT 2;")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("lacking", "-- name: one\n-- The first.\nSELECT 1;\n"),
        ("unused", BOTH + "-- name: three\n-- The third.\nSELECT 3;\n"),
    ],
)
def test_a_difference_is_refused(tmp_path, monkeypatch, name, text):
    """A query that one side lacks stops the import with its name."""
    package = write_package(tmp_path, text, monkeypatch, name)
    with pytest.raises(QueryFileError, match="two" if name == "lacking" else "three"):
        load_queries(Declared, package)


@pytest.mark.parametrize(
    "text",
    [
        BOTH + "-- name: one\n-- Again.\nSELECT 1;\n",
        "-- name: one\nSELECT 1;\n",
        "-- name: one\n-- Only a sentence.\n",
    ],
    ids=["twice", "no sentence", "no statement"],
)
def test_malformed_files_are_refused(text):
    """A name that stands twice, or without sentence or statement, is refused."""
    with pytest.raises(QueryFileError):
        parse_blocks(text, where="here")
