"""Signals of a process that ends gracefully: the first asks, the second insists (log.md, 6.4)."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType
from typing import Final

ABORTED: Final = 130


def stop_on_signals(stop: threading.Event) -> None:
    """Set *stop* at the first SIGTERM or SIGINT; at the second end the process where it stands."""

    def ask(_number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            # Whatever has not committed has not happened: the next start goes on from there.
            os._exit(ABORTED)
        stop.set()

    signal.signal(signal.SIGTERM, ask)
    signal.signal(signal.SIGINT, ask)
