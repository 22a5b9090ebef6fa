"""
The supervisor's children: started, restarted with back-off, ended (log.md, section 6.4).

Each child leads a process group of its own, so that Ctrl-C in a terminal reaches the supervisor
alone, and has a pipe as stdin that nobody writes to: its end tells the child that the
supervisor is gone, however it went (`stop_with_parent`).
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Final

import structlog

FIRST_PAUSE_SECONDS: Final = 0.5
LONGEST_PAUSE_SECONDS: Final = 30.0
STEADY_SECONDS: Final = 60.0
"""A child that ran so long had started well: its next end counts as the first."""

STDERR: Final = 2

logger = structlog.get_logger(__name__)


class Child:
    """One part of Tallystick as a process: `python -m <module> <arguments>`."""

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        *,
        module: str = "tallystick",
    ) -> None:
        self.name = name
        self._command = [sys.executable, "-m", module, *arguments]
        self._environment = dict(environment)
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._restart_at = 0.0
        self._failures = 0

    @property
    def pid(self) -> int | None:
        """The process that runs now."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start the process."""
        self._process = subprocess.Popen(  # noqa: S603 (our own program)
            self._command,
            stdin=subprocess.PIPE,
            # Our stdout is for the one answer of `tally up`; libraries of children chat there.
            stdout=STDERR,
            env=self._environment,
            process_group=0,
        )
        self._started_at = time.monotonic()
        logger.info("child.started", process=self.name, pid=self._process.pid)

    def attend(self, now: float) -> None:
        """Notice that the process ended, and start it again when its pause is over."""
        if self._process is not None:
            code = self._process.poll()
            if code is None:
                return
            self._bury()
            steady = now - self._started_at > STEADY_SECONDS
            self._failures = 1 if steady else self._failures + 1
            pause = min(FIRST_PAUSE_SECONDS * 2.0 ** (self._failures - 1), LONGEST_PAUSE_SECONDS)
            self._restart_at = now + pause
            logger.error(
                "child.ended", process=self.name, exit_code=code, retry_seconds=round(pause, 1)
            )
        elif now >= self._restart_at:
            self.start()

    def ask_to_stop(self) -> None:
        """Tell the process to finish what is in flight and to end."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def has_ended(self) -> bool:
        """Whether no process of this child runs."""
        return self._process is None or self._process.poll() is not None

    def kill(self) -> None:
        """End the process and everything that it started, at once."""
        if self._process is not None:
            self._signal_group(signal.SIGKILL)
            self._process.wait()
            self._bury()

    def _bury(self) -> None:
        """Leave nothing of a process that ended: not its own children, not its pipe."""
        assert self._process is not None, "there is nothing to bury"
        self._signal_group(signal.SIGKILL)
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process = None

    def _signal_group(self, number: signal.Signals) -> None:
        assert self._process is not None, "a group has a leader"
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)


def stop_with_parent() -> None:
    """
    From now on end this process by SIGTERM as soon as its stdin ends.

    The supervisor holds the other end: a supervisor that was killed leaves nobody behind.
    """

    def watch() -> None:
        while os.read(0, 4096):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent", daemon=True).start()
