"""The log that tests of its map have."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.mapped import Mapped, mapped_log


@pytest.fixture
def mapped(database_url: str, tmp_path: Path) -> Iterator[Mapped]:
    """A full log over two tables, one of them with a name to quote and a key of two columns."""
    with mapped_log(database_url, tmp_path / "keys") as made:
        yield made
