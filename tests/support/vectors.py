"""Published test vectors, which lie beside the repository; tests skip where they do not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

VECTORS = Path(
    os.environ.get(
        "TALLY_TEST_VECTORS", Path(__file__).resolve().parents[2].parent / "shared" / "vectors"
    )
)


def vector_path(name: str) -> Path:
    """Return the file or folder of vectors called *name*, or skip the test that asks."""
    path = VECTORS / name
    if not path.exists():
        pytest.skip(f"the vectors {name} are not here (set TALLY_TEST_VECTORS to their folder)")
    return path
