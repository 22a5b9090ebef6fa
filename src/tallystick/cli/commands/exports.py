"""`tally export`, `tally check-export` and `tally prune` (log.md, sections 4.8 and 6.4)."""

from __future__ import annotations

import functools
import sys
import threading
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from tallystick.cli.commands.logs import LogArgument
from tallystick.cli.commands.monitor import read_key
from tallystick.cli.commands.verify import read
from tallystick.cli.output import print_json, print_lines
from tallystick.cli.place import HERE, Place
from tallystick.cli.principal import operator_name
from tallystick.publish.export import (
    ExportReport,
    check_export,
    export_log,
    follow_log,
    open_destination,
    prune_to_export,
    record_check,
)
from tallystick.runtime.signals import stop_on_signals

Destination = Annotated[str, Parameter(help="A directory, file:… or s3://bucket/prefix.")]
KeyFile = Annotated[
    Path | None, Parameter(help="File with an API key, where https://… asks for one.")
]
Address = Annotated[
    str, Parameter(help="A directory, file:…, s3://bucket/prefix or https://… of a log.")
]


def export(
    log: LogArgument,
    destination: Destination,
    /,
    *,
    follow: Annotated[bool, Parameter(negative="", help="Keep it current until Ctrl-C.")] = False,
    every: Annotated[float, Parameter(help="Seconds between two rounds of --follow.")] = 1.0,
    place: Place = HERE,
) -> None:
    """
    Write the published tree of a log: entries, tiles, log.json, and the checkpoint last.

    Run again it writes only what is new; what was written is never written anew. Where an S3
    store is, and as whom we come, AWS_ENDPOINT, AWS_ACCESS_KEY_ID and the like say.
    """
    objects = open_destination(destination)
    with place.database() as database:
        if not follow:
            show_round(export_log(database, log, objects), as_json=place.json)
            return
        stop = threading.Event()
        stop_on_signals(stop)
        follow_log(
            database,
            log,
            objects,
            stop=stop,
            every_seconds=every,
            on_round=lambda report: show_round(report, as_json=place.json),
        )


def check(
    export: Address,
    /,
    *,
    trust: Annotated[Path, Parameter(help="Whom you trust: a tlog-policy file.")],
    record: Annotated[
        str | None, Parameter(help="Record the verdict in this log's database, for pruning.")
    ] = None,
    processes: Annotated[int | None, Parameter(help="Default: the cores of the machine.")] = None,
    cluster: Annotated[str | None, Parameter(help="A Dask scheduler to work on.")] = None,
    key_file: KeyFile = None,
    place: Place = HERE,
) -> None:
    """
    Hash every entry of an export, rebuild every tile, check the signatures; needs no database.

    The first bad object is named. Exit code 1: it is false. 6: an object is missing.
    """
    run = functools.partial(
        check_export,
        export,
        read(trust),
        key=read_key(key_file),
        processes=processes,
        cluster=cluster,
    )
    if record is None:
        checked = run()
    else:
        with place.database() as database:
            checked = record_check(database, record, export, run)
    if place.json:
        print_json(checked)
    else:
        print_lines(
            f"{checked.url}: whole; {checked.entries} entries of {checked.origin} in"
            f" {checked.seconds:.1f} s; size {checked.size}, from {checked.minimum_index} on,"
            f" {checked.cosignatures} cosignatures"
        )


def prune(
    log: LogArgument,
    /,
    *,
    to: Annotated[int, Parameter(help="First entry to keep: a multiple of 256.")],
    export: Annotated[str, Parameter(help="The checked export that holds the others.")],
    reason: Annotated[str, Parameter(help="Why; it is sealed.")],
    key_file: KeyFile = None,
    place: Place = HERE,
) -> None:
    """
    Delete the entries of a log below an index; every proof can still be made.

    A clean `tally check-export --record` of the export must be recorded, and the log's
    retention must have passed. The last word on each row that still stands is kept. The same
    command again goes on where it was interrupted.
    """
    with place.database() as database:
        report = prune_to_export(
            database,
            log,
            to_index=to,
            export=export,
            actor=operator_name(),
            reason=reason,
            key=read_key(key_file),
        )
    if place.json:
        print_json(report)
    else:
        print_lines(
            f"{log}: entries below {report.to_index} are pruned; {report.leaves_deleted} leaves"
            f" deleted, {report.leaves_kept} kept for rows that still stand"
        )


def show_round(report: ExportReport, *, as_json: bool) -> None:
    """Write what one round did; whoever reads through a pipe gets it at once."""
    if as_json:
        print_json(report)
    else:
        print_lines(
            f"{report.log_name}: {report.size_before} -> {report.size} leaves at {report.url};"
            f" {report.objects_written} objects, {report.bytes_written} bytes"
            f" in {report.seconds:.1f} s"
        )
    sys.stdout.flush()
