"""Fixtures that every test may ask for: a PostgreSQL for the run and a database for the test."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.server import TestServer, running_server

if TYPE_CHECKING:
    from collections.abc import Iterator

pytest_plugins = ["tests.support.acceptance"]

RECURSION_LIMIT = sys.getrecursionlimit()


def pytest_runtest_setup() -> None:
    """Set the interpreter's own limit again: importing py-evm raises it beyond the C stack."""
    sys.setrecursionlimit(RECURSION_LIMIT)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--postgres-bin`, which lets the suite run on another PostgreSQL."""
    parser.addoption(
        "--postgres-bin",
        default=os.environ.get("TALLY_TEST_POSTGRES_BIN") or None,
        metavar="DIR",
        help="the programs of the PostgreSQL to test on (default: as `tally up` finds them)",
    )


@pytest.fixture(scope="session")
def postgres_bin(request: pytest.FixtureRequest) -> Path | None:
    """The directory of the programs that the run was told to test on, if it was told."""
    named = request.config.getoption("--postgres-bin")
    return Path(named) if named else None


@pytest.fixture(scope="session")
def test_server(postgres_bin: Path | None) -> Iterator[TestServer]:
    """This pytest process's own server; roles belong to a server, so workers share none."""
    with running_server(postgres_bin) as server:
        yield server


@pytest.fixture
def database_url(test_server: TestServer) -> Iterator[str]:
    """The superuser's URL of a fresh, migrated database with the test clock."""
    with test_server.database() as url:
        yield url


@pytest.fixture
def empty_database_url(test_server: TestServer) -> Iterator[str]:
    """The superuser's URL of a fresh database without our schema."""
    with test_server.database(migrated=False) as url:
        yield url
