"""Waking the sequencer: which notifications are heard, and which are passed over."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import psycopg

from tallystick.db import connect
from tallystick.seal.sequencer.wake import PushListener
from tests.seal.laws.stage import sql, wait_until

if TYPE_CHECKING:
    from tallystick.seal.logs.log import LogId


def test_strangers_notifications_end_nobody(database_url: str) -> None:
    """NOTIFY has no rights: what is no log's number is passed over, and the next one is heard."""
    heard: list[LogId] = []
    came = threading.Event()

    def wake(log_ids: object) -> None:
        heard.extend(log_ids)
        came.set()

    listening = "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'LISTEN tally_push%'"
    with connect(database_url) as database, PushListener(database, wake):
        wait_until(lambda: bool(sql(database_url, listening)))
        with psycopg.connect(database_url, autocommit=True) as stranger:
            for payload in ("", "x", "٣", "9" * 5000, "-1", "7"):
                stranger.execute("SELECT pg_notify('tally_push', %s)", (payload,))
        assert came.wait(30)
    assert heard == [7]
