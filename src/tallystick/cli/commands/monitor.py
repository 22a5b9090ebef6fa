"""`tally monitor`: keep asking a log for consistency; alarm on a fork (log.md, 4.6 and 6.4)."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from tallystick.cli.errors import UsageError
from tallystick.cli.exits import words
from tallystick.cli.output import print_json, print_lines
from tallystick.errors import Error, Kind
from tallystick.publish.errors import MonitoredForkError, MonitorStateError
from tallystick.publish.monitor import Monitor, Observed

SHORTEST_INTERVAL_SECONDS = 1.0
MAX_KEY_BYTES = 200


def monitor(
    url: Annotated[str, Parameter(help="The log's URL, such as https://host/logs/payments.")],
    /,
    *,
    vkey: Annotated[
        tuple[str, ...], Parameter(negative="", help="The log's verifier key; may be repeated.")
    ],
    state: Annotated[Path, Parameter(help="File that keeps the last verified checkpoint.")],
    once: Annotated[bool, Parameter(negative="", help="Look once, and end.")] = False,
    interval: Annotated[float, Parameter(help="Seconds between looks.")] = 60.0,
    key_file: Annotated[
        Path | None, Parameter(help="File with an API key, where the log is private.")
    ] = None,
    json: Annotated[bool, Parameter(negative="", help="Print JSON.")] = False,
) -> None:
    """
    Fetch a log's checkpoint, check that it extends the last one, and remember it; again and again.

    On a fork both notes are written to <state>.fork, the state stays as it was, and the exit
    code is 1. While a log does not answer, or, once it was seen, answers with anything else than
    a checkpoint of its own, the monitor says so and goes on asking, unless it looks once.
    """
    if interval < SHORTEST_INTERVAL_SECONDS:
        raise UsageError("--interval is at least 1 s")
    watching = Monitor(url, vkey, state, key=read_key(key_file))
    was_seen = False
    while True:
        try:
            tell(watching.look(), as_json=json)
            was_seen = True
        except (MonitoredForkError, MonitorStateError):
            raise
        except Error as error:
            # A wrong address or key shows at the first look; later it is the log's doing, which
            # must not end whoever watches it.
            if once or not (was_seen or error.kind is Kind.UNAVAILABLE):
                raise
            sys.stderr.write(f"{words(error)}\n")
        if once:
            return
        sys.stdout.flush()
        time.sleep(interval)


def read_key(path: Path | None) -> str | None:
    """
    Return the API key in a file; None without one.

    Raises:
        UsageError: What is in the file cannot be a key.
    """
    if path is None:
        return None
    with path.open("rb") as file:
        data = file.read(MAX_KEY_BYTES + 1).strip()
    if not data.isascii() or not data.decode("ascii").isprintable() or len(data) > MAX_KEY_BYTES:
        raise UsageError(f"{path} is no file with an API key")
    return data.decode("ascii") or None


def tell(observed: Observed, *, as_json: bool) -> None:
    """Print what one look found."""
    if as_json:
        print_json(observed)
        return
    before = "" if observed.old_size is None else f" from {observed.old_size}"
    print_lines(
        f"{observed.outcome}: {observed.origin}{before} at {observed.size} leaves,"
        f" root {observed.root.hex()}"
    )
