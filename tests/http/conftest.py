"""A real server over the test's own database, and clients with and without the operator's key."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx
import pytest

from tallystick.config import Settings
from tallystick.db import connect
from tallystick.http import create_app, make_services
from tallystick.http.server import make_server
from tallystick.identity import APIKeyRepository
from tests.support.log_builder import LogBuilder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tallystick.chain.node.nodes import Nodes
    from tallystick.http import Pages, Services
    from tests.support.server import TestServer

TOKEN = "tly_" + "A" * 43
STRANGERS = 1_000_000
"""Requests a minute that a test server takes from one address without a key."""


@dataclass
class Running:
    """A server that answers, what it serves, and the two kinds of clients."""

    url: str
    services: Services
    builder: LogBuilder
    anonymous: httpx.Client
    operator: httpx.Client

    def seal(self, name: str) -> int:
        """Seal a log and let the server know at once."""
        size = self.builder.seal(name)
        self.services.publisher.refresh()
        return size


def free_port() -> int:
    """Return a port that nobody has."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def running(
    settings: Settings,
    builder: LogBuilder,
    *,
    pages: Pages | None = None,
    nodes: Nodes | None = None,
) -> Iterator[Running]:
    """Serve in a thread of this process until the block ends."""
    database = connect(settings.database_url or "", pool_size=8)
    with database.transaction() as tx:
        # Ten requests a minute are for strangers, and these are hundreds from one address.
        APIKeyRepository(tx).set_tier_limits(
            "anonymous", rate_limit=STRANGERS, daily_quota=None, actor="system:tests"
        )
    services = make_services(settings, database, nodes=nodes)
    loop = asyncio.new_event_loop()
    server = make_server(create_app(services, pages=pages), host="127.0.0.1", port=settings.port)
    thread = threading.Thread(target=lambda: loop.run_until_complete(server.serve()), daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{settings.port}"
    for _ in range(200):
        with contextlib.suppress(httpx.TransportError):
            httpx.get(f"{url}/api/v1/health/live")
            break
        time.sleep(0.02)
    key = {"Authorization": f"Bearer {TOKEN}"}
    with (
        httpx.Client(base_url=url) as anonymous,
        httpx.Client(base_url=url, headers=key) as operator,
    ):
        yield Running(url, services, builder, anonymous, operator)
    loop.call_soon_threadsafe(server.stop)
    thread.join(10)
    assert not thread.is_alive()
    loop.close()
    database.close()


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    """Settings of a server with the operator's key."""
    key_file = tmp_path / "operator.key"
    key_file.touch(mode=0o600)
    key_file.write_text(TOKEN + "\n")
    return Settings(
        database_url=database_url,
        data_dir=tmp_path,
        key_dir=tmp_path / "keys",
        port=free_port(),
        origin_prefix="log.example",
    )


@pytest.fixture
def server(settings: Settings, database_url: str, tmp_path: Path) -> Iterator[Running]:
    """A running server over an empty database."""
    builder = LogBuilder(database_url, tmp_path / "keys")
    with running(settings, builder) as started:
        yield started
    builder.close()


@pytest.fixture(scope="module")
def shared(test_server: TestServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A running server for the tests of one module, which takes the verifier `signature`."""
    place = tmp_path_factory.mktemp("shared")
    key_file = place / "operator.key"
    key_file.touch(mode=0o600)
    key_file.write_text(TOKEN + "\n")
    with test_server.database() as url:
        settings = Settings(
            database_url=url,
            data_dir=place,
            port=free_port(),
            origin_prefix="log.example",
            public_url="https://tally.example",
            identity_verifiers=("signature",),
        )
        builder = LogBuilder(url, place / "keys")
        with running(settings, builder) as started:
            yield started
        builder.close()


@pytest.fixture
def builder_of_server(database_url: str, tmp_path: Path) -> Iterator[LogBuilder]:
    """A builder for a test that runs its own server."""
    builder = LogBuilder(database_url, tmp_path / "keys")
    yield builder
    builder.close()
