"""The explorer over a publisher over the test's own database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from litestar.testing import TestClient

from tallystick.errors import Error, Kind
from tallystick.publish import Publisher
from tallystick.record import Change
from tallystick.web import make_explorer
from tests.support.log_builder import LogBuilder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OPERATOR_KEY = "tly_operator"
SIGNED_IN = {"authorization": f"Bearer {OPERATOR_KEY}"}
JSON = {"accept": "application/json"}
EVIL = "<script>alert(1)</script>"
STATUS = {Kind.NOT_FOUND: 404, Kind.INVALID: 400, Kind.GONE: 410, Kind.UNAUTHENTICATED: 401}


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


@pytest.fixture
def client(publisher: Publisher) -> Iterator[TestClient[Any]]:
    """A browser before the explorer."""
    explorer = make_explorer(
        publisher, is_operator=lambda key: key == OPERATOR_KEY, status_of=status_of
    )
    with TestClient(explorer, raise_server_exceptions=False) as client:
        client.headers["accept"] = "text/html"
        yield client


def status_of(error: Error) -> int:
    """What the server that composes says of an error."""
    return STATUS[error.kind]


def change(log: str, key: str, op: str = "insert", **row: str | None) -> Change:
    """A change of the table `payment`."""
    return Change(
        log=log,
        table="public.payment",
        op=op,
        via="trigger",
        key=[key],
        at="2026-01-02T03:04:05.000006Z",
        tx="748",
        role="shop",
        row={"id": key, **row},
    )
