"""Fixtures of the tests of capture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.seal.capture.rig import Rig

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def rig(database_url: str) -> Iterator[Rig]:
    """A migrated database with the log `payments`, seen as superuser."""
    rig = Rig(database_url)
    yield rig
    rig.close()
