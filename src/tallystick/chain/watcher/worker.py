"""
The worker's thread of one network: it looks, waits and looks again (chain.md, section 4.4.6).

One process of a database watches a network, the one that holds an advisory lock; the others
look each second whether it has gone. The session of the lock also hears of `NOTIFY
tally_chain`: when it is lost, both are.
"""

from __future__ import annotations

import threading
import time
from typing import Any, Final

import psycopg
import structlog

from tallystick.chain.node import Node
from tallystick.chain.watcher import store
from tallystick.chain.watcher.decision import back_off_seconds, poll_seconds
from tallystick.chain.watcher.delivery import FollowerFailed
from tallystick.chain.watcher.watcher import ChainMoved, Watcher
from tallystick.db import Database, Transaction
from tallystick.errors import Error
from tallystick.record import ChainId

LOCK_LOOK_SECONDS: Final = 1.0
"""How soon a waiting worker takes over from one that died."""
STOP_LOOK_SECONDS: Final = 1.0
SHORTEST_PAUSE_SECONDS: Final = 0.05
"""A burst of notifications is one look: a node is not asked a thousand times a second."""

logger = structlog.get_logger(__name__)


def run_watcher(database: Database, node: Node, chain_id: ChainId, stop: threading.Event) -> None:
    """Watch the network until *stop* is set, whatever database, nodes and followers do."""
    failures = 0
    while not stop.is_set():
        try:
            with database.session() as connection:
                session = Transaction(connection)
                if store.take_lock(session, chain_id):
                    store.listen(session)
                    failures = 0
                    watch(Watcher(database, node, chain_id), connection, chain_id, stop)
                else:
                    stop.wait(LOCK_LOOK_SECONDS)
        except (Error, psycopg.Error) as error:
            failures += 1
            logger.warning("chain.interrupted", chain_id=chain_id, error=code_of(error))
            stop.wait(back_off_seconds(failures))


def watch(
    watcher: Watcher, connection: psycopg.Connection[Any], chain_id: ChainId, stop: threading.Event
) -> None:
    """
    Look until *stop* is set.

    Raises:
        psycopg.OperationalError: The session is lost, and with it the lock.
    """
    failures = 0
    while not stop.is_set():
        pause = 0.0
        try:
            if not watcher.look():
                pause = rest_seconds(watcher)
            failures = 0
        except FollowerFailed as failed:
            failures += 1
            cause = failed.__cause__
            logger.error(  # noqa: TRY400 (a traceback could quote what a row holds)
                "chain.follower_failed",
                chain_id=chain_id,
                follower=failed.name,
                error=type(cause).__name__,
            )
            pause = back_off_seconds(failures)
        except (ChainMoved, Error, psycopg.Error) as error:
            failures += 1
            logger.warning("chain.look_failed", chain_id=chain_id, error=code_of(error))
            pause = back_off_seconds(failures)
        wait_for_news(connection, chain_id, pause, stop, may_wake=failures == 0)


def rest_seconds(watcher: Watcher) -> float:
    """Return how long to wait for the next block: half of what one takes, within bounds."""
    position = watcher.position()
    return poll_seconds(1.0 if position is None else float(position.block_seconds))


def wait_for_news(
    connection: psycopg.Connection[Any],
    chain_id: ChainId,
    pause: float,
    stop: threading.Event,
    *,
    may_wake: bool,
) -> None:
    """
    Return after *pause*, or as soon as something is said of the network where *may_wake*.

    Raises:
        psycopg.OperationalError: The session is lost, and with it the lock.
    """
    until = time.monotonic() + pause
    while not stop.is_set():
        left = until - time.monotonic()
        wait = min(STOP_LOOK_SECONDS, max(0.0, left))
        heard = list(connection.notifies(timeout=wait, stop_after=1))
        if may_wake and any(notice.payload in {"", str(chain_id)} for notice in heard):
            stop.wait(SHORTEST_PAUSE_SECONDS)
            # What came in the same breath needs no look of its own.
            list(connection.notifies(timeout=0))
            return
        if left <= 0:
            return


def code_of(error: BaseException) -> str:
    """Return the error in a word: messages of a driver may quote rows, those of a node do not."""
    return error.code() if isinstance(error, Error) else type(error).__name__
