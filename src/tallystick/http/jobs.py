"""
Jobs: work that may outlast its request, each in a thread of this server (log.md, section 6.2).

A job is known to this process alone, and not for ever: what an audit or a reconcile found
lasts as findings in the database, whatever becomes of the job.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import msgspec
import structlog

from tallystick.clock import format_time, utc_now
from tallystick.errors import Error
from tallystick.http.errors import JobNotFoundError, JobsBusyError, JobStoppedError

JobKind = Literal["audit", "reconcile"]
Progress = Callable[[int, int], None]
"""Takes how much is done and of how much; raises JobStoppedError when the server stops."""

MAX_RUNNING: Final = 2
"""Each holds a connection of the pool and keeps the database busy; readers come first."""
MAX_KEPT: Final = 100
"""Jobs that are remembered, running ones among them."""
STOP_SECONDS: Final = 5.0
"""What a job that looks at its progress needs to end; one that does not is left behind."""

logger = structlog.get_logger(__name__)


@dataclass(slots=True, eq=False)
class Job:
    """One piece of work, how far it is, and what became of it: a body, or what was raised."""

    log_name: str
    kind: JobKind
    began_at: str
    job: str = field(default_factory=lambda: secrets.token_hex(16))
    done: int = 0
    total: int | None = None
    outcome: Future[msgspec.Struct | Exception] = field(default_factory=Future)

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return not self.outcome.done()

    async def wait(self, *, seconds: float) -> bool:
        """Wait until it has ended, for so long at most; return whether it has."""
        with contextlib.suppress(TimeoutError):
            # Giving up cancels the wait alone: a future that runs is not to be cancelled.
            await asyncio.wait_for(asyncio.wrap_future(self.outcome), seconds)
        return not self.is_running


class Jobs:
    """The jobs of one server: few run, some more are remembered."""

    def __init__(self, *, running: int = MAX_RUNNING, kept: int = MAX_KEPT) -> None:
        self._running = running
        self._kept = kept
        self._lock = threading.Lock()
        self._jobs: dict[str, tuple[Job, threading.Thread]] = {}
        self._is_stopping = threading.Event()

    def start(
        self, log_name: str, kind: JobKind, work: Callable[[Progress], msgspec.Struct]
    ) -> Job:
        """
        Begin *work* in a thread of its own and return its job.

        Raises:
            JobsBusyError: As many run as may, or the server stops.
        """
        job = Job(log_name, kind, format_time(utc_now()))
        job.outcome.set_running_or_notify_cancel()
        # A daemon: a long statement must not keep a process alive that is to end.
        thread = threading.Thread(target=self._run, args=(job, work), name=kind, daemon=True)
        with self._lock:
            running = sum(known.is_running for known, _ in self._jobs.values())
            if running >= self._running or self._is_stopping.is_set():
                raise JobsBusyError
            self._jobs[job.job] = (job, thread)
            self._forget()
            thread.start()
        return job

    def get(self, log_name: str, job: str) -> Job:
        """
        Return a job of this log.

        Raises:
            JobNotFoundError: There is none, or it ended long ago.
        """
        with self._lock:
            known = self._jobs.get(job)
        if known is None or known[0].log_name != log_name:
            raise JobNotFoundError
        return known[0]

    def stop(self) -> None:
        """Begin no further job and end those that run, as far as they end in time."""
        with self._lock:
            self._is_stopping.set()
            threads = [thread for job, thread in self._jobs.values() if job.is_running]
        deadline = time.monotonic() + STOP_SECONDS
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _run(self, job: Job, work: Callable[[Progress], msgspec.Struct]) -> None:
        def note(done: int, total: int) -> None:
            if self._is_stopping.is_set():
                raise JobStoppedError
            job.done, job.total = done, total

        result: Any
        try:
            result = work(note)
        except Exception as raised:  # noqa: BLE001 (the thread's edge: whoever asks for the job is told)
            if not isinstance(raised, Error):
                error = type(raised).__name__
                logger.error("job.defect", log=job.log_name, error=error)  # noqa: TRY400 (no traceback in logs)
            result = raised
        job.outcome.set_result(result)

    def _forget(self) -> None:
        ended = [name for name, (job, _) in self._jobs.items() if not job.is_running]
        for name in ended[: max(0, len(self._jobs) - self._kept)]:
            del self._jobs[name]
