"""`tally log`: make, list, configure, freeze and recover logs."""

from __future__ import annotations

import datetime
from typing import Annotated

from cyclopts import Parameter

from tallystick.cli.errors import UsageError
from tallystick.cli.output import show, show_list
from tallystick.cli.place import HERE, Place
from tallystick.cli.principal import operator_name
from tallystick.runtime.house import origin_prefix
from tallystick.seal.imports import import_log
from tallystick.seal.logs import (
    LogSettings,
    configure_log,
    create_log,
    freeze_log,
    get_log,
    list_logs,
    recover_log,
)
from tallystick.seal.logs.log import Mode, Visibility
from tallystick.tlog import HASH_BYTES

COLUMNS = ("log_name", "status", "enabled", "mode", "visibility", "origin", "description")

LogArgument = Annotated[str, Parameter(help="Name of the log.")]


def create(
    log: LogArgument,
    /,
    *,
    description: Annotated[str | None, Parameter(help="What the log is for.")] = None,
    digest: Annotated[bool, Parameter(negative="", help="Leaves are digests, no records.")] = False,
    visibility: Annotated[Visibility, Parameter(help="What is read without a key.")] = "private",
    batch_size: Annotated[int, Parameter(help="Most leaves between two checkpoints.")] = 65536,
    batch_interval_ms: Annotated[int, Parameter(help="Pause between looks, in ms.")] = 500,
    witness_quorum: Annotated[int, Parameter(help="Witnesses that publishing waits for.")] = 0,
    witness_patience_seconds: Annotated[
        int | None, Parameter(help="Publish without the quorum after so long.")
    ] = None,
    accepts_entries: Annotated[
        bool, Parameter(negative="", help="Open the log for pushed entries.")
    ] = False,
    retain_until: Annotated[
        datetime.datetime | None, Parameter(help="Prune nothing before this time.")
    ] = None,
    place: Place = HERE,
) -> None:
    """Make a log with a key of its own; the same command again changes nothing."""
    mode: Mode = "digest" if digest else "full"
    settings = LogSettings(
        description=description,
        mode=mode,
        visibility=visibility,
        batch_size=batch_size,
        batch_interval_ms=batch_interval_ms,
        witness_quorum=witness_quorum,
        witness_patience_seconds=witness_patience_seconds,
        accepts_entries=accepts_entries,
        retain_until=in_utc(retain_until),
    )
    with place.transaction() as tx:
        prefix = origin_prefix(tx, place.settings())
        made = create_log(tx, log, keys=place.keys(), origin_prefix=prefix, settings=settings)
    show(made, as_json=place.json)


def import_earlier(
    log: LogArgument,
    /,
    *,
    table: Annotated[str, Parameter(help="The earlier service's table of leaves.")],
    log_name: Annotated[str | None, Parameter(help="The log's name there; default: LOG.")] = None,
    expect_root: Annotated[
        str | None, Parameter(help="Its root, in hex; with another nothing is done.")
    ] = None,
    place: Place = HERE,
) -> None:
    """Make a digest log of an earlier log service's leaves: same bytes, hence the same roots."""
    root = None if expect_root is None else parse_root(expect_root)
    with place.database() as database:
        with database.transaction(read_only=True) as tx:
            prefix = origin_prefix(tx, place.settings())
        done = import_log(
            database,
            log,
            table,
            keys=place.keys(),
            origin_prefix=prefix,
            earlier_name=log_name,
            expect_root=root,
        )
    show(done, as_json=place.json)


def parse_root(text: str) -> bytes:
    """
    Return the root in *text*.

    Raises:
        UsageError: It is not 64 hex digits.
    """
    try:
        root = bytes.fromhex(text)
    except ValueError:
        root = b""
    if len(root) != HASH_BYTES:
        raise UsageError("--expect-root is 64 hex digits")
    return root


def list_all(*, place: Place = HERE) -> None:
    """List the logs, by name."""
    with place.transaction(read_only=True) as tx:
        logs = list_logs(tx)
    show_list(logs, COLUMNS, as_json=place.json)


def show_one(log: LogArgument, /, *, place: Place = HERE) -> None:
    """Show every field of one log."""
    with place.transaction(read_only=True) as tx:
        found = get_log(tx, log)
    show(found, as_json=place.json)


def configure(
    log: LogArgument,
    /,
    *,
    description: str | None = None,
    visibility: Visibility | None = None,
    batch_size: int | None = None,
    batch_interval_ms: int | None = None,
    witness_quorum: int | None = None,
    witness_patience_seconds: int | None = None,
    accepts_entries: bool | None = None,
    retain_until: datetime.datetime | None = None,
    place: Place = HERE,
) -> None:
    """Change what may change of a log; options that are not given leave it as it is."""
    with place.transaction() as tx:
        changed = configure_log(
            tx,
            log,
            description=description,
            visibility=visibility,
            batch_size=batch_size,
            batch_interval_ms=batch_interval_ms,
            witness_quorum=witness_quorum,
            witness_patience_seconds=witness_patience_seconds,
            accepts_entries=accepts_entries,
            retain_until=in_utc(retain_until),
        )
    show(changed, as_json=place.json)


def pause(log: LogArgument, /, *, place: Place = HERE) -> None:
    """Stop sealing a log; its changes are captured and wait, and reading goes on."""
    with place.transaction() as tx:
        changed = configure_log(tx, log, enabled=False)
    show(changed, as_json=place.json)


def resume(log: LogArgument, /, *, place: Place = HERE) -> None:
    """Seal a paused log again."""
    with place.transaction() as tx:
        changed = configure_log(tx, log, enabled=True)
    show(changed, as_json=place.json)


def freeze(log: LogArgument, /, *, place: Place = HERE) -> None:
    """End a log: pushes are refused from now on, and the last leaf says that it was frozen."""
    with place.transaction() as tx:
        changed = freeze_log(tx, log)
    show(changed, as_json=place.json)


def recover(
    log: LogArgument,
    /,
    *,
    reason: Annotated[str, Parameter(help="Why; it stands in the event.")],
    place: Place = HERE,
) -> None:
    """Take a failed log back to where it was; an audit begun since must be clean."""
    with place.transaction() as tx:
        recovered = recover_log(tx, log, actor=operator_name(), reason=reason)
    show(recovered, as_json=place.json)


def in_utc(moment: datetime.datetime | None) -> datetime.datetime | None:
    """Return *moment*; one that was given without a zone is meant in UTC."""
    if moment is None or moment.tzinfo is not None:
        return moment
    return moment.replace(tzinfo=datetime.UTC)
