"""`tally log succeed, shard, shards`, `tally source move`, `tally key create, activate, retire`."""

from __future__ import annotations

from typing import Annotated, Final

from cyclopts import Parameter

from tallystick.cli.commands.logs import LogArgument
from tallystick.cli.commands.sources import TableArgument
from tallystick.cli.errors import UsageError
from tallystick.cli.output import show, show_list
from tallystick.cli.place import HERE, Place
from tallystick.runtime.house import origin_prefix
from tallystick.seal.logs import activate_key, create_key, retire_key
from tallystick.seal.succession import list_families, move_source, shard_log, succeed_log

FAMILY_COLUMNS: Final = ("family", "log_name", "period", "next_at", "enabled")
KEY_ID_DIGITS: Final = 8

KeyArgument = Annotated[str, Parameter(help="Id of the key: 8 hexadecimal digits.")]


def succeed(
    log: LogArgument,
    successor: Annotated[str, Parameter(help="Name of the log that continues it.")],
    /,
    *,
    place: Place = HERE,
) -> None:
    """
    Continue a log in a new one, which takes over its tables.

    The old one freezes once its queue is sealed. One that has failed stays failed: the new
    log's genesis names the fork, and what waited in the old queue is sealed by the new log.
    """
    with place.transaction() as tx:
        prefix = origin_prefix(tx, place.settings())
        made = succeed_log(tx, log, successor, keys=place.keys(), origin_prefix=prefix)
    show(made, as_json=place.json)


def shard(
    log: LogArgument,
    /,
    *,
    family: Annotated[str, Parameter(help="Name of the family; shards are <family>_<period>.")],
    period: Annotated[
        str, Parameter(help="year, month, week, day, hour (UTC), or seconds, as 3600s.")
    ] = "month",
    off: Annotated[bool, Parameter(negative="", help="The current log goes on.")] = False,
    place: Place = HERE,
) -> None:
    """Continue a log at each turn of a period, under the name of its family and the period."""
    with place.transaction() as tx:
        made = shard_log(tx, log, family, period=period, enabled=not off)
    show(made, as_json=place.json)


def list_shards(*, place: Place = HERE) -> None:
    """List the families of logs, with the current log of each and when it turns."""
    with place.transaction(read_only=True) as tx:
        families = list_families(tx)
    show_list(families, FAMILY_COLUMNS, as_json=place.json)


def move(
    log: LogArgument,
    table: TableArgument,
    /,
    *,
    to: Annotated[str, Parameter(help="The log that it feeds from now on.")],
    place: Place = HERE,
) -> None:
    """Let a table feed another log; each of its changes is in exactly one of the two."""
    with place.transaction() as tx:
        source = move_source(tx, table, source_log=log, to=to)
    show(source, as_json=place.json)


def create(log: LogArgument, /, *, place: Place = HERE) -> None:
    """Make another key for a log; it signs nothing yet. Give the file to every worker."""
    with place.transaction() as tx:
        key = create_key(tx, log, keys=place.keys())
    show(key, as_json=place.json)


def activate(log: LogArgument, key: KeyArgument, /, *, place: Place = HERE) -> None:
    """Let a key sign from the next checkpoint on, beside those that sign already."""
    with place.transaction() as tx:
        changed = activate_key(tx, log, parse_key_id(key), keys=place.keys())
    show(changed, as_json=place.json)


def retire(log: LogArgument, key: KeyArgument, /, *, place: Place = HERE) -> None:
    """Let a key sign no more, when verifiers have the new one; the last active key stays."""
    with place.transaction() as tx:
        changed = retire_key(tx, log, parse_key_id(key))
    show(changed, as_json=place.json)


def parse_key_id(text: str) -> bytes:
    """
    Return the key id that *text* is in hexadecimal.

    Raises:
        UsageError: It is none.
    """
    if len(text) != KEY_ID_DIGITS or not all(digit in "0123456789abcdef" for digit in text.lower()):
        raise UsageError(f"a key id is {KEY_ID_DIGITS} hexadecimal digits")
    return bytes.fromhex(text)
