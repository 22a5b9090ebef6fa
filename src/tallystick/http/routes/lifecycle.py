"""Keys in turn, succession, moved tables (log.md, sections 3.1, 5.8 and 6.2)."""

from __future__ import annotations

import msgspec
from litestar import Response, post
from litestar.params import FromPath, JSONBody

from tallystick.http.answers import KeyItem, LogBody, key_item, source_item
from tallystick.http.asked import LogName, Served, TableName
from tallystick.http.routes.logs import LogState, SourceState, log_state, write
from tallystick.seal.errors import InvalidRequestError
from tallystick.seal.logs import LogKey, activate_key, create_key, retire_key
from tallystick.seal.succession import move_source, succeed_log

KEY_ID_BYTES = 4


class NewSuccessor(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The name of the log that is to continue a log."""

    successor: str


class Destination(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The log that a table is to feed from now on."""

    to: str


class KeyState(LogBody, frozen=True, kw_only=True):
    """A key of a log as it is now."""

    key: KeyItem


@post("/logs/{log:str}/succeed", sync_to_thread=True)
def post_succeed(
    services: Served, log: LogName, data: JSONBody[NewSuccessor]
) -> Response[LogState]:
    """
    Continue a log in a new one, which takes over its tables and is answered. The old one freezes
    once its queue is sealed; a failed one stays failed, and the genesis names the fork.
    """
    made = write(
        services,
        lambda tx: succeed_log(
            tx,
            log,
            data.successor,
            keys=services.keys,
            origin_prefix=services.origin_prefix,
        ),
    )
    return Response(log_state(made), status_code=201)


@post("/logs/{log:str}/sources/{table:str}/move", status_code=200, sync_to_thread=True)
def post_move(
    services: Served, log: LogName, table: TableName, data: JSONBody[Destination]
) -> SourceState:
    """
    Let a table feed another log from now on. Where that continues this one its rows stay known;
    else they are queued anew.
    """
    with services.database.transaction() as tx:
        source = move_source(tx, table, source_log=log, to=data.to)
    return SourceState(source=source_item(source))


@post("/logs/{log:str}/keys", sync_to_thread=True)
def post_key(services: Served, log: LogName) -> Response[KeyState]:
    """Make another key for the log, in this server's key directory; it signs nothing yet."""
    with services.database.transaction() as tx:
        key = create_key(tx, log, keys=services.keys)
    return Response(key_state(log, key), status_code=201)


@post("/logs/{log:str}/keys/{key_id:str}/activate", status_code=200, sync_to_thread=True)
def post_activate(services: Served, log: LogName, key_id: FromPath[str]) -> KeyState:
    """Let a key sign from the next checkpoint on, beside those that sign already."""
    with services.database.transaction() as tx:
        key = activate_key(tx, log, parse_key_id(key_id), keys=services.keys)
    return key_state(log, key)


@post("/logs/{log:str}/keys/{key_id:str}/retire", status_code=200, sync_to_thread=True)
def post_retire(services: Served, log: LogName, key_id: FromPath[str]) -> KeyState:
    """Let a key sign no more; the log's last active key stays."""
    with services.database.transaction() as tx:
        key = retire_key(tx, log, parse_key_id(key_id))
    return key_state(log, key)


def parse_key_id(text: str) -> bytes:
    """
    Return the key id that a path names in hexadecimal.

    Raises:
        InvalidRequestError: It is no key id.
    """
    try:
        key_id = bytes.fromhex(text)
    except ValueError as cause:
        raise InvalidRequestError("a key id is 8 hexadecimal digits") from cause
    if len(key_id) != KEY_ID_BYTES:
        raise InvalidRequestError("a key id is 8 hexadecimal digits")
    return key_id


def key_state(log: str, key: LogKey) -> KeyState:
    """Return *key* as it is answered."""
    return KeyState(log_name=log, key=key_item(key))


ROUTES = [post_succeed, post_move, post_key, post_activate, post_retire]
