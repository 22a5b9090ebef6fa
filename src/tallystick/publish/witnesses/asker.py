"""
The asker: offers each log's newest checkpoint to its witnesses and stores what they answer.

One process of a database asks (an advisory lock, see runtime/witnessing.py), so that answers
are stored one after the other: which of them made the quorum is then never in doubt. What came
while the last transaction ran is stored by one. A crash anywhere loses answers and nothing
else: the witnesses are asked again, which is harmless at equal size (log.md, section 5.5).
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, TypeVar

import structlog

from tallystick.db import Database, Transaction
from tallystick.outbox import emit
from tallystick.publish.tiles import TileCache, TileStore, edge_tiles, growth_tiles
from tallystick.publish.witnesses import store
from tallystick.publish.witnesses.asking import WitnessClient
from tallystick.publish.witnesses.rounds import Rounds
from tallystick.publish.witnesses.values import (
    Answer,
    Ask,
    Contradicted,
    Cosigned,
    Declined,
    Overtaken,
)
from tallystick.seal.errors import RollbackError
from tallystick.seal.logs import LogId, fail_log
from tallystick.tlog import (
    EMPTY_ROOT,
    Hash,
    TreeSize,
    edge_from_tiles,
    edge_root,
    format_note,
    prove_consistency,
)

LOOK_SECONDS: Final = 1.0
DATABASE_THREADS: Final = 2
"""One stores answers, one reads proofs; the pool of a worker counts with them."""
TILE_CACHE_BYTES: Final = 8_000_000

Result = TypeVar("Result")

logger = structlog.get_logger(__name__)


class DatabaseLog:
    """Our own logs as `WitnessClient` asks for them, read in threads of their own."""

    def __init__(self, database: Database, threads: ThreadPoolExecutor) -> None:
        self._database = database
        self._threads = threads
        self._tiles = TileStore(database, TileCache(TILE_CACHE_BYTES))

    async def run(self, function: Callable[[], Result]) -> Result:
        """Return what *function*, which asks the database, returns in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, function)

    async def prove_growth(self, ask: Ask, old_size: TreeSize) -> tuple[Hash, ...]:
        """Return the proof that the offered tree extends that of *old_size*."""
        offer = ask.offer
        if old_size in {0, offer.size}:
            return ()

        def prove() -> tuple[Hash, ...]:
            rows = self._tiles.fetch(offer.log_id, growth_tiles(old_size, offer.size))
            return tuple(prove_consistency(rows, old_size=old_size, new_size=offer.size))

        return await self.run(prove)

    async def newest_size(self, ask: Ask) -> TreeSize:
        """Return the size of the log's head as it is now."""
        look = partial(store.newest_size, log_id=ask.offer.log_id)
        return await self.run(lambda: self._database.read(look))

    async def vkeys(self, ask: Ask) -> list[str]:
        """Return every key that may have signed the log's checkpoints."""
        look = partial(store.log_vkeys, log_id=ask.offer.log_id)
        return await self.run(lambda: self._database.read(look))

    async def root_at(self, ask: Ask, size: TreeSize) -> Hash:
        """Return the root of the log's own tree of *size* leaves."""
        if size == 0:
            return EMPTY_ROOT
        tiles = list(edge_tiles(size))
        log_id = ask.offer.log_id
        return await self.run(
            lambda: edge_root(edge_from_tiles(self._tiles.fetch(log_id, tiles), size))
        )


