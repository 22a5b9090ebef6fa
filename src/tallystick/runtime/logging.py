"""
Logs of processes: one JSON object a line, on stderr (log.md, section 6.3).

The names are `time, level, event, log, size, rows, duration_ms, request_id, error`, and a few
that say which part speaks. Others are dropped at this one place: whatever a caller adds, no
row's content, key or token can reach a line by it.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import MutableMapping
from typing import Any, Final

import structlog

from tallystick.clock import format_time, utc_now

FIELDS: Final = ("time", "level", "event", "log", "size", "rows", "duration_ms", "request_id")
PARTS: Final = (
    "process",
    "pid",
    "exit_code",
    "retry_seconds",
    "sink",
    "source_no",
    "method",
    "route",
    "status",
    "address",
    "chain_id",
)
"""Which part of the program speaks: numbers, and names that an operator or the program gave."""
LAST: Final = ("error",)
LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}


def configure_logging(level: str) -> None:
    """Send everything of at least *level* to stderr as JSON lines, ours and libraries' alike."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            keep_known_fields,
            render_json,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=lambda *_: StderrLogger(),
        cache_logger_on_first_use=True,
    )
    handler = StderrHandler()
    handler.setFormatter(LibraryFormatter())
    logging.basicConfig(level=max(LEVELS[level], logging.WARNING), handlers=[handler], force=True)


class StderrLogger:
    """Writes lines to whatever stderr is when they are written, each with one call."""

    def msg(self, line: str) -> None:
        """Write *line*."""
        sys.stderr.write(f"{line}\n")

    debug = info = warning = error = critical = exception = msg


def keep_known_fields(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Put the fields in their order, give the line its time, and drop what is not named above."""
    event["time"] = format_time(utc_now())
    if "error" not in event and event.pop("exc_info", None):
        raised = sys.exc_info()[0]
        event["error"] = raised.__name__ if raised else None
    return {name: event[name] for name in (*FIELDS, *PARTS, *LAST) if name in event}


def render_json(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> str:
    """Return the line; a value that JSON does not know is shown by its type's name."""
    return json.dumps(event, default=lambda value: type(value).__name__, ensure_ascii=False)


class StderrHandler(logging.Handler):
    """As `StderrLogger`, for libraries."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line of *record*."""
        sys.stderr.write(f"{self.format(record)}\n")


class LibraryFormatter(logging.Formatter):
    """
    Warnings by the logger's name. Arguments may quote data and are left out: of our own modules
    the text with its gaps is shown, of libraries, which fill texts as they like, nothing.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of *record*."""
        error = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else None
        line = {
            "time": format_time(utc_now()),
            "level": record.levelname.lower(),
            "event": str(record.msg) if record.name.startswith("tallystick.") else "library",
            "process": record.name,
            "error": error,
        }
        return json.dumps(line)
