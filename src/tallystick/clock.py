"""
Time as Tallystick writes it: UTC, microseconds, one text form (common.md, "Messages").

The time of facts comes from the database, `tally.clock()`; this module formats and parses
it, and gives processes the wall clock for what is not evidence.
"""

from __future__ import annotations

import datetime
import re

TIME_FORM = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{6}Z")


def format_time(moment: datetime.datetime) -> str:
    """Return *moment* as `YYYY-MM-DDTHH:MM:SS.ffffffZ`; it must carry a zone."""
    assert moment.tzinfo is not None, "a time without a zone is not a time"
    return moment.astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_time(text: str) -> datetime.datetime:
    """
    Return the moment that *text* names, in UTC.

    Raises:
        ValueError: *text* is not exactly of the form above, or no such day exists.
    """
    if not TIME_FORM.fullmatch(text):
        raise ValueError(f"not a time of the form YYYY-MM-DDTHH:MM:SS.ffffffZ: {text[:40]!r}")
    return datetime.datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=datetime.UTC)


def utc_now() -> datetime.datetime:
    """Return this machine's wall clock, in UTC; for logs and measurements, never for evidence."""
    return datetime.datetime.now(datetime.UTC)
