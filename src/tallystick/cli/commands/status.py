"""`tally status` and `tally doctor`: how it goes, and what must be mended."""

from __future__ import annotations

from typing import Final

from tallystick.cli.errors import UnhealthyError
from tallystick.cli.output import print_json, print_lines, print_table
from tallystick.cli.place import HERE, Place
from tallystick.runtime.doctor import Level, examine
from tallystick.runtime.status import read_status

COLUMNS: Final = (
    "log_name",
    "status",
    "size",
    "rows_waiting",
    "lag_seconds",
    "last_checkpoint",
    "sources",
    "broken_sources",
    "quarantined",
)
NAMES: Final = (
    "log",
    "status",
    "size",
    "waiting",
    "lag (s)",
    "last checkpoint",
    "sources",
    "broken",
    "quarantined",
)
SIGNS: Final = {Level.OK: "ok", Level.NOTE: "note", Level.WARNING: "warn", Level.PROBLEM: "FAIL"}


def status(*, place: Place = HERE) -> None:
    """Show size, lag and last checkpoint of every log, and whether sealing runs."""
    with place.database() as database:
        now = read_status(database)
    if place.json:
        print_json(now)
        return
    rows = []
    for log in now.logs:
        values = [getattr(log, column) for column in COLUMNS]
        # A log that an operator paused is active and not sealed: both are worth seeing.
        values[1] = log.status if log.enabled else f"{log.status}, paused"
        rows.append(values)
    print_table(NAMES, rows)
    waiting = f"{now.outbox.unnumbered} events wait for a number"
    print_lines(f"sealing is {now.sealing}; {waiting}")


def doctor(*, place: Place = HERE) -> None:
    """Look at settings, database, rights, keys, triggers, clock, queue and transactions."""
    findings = examine(place.settings())
    if place.json:
        print_json({"items": findings, "next": None})
    else:
        for finding in findings:
            print_lines(f"{SIGNS[finding.level]:<5} {finding.check:<13} {finding.message}")
    problems = [finding for finding in findings if finding.level is Level.PROBLEM]
    if problems:
        count = len(problems)
        raise UnhealthyError(f"{count} thing{'s' if count > 1 else ''} must be mended")
