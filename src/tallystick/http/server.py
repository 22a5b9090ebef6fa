"""
The server process: granian in this process's event loop, until it is told to stop.

On SIGTERM or SIGINT it stops accepting and finishes the requests that it has (log.md, 6.4).
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog
from granian.constants import Interfaces
from granian.log import LogLevels
from granian.server.embed import Server
from litestar.types import ASGIApp

from tallystick.chain.node.nodes import Nodes
from tallystick.config import Settings
from tallystick.db import Database
from tallystick.http.app import Pages, create_app
from tallystick.http.authorize import OPERATOR_KEY_FILE, Authorizer, load_operator_sha256
from tallystick.http.facts import NoChain
from tallystick.http.push import PushDoor
from tallystick.http.services import Services
from tallystick.identity.human_proofs import HumanProofRules
from tallystick.identity.verifiers import ChainFacts, load_verifiers
from tallystick.outbox import EventNotifier
from tallystick.publish import Publisher
from tallystick.seal.logs import KeyRing

BACKLOG: Final = 1024
GIVE_UP_SECONDS: Final = 15.0
"""
Of the 20 s that a shutdown may take. By then every request was answered; who then neither ends
his next one nor takes his answer is left.
"""

logger = structlog.get_logger(__name__)


def serve(
    settings: Settings,
    *,
    pages: Pages | None = None,
    facts: ChainFacts | None = None,
    nodes: Nodes | None = None,
) -> None:
    """
    Serve HTTP at the host and port of *settings* until SIGTERM or SIGINT.

    *facts* is what verifiers of human proofs may ask of chains, *nodes* whom routes ask for
    evidence; without them there are none.

    Raises:
        KeyPermissionsError: The operator's key file is open to others.
    """
    assert settings.database_url is not None, "whoever serves says which database"
    with contextlib.ExitStack() as stack:
        database = stack.enter_context(
            Database(
                settings.database_url,
                pool_size=settings.pool_size,
                application="tallystick-http",
                replica_url=settings.read_database_url,
                cache_url=settings.cache_url,
            )
        )
        read_database = None
        if settings.read_database_url is not None:
            read_database = stack.enter_context(
                Database(
                    settings.read_database_url,
                    pool_size=settings.pool_size,
                    application="tallystick-http-reads",
                )
            )
        services = make_services(settings, database, read_database, facts=facts, nodes=nodes)
        app = create_app(services, pages=pages)
        # A stream of events goes on for as long as its reader stays: it must hear of the end.
        ending = services.notifier.begin_to_stop
        asyncio.run(run_server(app, host=settings.host, port=settings.port, ending=ending))


def make_services(
    settings: Settings,
    database: Database,
    read_database: Database | None = None,
    *,
    facts: ChainFacts | None = None,
    nodes: Nodes | None = None,
) -> Services:
    """
    Return the slices over *database* as the handlers want them.

    Raises:
        KeyPermissionsError: The operator's key file is open to others.
        UnknownVerifierError: No installed package offers a verifier that *settings* names.
    """
    publisher = Publisher(
        database, read_database=read_database, tile_cache_mb=settings.tile_cache_mb
    )
    authorizer = Authorizer(
        database,
        load_operator_sha256(operator_key_path(settings)),
        trusted_proxies=settings.trusted_proxies,
    )
    return Services(
        database=database,
        publisher=publisher,
        authorizer=authorizer,
        keys=KeyRing(settings.keys.absolute()),
        notifier=EventNotifier(database),
        door=PushDoor(database, publisher, authorizer, max_backlog=settings.max_backlog),
        origin_prefix=settings.origins,
        proof_rules=HumanProofRules(load_verifiers(settings.identity_verifiers), settings.base_url),
        facts=facts or NoChain(),
        nodes=nodes or Nodes({}),
    )


def operator_key_path(settings: Settings) -> Path:
    """Return where the operator's key is."""
    return settings.data_dir.absolute() / OPERATOR_KEY_FILE


async def run_server(
    app: ASGIApp, *, host: str, port: int, ending: Callable[[], None] = lambda: None
) -> None:
    """Serve *app* until the process is told to stop; *ending* is called when it is."""
    server = make_server(app, host=host, port=port)
    loop = asyncio.get_running_loop()
    told = asyncio.Event()
    end: Callable[[], None] = server.stop

    def stop() -> None:
        end()
        ending()
        told.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    logger.info("http.serving", address=f"{host}:{port}")
    serving = loop.create_task(server.serve())
    waiting = loop.create_task(told.wait())
    await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    await asyncio.wait({serving}, timeout=GIVE_UP_SECONDS if told.is_set() else None)
    if not serving.done():
        logger.warning("http.left_clients")
        serving.cancel()
        return
    serving.result()
    logger.info("http.stopped")


def make_server(app: ASGIApp, *, host: str, port: int) -> Server:
    """Return the server of *app*; its `serve` runs in the caller's event loop."""
    return Server(
        app,
        address=host,
        port=port,
        interface=Interfaces.ASGI,
        backlog=BACKLOG,
        log_level=LogLevels.error,
        websockets=False,
    )
