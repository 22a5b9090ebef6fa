"""The explorer over a publisher over the test's own database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from litestar.testing import TestClient

from tallystick.errors import Error, Kind
from tallystick.identity import SCOPES
from tallystick.publish import Publisher
from tallystick.record import Change
from tallystick.web import Visitor, make_explorer
from tests.support.log_builder import LogBuilder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OPERATOR_KEY = "tly_operator"
POOR_KEY = "tly_poor"
SIGNED_IN = {"authorization": f"Bearer {OPERATOR_KEY}"}
JSON = {"accept": "application/json"}
EVIL = "<script>alert(1)</script>"
STATUS = {
    Kind.NOT_FOUND: 404,
    Kind.INVALID: 400,
    Kind.GONE: 410,
    Kind.UNAUTHENTICATED: 401,
    Kind.FORBIDDEN: 403,
    Kind.UNPROCESSABLE: 422,
}


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
def client(publisher: Publisher, builder: LogBuilder) -> Iterator[TestClient[Any]]:
    """A browser before the explorer."""
    explorer = make_explorer(publisher, builder.database, StubHost())
    with TestClient(explorer, raise_server_exceptions=False) as client:
        client.headers["accept"] = "text/html"
        yield client


class StubHost:
    """A server that knows two keys: the operator's, and one that opens nothing."""

    cookie = "tally_key"

    async def visit(self, scope: Any) -> Visitor:
        """Who sends a request."""
        key = dict(scope["headers"]).get(b"authorization", b"").decode().removeprefix("Bearer ")
        if key == OPERATOR_KEY:
            return Visitor(frozenset(map(str, SCOPES)), is_signed_in=True)
        if key == POOR_KEY:
            return Visitor(user_id="nobody", is_signed_in=True)
        if key:
            raise WrongKeyError
        return Visitor()

    def check_origin(self, scope: Any) -> None:
        """Nobody sends forms here: the whole server's tests do."""

    def status_of(self, error: Error) -> int:
        """What the server that composes says of an error."""
        return STATUS[error.kind]

    def headers_of(self, error: Error) -> dict[str, str]:
        """What it says in headers: how one signs in."""
        return {"WWW-Authenticate": "Bearer"} if self.status_of(error) == 401 else {}


class WrongKeyError(Error):
    """A key that nobody was given."""

    kind = Kind.UNAUTHENTICATED


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
