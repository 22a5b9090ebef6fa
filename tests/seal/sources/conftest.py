"""Fixtures of the tests of sources."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.seal.sources.rig import Rig, open_rig

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def rig(database_url: str) -> Iterator[Rig]:
    """A database with the logs `payments` and `hashes`."""
    with open_rig(database_url) as rig:
        yield rig
