"""Keys in turn, succession, moved tables (log.md, sections 3.1, 5.8 and 6.2)."""

from __future__ import annotations

import msgspec
from litestar import Response, post
from litestar.params import FromPath, JSONBody

from tallystick.http.answers import KeyItem, LogBody, key_item
from tallystick.http.asked import LogName, Served, TableName, Write
from tallystick.http.routes.logs import LogState, SourceState, source_state, write
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
    services: Served, writing: Write, log: LogName, data: JSONBody[NewSuccessor]
) -> Response[LogState]:
    """
    Continue a log in a new one, which takes over its tables and is answered. The old one freezes
    once its queue is sealed; a failed one stays failed, and the genesis names the fork.
    """
    return write(
        services,
        writing,
        lambda tx: succeed_log(
            tx,
            log,
            data.successor,
            keys=services.keys,
            origin_prefix=services.origin_prefix,
        ),
        status=201,
    )


@post("/logs/{log:str}/sources/{table:str}/move", status_code=200, sync_to_thread=True)
def post_move(
    writing: Write, log: LogName, table: TableName, data: JSONBody[Destination]
) -> Response[SourceState]:
    """
    Let a table feed another log from now on. Where that continues this one its rows stay known;
    else they are queued anew.
    """
    return writing.run(lambda tx: source_state(move_source(tx, table, source_log=log, to=data.to)))


@post("/logs/{log:str}/keys", sync_to_thread=True)
def post_key(services: Served, writing: Write, log: LogName) -> Response[KeyState]:
    """Make another key for the log, in this server's key directory; it signs nothing yet."""
    return writing.run(
        lambda tx: key_state(log, create_key(tx, log, keys=services.keys)), status=201
    )


@post("/logs/{log:str}/keys/{key_id:str}/activate", status_code=200, sync_to_thread=True)
def post_activate(
    services: Served, writing: Write, log: LogName, key_id: FromPath[str]
) -> Response[KeyState]:
    """Let a key sign from the next checkpoint on, beside those that sign already."""
    named = parse_key_id(key_id)
    return writing.run(lambda tx: key_state(log, activate_key(tx, log, named, keys=services.keys)))


@post("/logs/{log:str}/keys/{key_id:str}/retire", status_code=200, sync_to_thread=True)
def post_retire(writing: Write, log: LogName, key_id: FromPath[str]) -> Response[KeyState]:
    """Let a key sign no more; the log's last active key stays."""
    named = parse_key_id(key_id)
    return writing.run(lambda tx: key_state(log, retire_key(tx, log, named)))


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
