"""Fixtures of the tests of capture from the WAL."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.seal.wal.rig import WalRig, open_rig

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def rig(database_url: str, tmp_path: Path) -> Iterator[WalRig]:
    """A migrated database with the log `payments`, whose tables are captured from the WAL."""
    with open_rig(database_url, tmp_path / "keys") as rig:
        yield rig
