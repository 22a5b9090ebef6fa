"""
Writers of a story: threads that change an application's tables, and count what they committed.

They know nothing of logs; `check_all_sealed` then asks whether the logs hold just that.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Final, TypeAlias

from tallystick.db import Database, Transaction
from tallystick.runtime.demo import store
from tallystick.runtime.demo.errors import expect

PAUSE_SECONDS: Final = 0.002
"""Writers leave the machine to others now and then, as applications do."""

Changes: TypeAlias = Counter[tuple[str, str]]
"""Committed changes by table and operation (I, U, D)."""
Duty: TypeAlias = Callable[[Transaction, random.Random], Iterable[tuple[str, str, int]]]
"""Changes rows in one transaction, chosen by chance; gives table, operation and rows."""


class Writers:
    """One thread for each duty, each in its own transactions, all in the name of *actor*."""

    def __init__(self, database: Database, duties: Sequence[Duty], *, actor: str) -> None:
        self._database = database
        self._actor = actor
        self._stop = threading.Event()
        self._counts: list[Changes] = [Counter() for _ in duties]
        self._failures: list[BaseException] = []
        self._threads = [
            threading.Thread(target=self._write, args=(number, duty))
            for number, duty in enumerate(duties)
        ]

    def start(self) -> None:
        """Start writing."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> Changes:
        """Stop writing, and return what was committed; raise what a writer died of."""
        self._stop.set()
        for thread in self._threads:
            thread.join()
        if self._failures:
            raise self._failures[0]
        return sum(self._counts, Counter())

    def _write(self, number: int, duty: Duty) -> None:
        chance = random.Random(number)  # noqa: S311 (chooses rows, guards nothing)

        def work(tx: Transaction) -> list[tuple[str, str, int]]:
            store.act_as(tx, self._actor)
            return list(duty(tx, chance))

        try:
            while not self._stop.wait(PAUSE_SECONDS):
                # Counted after the commit: a deadlock's victim has changed nothing, and runs again.
                for table, op, rows in self._database.run(work):
                    self._counts[number][table, op] += rows
        except BaseException as error:  # noqa: BLE001 (told by stop, in the thread that asks)
            self._failures.append(error)


def check_all_sealed(
    database: Database, changes: Changes, logs: Mapping[str, Collection[str]]
) -> None:
    """
    Check that each change is one leaf in each of *logs* that its table feeds, and no other is.

    Raises:
        DemoError: A change has no leaf, or a leaf no change.
    """
    wanted = {
        (log, table, op): rows
        for (table, op), rows in changes.items()
        for log, tables in logs.items()
        if table in tables and rows
    }
    with database.transaction(read_only=True) as tx:
        sealed = store.count_captured(tx, list(logs))
    expect(sealed == wanted, f"writers changed {wanted}, sealed is {sealed}")
