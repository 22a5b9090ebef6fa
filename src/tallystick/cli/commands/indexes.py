"""`tally log index`: the map of a log's keys, now or at an interval (docs/adr/0015)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter

from tallystick.cli.commands.logs import LogArgument
from tallystick.cli.errors import UsageError
from tallystick.cli.output import show
from tallystick.cli.place import HERE, Place
from tallystick.seal.index import forget_index, index_log, set_index_interval


@dataclass(frozen=True, slots=True)
class Interval:
    """How often a log's map is computed by itself; None: never."""

    log_name: str
    key_index_interval_seconds: int | None


def index(
    log: LogArgument,
    /,
    *,
    every: Annotated[
        int | None, Parameter(help="Seconds between two maps that workers compute from now on.")
    ] = None,
    off: Annotated[
        bool, Parameter(negative="", help="Let no worker compute one any more.")
    ] = False,
    anew: Annotated[
        bool, Parameter(negative="", help="From the first leaf on; what was derived is dropped.")
    ] = False,
    place: Place = HERE,
) -> None:
    """
    Compute the map of a log's keys, whose root is then sealed in the log; or set its interval.

    By the map `tally prove LOG --history KEY` shows all versions of a row, or that it never was.
    """
    if sum((every is not None, off, anew)) > 1:
        raise UsageError("one of --every, --off and --anew at a time")
    with place.database() as database:
        if every is not None or off:
            with database.transaction() as tx:
                set_index_interval(tx, log, every)
            show(Interval(log, every), as_json=place.json)
            return
        if anew:
            with database.transaction() as tx:
                forget_index(tx, log)
        done = index_log(database, log)
    show(done, as_json=place.json)