class Asker:
    """Asks the witnesses of all logs of one database, in the event loop that runs it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._threads = ThreadPoolExecutor(DATABASE_THREADS, thread_name_prefix="witnesses")
        self._log = DatabaseLog(database, self._threads)
        self._client = WitnessClient(self._log)
        self._rounds = Rounds()
        self._tasks: set[asyncio.Task[None]] = set()
        self._answers: list[Answer] = []
        self._raised: BaseException | None = None
        self._wake = asyncio.Event()

    async def run(self, stop: threading.Event, wait_for_news: Callable[[], None]) -> None:
        """
        Ask until *stop* is set; *wait_for_news* returns when a head may be new, within 1 s.

        Raises:
            Error, psycopg.Error: What the database, or *wait_for_news*, says.
        """
        listener = ThreadPoolExecutor(1, thread_name_prefix="witness-news")
        loop = asyncio.get_running_loop()

        def listen() -> asyncio.Future[None]:
            heard = loop.run_in_executor(listener, wait_for_news)
            heard.add_done_callback(lambda _: self._wake.set())
            return heard

        news = listen()
        try:
            while not stop.is_set():
                await self.look()
                await self._wait()
                if news.done():
                    news.result()
                    news = listen()
        finally:
            await self.close()
            # The session of the lock belongs to the listener until it has returned.
            await asyncio.wait([news])
            news.exception()
            listener.shutdown()

    async def ask_once(self, log_name: str) -> list[Answer]:
        """Ask the witnesses of one log for its newest checkpoint, once, and return the answers."""
        due = await self._log.run(
            lambda: self._database.read(partial(store.due, log_name=log_name))
        )
        answers = await asyncio.gather(*map(self._client.ask, due))
        await self._store(answers)
        return list(answers)

    async def look(self) -> None:
        """
        Store what was answered, and ask whoever is due.

        Raises:
            Error, psycopg.Error: What the database says.
        """
        if self._raised is not None:
            # It must not look like a witness that never answers.
            raise self._raised
        answers, self._answers = self._answers, []
        if answers:
            await self._store(answers)
        due = await self._log.run(lambda: self._database.read(store.due))
        for ask in self._rounds.plan(due, now=time.monotonic()):
            task = asyncio.create_task(self._ask(ask))
            self._tasks.add(task)
            task.add_done_callback(self._ended)

    async def close(self) -> None:
        """End what is under way, keep what was answered, and close every connection."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._answers:
            await self._store(self._answers)
        await self._client.close()
        self._threads.shutdown()

    async def _ask(self, ask: Ask) -> None:
        # In two steps: while it is awaited, the list may be another.
        answer = await self._client.ask(ask)
        self._answers.append(answer)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            self._raised = self._raised or task.exception()
        self._wake.set()

    async def _wait(self) -> None:
        """Wait until somebody answered, a head may be new, or a second has gone."""
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()

    async def _store(self, answers: Sequence[Answer]) -> None:
        await self._log.run(lambda: record_answers(self._database, answers))
        now = time.monotonic()
        for answer in answers:
            cosigned = isinstance(answer, Cosigned)
            # A later checkpoint of ours is on its way to us too: that takes a moment.
            failed = isinstance(answer, Declined | Overtaken)
            self._rounds.ended(answer.ask, cosigned=cosigned, failed=failed, now=now)


def record_answers(database: Database, answers: Sequence[Answer]) -> None:
    """
    Store *answers* in one transaction, tell of heads that were published by them, and fail the
    logs whose witnesses prove that they forked.
    """
    with database.transaction() as tx:
        store_cosigned(tx, [one for one in answers if isinstance(one, Cosigned)])
        declined = [one for one in answers if isinstance(one, Declined)]
        if declined:
            store.store_declined(tx, declined)
        for answer in answers:
            # Each of them stops a log or its publishing: there is no second one to come.
            if isinstance(answer, Contradicted):
                store_contradicted(tx, answer)
    for answer in answers:
        tell(answer)


def store_cosigned(tx: Transaction, answers: Sequence[Cosigned]) -> None:
    """Store cosignatures; what is published by them is an event, and is looked for at once."""
    if not answers:
        return
    log_ids = {one.ask.offer.log_id for one in answers}
    before: dict[LogId, TreeSize] = {p.log_id: p.size for p in store.published(tx, log_ids)}
    store.store_cosigned(tx, answers)
    for now in store.published(tx, log_ids):
        if now.size > before.get(now.log_id, -1):
            payload = {"log": now.log_name, "size": now.size}
            emit(tx, "log.published", key=now.log_name, payload=payload)
    # Also where it was published before: readers of the checkpoint get one more cosignature.
    for answer in answers:
        store.notify(tx, answer.ask.offer.log_id, answer.ask.offer.size)


def store_contradicted(tx: Transaction, answer: Contradicted) -> None:
    """Put the witness into conflict; where it proves a fork, the log becomes failed (5.7)."""
    ask = answer.ask
    offered = format_note(ask.offer.note).decode()
    store.store_conflict(tx, answer, offered)
    if answer.proven:
        damage = RollbackError(
            f"the witness {ask.name} shows a checkpoint that the log signed and does not have",
            expected=answer.known or "",
            actual=offered,
        )
        fail_log(tx, ask.offer.log_id, damage)


def tell(answer: Answer) -> None:
    """Log what a witness answered, where it is not what is hoped for."""
    ask = answer.ask
    facts = {"log": ask.offer.log_name, "witness": ask.name, "size": ask.offer.size}
    match answer:
        case Cosigned():
            logger.debug("witness.cosigned", **facts)
        case Declined():
            logger.warning("witness.declined", **facts, error=answer.message)
        case Overtaken():
            logger.debug("witness.overtaken", **facts)
        case Contradicted():
            logger.error("witness.conflict", **facts, error=answer.message, proven=answer.proven)


def ask_witnesses(database: Database, log_name: str) -> list[Answer]:
    """
    Ask the witnesses of a log that have not cosigned its newest checkpoint, and store answers.

    Returns when all have answered, or 5 s for each request have passed.
    """

    async def ask() -> list[Answer]:
        asker = Asker(database)
        try:
            return await asker.ask_once(log_name)
        finally:
            await asker.close()

    return asyncio.run(ask())


def ask_until(database: Database, stop: threading.Event, wait_for_news: Callable[[], None]) -> None:
    """
    Ask the witnesses of every log until *stop* is set; the caller holds the lock.

    Raises:
        Error, psycopg.Error: What the database, or *wait_for_news*, says.
    """

    async def run() -> None:
        await Asker(database).run(stop, wait_for_news)

    asyncio.run(run())
