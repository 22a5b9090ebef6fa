"""`tally key`: the public keys of logs."""

from __future__ import annotations

from tallystick.cli.commands.logs import LogArgument
from tallystick.cli.output import show_list
from tallystick.cli.place import HERE, Place
from tallystick.seal.logs import list_keys

COLUMNS = ("status", "from_size", "to_size", "created_at", "vkey")


def list_all(log: LogArgument, /, *, place: Place = HERE) -> None:
    """List the public keys of a log, the oldest first, with the sizes that each signed."""
    with place.transaction(read_only=True) as tx:
        keys = list_keys(tx, log)
    show_list(keys, COLUMNS, as_json=place.json)
