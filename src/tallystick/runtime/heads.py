"""
The worker's thread for the log of logs: every 10 s it takes the heads that are new.

One statement for all logs; logs that did not grow cost it an index probe each. Follows
log.md, section 9.2.
"""

from __future__ import annotations

import threading
from typing import Final

import psycopg
import structlog

from tallystick.db import Database
from tallystick.errors import Error
from tallystick.seal.headlog import take_heads

LOOK_SECONDS: Final = 10.0
PAUSE_SECONDS: Final = 9.0
"""Several workers look at different moments; heads taken so lately are not taken again."""

logger = structlog.get_logger(__name__)


def run_heads(database: Database, stop: threading.Event) -> None:
    """Take new heads into the log of logs until *stop* is set, whatever the database does."""
    while not stop.wait(LOOK_SECONDS):
        try:
            with database.transaction() as tx:
                taken = take_heads(tx, pause_seconds=PAUSE_SECONDS)
        except (Error, psycopg.Error) as error:
            code = error.code() if isinstance(error, Error) else type(error).__name__
            logger.warning("heads.failed", error=code)
        else:
            if taken:
                logger.debug("heads.taken", rows=taken)
