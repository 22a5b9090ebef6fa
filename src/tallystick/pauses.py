"""
Named pause points: places where a test stops a process to kill it there.

A process that is started with `TALLY_PAUSE_AT=<name>` in its environment stops for ever when
it comes to that point, and says so by making the file that `TALLY_PAUSE_FILE` names. Without
them, which is always in production, a pause point is one comparison with None.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Final

ARMED: Final = os.environ.get("TALLY_PAUSE_AT")


def pause_point(name: str) -> None:
    """Stop for ever if this process was started to stop at *name*."""
    if name == ARMED:
        Path(os.environ["TALLY_PAUSE_FILE"]).write_text(name, encoding="utf-8")
        threading.Event().wait()
