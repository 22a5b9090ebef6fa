"""Entries, rows and search of one log (log.md, section 6.2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec
from litestar import get
from litestar.params import FromQuery, QueryParameter

from tallystick.http.answers import (
    Entry,
    LogPage,
    OneEntry,
    RowPage,
    Version,
    encoded,
    inclusion_proof,
    record_in,
    version_item,
)
from tallystick.http.asked import (
    After,
    AnyRequest,
    Caller,
    Head,
    Index,
    Key,
    Limit,
    Number,
    Served,
    Text,
    Texts,
)
from tallystick.http.authorize import may_call
from tallystick.http.parameters import (
    check_limit,
    format_cursor,
    parse_cursor,
    parse_moment,
    parse_number_cursor,
)
from tallystick.http.routes.trees import key_columns
from tallystick.http.scopes import ENTRIES
from tallystick.http.services import Services
from tallystick.publish import LeafVersion, PublishedHead, RowKey, SearchFilter
from tallystick.seal.errors import InvalidRequestError
from tallystick.seal.redaction import redacted_indexes

NOT_COLUMNS = frozenset({"table", "op", "role", "actor", "from", "to", "limit", "after", "column"})
"""Parameters of a search; whatever else there is names a column."""
MAX_CONDITIONS = 32


@get("/logs/{log:str}/entries", sync_to_thread=True)
def get_entries(
    services: Served, head: Head, limit: Limit = None, after: After = None
) -> LogPage[Entry]:
    """Leaves in the order of their indexes; a page has at most 8 MB of them."""
    first = head.minimum_index if after is None else parse_number_cursor(after) + 1
    found = services.publisher.entries(head, first=first, limit=check_limit(limit))
    following = None
    if found and found[-1].index + 1 < head.size:
        following = format_cursor(found[-1].index)
    erased = erased_places(services, [(head.log_name, entry.index) for entry in found])
    items = [
        Entry(
            entry.index,
            encoded(entry.leaf),
            encoded(entry.leaf_hash),
            record_in(entry.leaf),
            mark(erased, head.log_name, entry.index),
        )
        for entry in found
    ]
    return LogPage(log_name=head.log_name, items=items, next=following)


@get("/logs/{log:str}/entries/{index:int}", sync_to_thread=True)
def get_entry(services: Served, head: Head, index: Index) -> OneEntry:
    """One leaf."""
    entry = services.publisher.entry(head, index)
    erased = erased_places(services, [(head.log_name, index)])
    return OneEntry(
        log_name=head.log_name,
        index=entry.index,
        leaf=encoded(entry.leaf),
        leaf_hash=encoded(entry.leaf_hash),
        record=record_in(entry.leaf),
        redacted=mark(erased, head.log_name, index),
    )


@get("/logs/{log:str}/rows", sync_to_thread=True)
def get_rows(
    services: Served,
    principal: Caller,
    head: Head,
    table: FromQuery[str],
    key: Key = None,
    at_size: Number = None,
    limit: Limit = None,
    after: After = None,
) -> RowPage:
    """A row's versions, over the logs that this one continues; or the one at a tree size."""
    row = RowKey.of(table, key_columns(key))

    def may_follow(log: PublishedHead) -> bool:
        # A public log may continue a private one, which it does not open.
        return may_call(ENTRIES, principal, log)

    if at_size is not None:
        state = services.publisher.row_at(head, row, at_size, may_follow=may_follow)
        return RowPage(
            log_name=head.log_name,
            items=version_items(services, [state.version]),
            next=None,
            exists=state.exists,
            proof=inclusion_proof(state.proof),
        )
    size = check_limit(limit)
    known = (0, -1)
    if after is not None:
        place, index = parse_cursor(after, int, int)
        known = (int(place), int(index))
    found = services.publisher.row_history(
        head, row, after=known, limit=size, may_follow=may_follow
    )
    following = format_cursor(found[-1].place, found[-1].index) if len(found) == size else None
    return RowPage(log_name=head.log_name, items=version_items(services, found), next=following)


@get("/logs/{log:str}/search", sync_to_thread=True)
def search(
    request: AnyRequest,
    services: Served,
    head: Head,
    table: Text = None,
    op: Text = None,
    role: Text = None,
    actor: Text = None,
    at_from: Annotated[str | None, QueryParameter(name="from")] = None,
    at_to: Annotated[str | None, QueryParameter(name="to")] = None,
    column: Texts = None,
    limit: Limit = None,
    after: After = None,
) -> LogPage[Version]:
    """
    Leaves that fit every condition, the newest first; any other parameter is the value of the
    column that it names. A page reads at most 10,000 leaves: it may be empty and not the last.
    """
    others = [pair for pair in request.query_params.multi_items() if pair[0] not in NOT_COLUMNS]
    wanted = SearchFilter(
        table=None if table is None else RowKey.of(table, "").table,
        op=op,
        role=role,
        actor=actor,
        at_from=None if at_from is None else parse_moment(at_from, name="from"),
        at_to=None if at_to is None else parse_moment(at_to, name="to"),
        columns=column_values([*others, *map(split_condition, column or [])]),
    )
    before = None if after is None else parse_number_cursor(after)
    page = services.publisher.search(head, wanted, before=before, limit=check_limit(limit))
    return LogPage(
        log_name=head.log_name,
        items=version_items(services, page.found),
        next=None if page.next_before is None else format_cursor(page.next_before),
    )


def erased_places(
    services: Services, places: Sequence[tuple[str, int]]
) -> frozenset[tuple[str, int]]:
    """Return those of *places*, log name and index, where what a leaf hid was erased."""
    return services.database.read(lambda tx: redacted_indexes(tx, places))


def mark(erased: frozenset[tuple[str, int]], log_name: str, index: int) -> bool | msgspec.UnsetType:
    """Return the member `redacted` of a leaf: true, or left out."""
    return True if (log_name, index) in erased else msgspec.UNSET


def version_items(services: Services, found: Sequence[LeafVersion]) -> list[Version]:
    """Return *found* as they are answered, marked where what they hid was erased."""
    erased = erased_places(services, [(one.log_name, one.index) for one in found])
    return [
        msgspec.structs.replace(version_item(one), redacted=mark(erased, one.log_name, one.index))
        for one in found
    ]


def split_condition(text: str) -> tuple[str, str]:
    """
    Return name and value of `name=value`.

    Raises:
        InvalidRequestError: There is no equals sign.
    """
    name, equals, value = text.partition("=")
    if not equals:
        raise InvalidRequestError("column is name=value")
    return name, value


def column_values(pairs: list[tuple[str, str]]) -> dict[str, str]:
    """
    Return the values that columns must have.

    Raises:
        InvalidRequestError: One column is named twice, or there are too many.
    """
    values = dict(pairs)
    if len(values) != len(pairs) or len(pairs) > MAX_CONDITIONS:
        raise InvalidRequestError(f"a search names up to {MAX_CONDITIONS} columns, each once")
    return values
