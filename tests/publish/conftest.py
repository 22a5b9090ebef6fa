"""A log builder and a publisher over the test's own database."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tallystick.publish import Publisher
from tests.support.log_builder import LogBuilder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def builder(database_url: str, tmp_path: Path) -> Iterator[LogBuilder]:
    """A builder of logs in a fresh database."""
    made = LogBuilder(database_url, tmp_path / "keys")
    yield made
    made.close()


@pytest.fixture
def publisher(builder: LogBuilder) -> Publisher:
    """A publisher that is refreshed by hand."""
    return Publisher(builder.database)
