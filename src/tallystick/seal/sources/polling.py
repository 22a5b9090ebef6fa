"""
Polling: reading new rows of tables that triggers cannot stand on, or must not (log.md, 4.5).

Each look reads from behind the cursor, by the lookback, to the end of the table, in pages;
what has neither leaf nor queue row is queued. So a row that was committed late is found as
long as the window reaches it, and a cursor that is wrong loses nothing for good: what lies
beyond the window, what was changed and what was deleted is found by the reconcile. Sources
take their pages in turn, so that a large one never keeps the others waiting.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import psycopg

from tallystick.errors import Error
from tallystick.seal.sources import store
from tallystick.seal.sources.checks import in_words
from tallystick.seal.sources.operations import require_source
from tallystick.seal.sources.source import Polled, PolledPage, Problem, SourceNo

if TYPE_CHECKING:
    import threading

    from tallystick.db import Database, Transaction

LOGGER = logging.getLogger(__name__)

BATCH_ROWS: Final = 20_000
"""Rows of one round over all sources: what a round holds in memory, and how soon all had a turn."""
SMALLEST_SHARE_ROWS: Final = 500
"""A page of fewer rows costs more to begin than to read."""
MOST_OF_THE_TIME: Final = 5
"""A look pauses at least so many times as long as it took: polling is a sixth of a core at most."""


@dataclass(slots=True)
class Look:
    """One source's way through its window: where the last page ended, and what was queued."""

    source: Polled
    began: float
    after: str | None = None
    rows_queued: int = 0


class Poller:
    """Polls every source of a database in its turn; any number of them may run."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._due_at: dict[SourceNo, float] = {}

    def run_once(self, stop: threading.Event | None = None) -> dict[SourceNo, int]:
        """Take a look at each source that is due, and return how many rows of it were queued."""
        with self._database.transaction(read_only=True) as tx:
            sources = store.polled_sources(tx)
        # A source that ended must not be the one that is due for ever.
        numbers = {source.source_no for source in sources}
        self._due_at = {one: at for one, at in self._due_at.items() if one in numbers}
        now = time.monotonic()
        due = [source for source in sources if self._due_at.get(source.source_no, 0.0) <= now]
        share = max(SMALLEST_SHARE_ROWS, BATCH_ROWS // max(1, len(due)))
        looks = deque(Look(source, time.monotonic()) for source in due)
        queued: dict[SourceNo, int] = {}
        while looks and not (stop is not None and stop.is_set()):
            look = looks.popleft()
            if self._take_page(look, share):
                took = time.monotonic() - look.began
                pause = max(look.source.interval_ms / 1000, MOST_OF_THE_TIME * took)
                self._due_at[look.source.source_no] = time.monotonic() + pause
                queued[look.source.source_no] = look.rows_queued
            else:
                looks.append(look)
        return queued

    def pause_seconds(self, *, at_most: float) -> float:
        """Return how long nothing is due."""
        if not self._due_at:
            return at_most
        soonest = min(self._due_at.values())
        return max(0.02, min(at_most, soonest - time.monotonic()))

    def _take_page(self, look: Look, share: int) -> bool:
        """Queue one page of a look; return whether the look has ended."""
        source_no = look.source.source_no
        try:
            page = self._database.run(
                lambda tx: poll_page(tx, source_no, after=look.after, page_rows=share)
            )
        except (Error, psycopg.Error) as raised:
            self._report(source_no, raised)
            return True
        if page is None:
            return True
        look.rows_queued += page.rows_queued
        look.after = page.last_order
        return page.finished

    def _report(self, source_no: SourceNo, raised: Error | psycopg.Error) -> None:
        """Say what stopped a source, which stops no other; what will not pass breaks it."""
        LOGGER.warning("source %s cannot be polled: %s", source_no, in_words(raised))
        if isinstance(raised, (Error, psycopg.OperationalError)):
            return
        with self._database.transaction() as tx:
            store.lock_source(tx, source_no)
            if require_source(tx, source_no).status in {"backfilling", "active"}:
                store.break_source(tx, source_no, [Problem("refused", in_words(raised))])


def poll_page(
    tx: Transaction, source_no: SourceNo, *, after: str | None, page_rows: int
) -> PolledPage | None:
    """Queue one page; after the last one a source that was backfilling is active."""
    page = store.poll_page(tx, source_no, after=after, page_rows=page_rows)
    if page is not None and page.finished and require_source(tx, source_no).status == "backfilling":
        store.source_ready(tx, source_no)
    return page
