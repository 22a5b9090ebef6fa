"""All versions of a key, or that it never was, as a file to verify offline (docs/adr/0015)."""

from __future__ import annotations

from litestar import MediaType, Response, get
from litestar.params import FromQuery

from tallystick.http.asked import Head, Key, Served
from tallystick.http.routes.trees import key_columns
from tallystick.publish import RowKey, history_file


@get("/logs/{log:str}/history", sync_to_thread=True, media_type=MediaType.TEXT)
def get_history(
    services: Served, head: Head, table: FromQuery[str], key: Key = None
) -> Response[bytes]:
    """
    The history file of a row: all of its versions by the newest sealed map of the log's keys, or
    the proof that there are none. `tally verify` checks it.
    """
    row = RowKey.of(table, key_columns(key))
    return Response(history_file(services.publisher, head, row), media_type=MediaType.TEXT)
