"""Opening and erasing what leaves hide (log.md, sections 5.3 and 6.2)."""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from litestar import Response, post
from litestar.params import JSONBody

from tallystick.db import Transaction
from tallystick.http.answers import LogBody
from tallystick.http.asked import Caller, LogName, Served, Write
from tallystick.http.errors import UnauthenticatedError
from tallystick.http.parameters import MAX_NUMBER
from tallystick.publish.disclosures import disclose
from tallystick.record import format_disclosure_file
from tallystick.seal.errors import InvalidRequestError
from tallystick.seal.redaction import Redaction, redact_leaves, redact_row

MAX_COLUMNS: Final = 1600
"""PostgreSQL's limit on the columns of a table."""
LeafIndexField = Annotated[int, msgspec.Meta(ge=0, le=MAX_NUMBER)]


class DisclosureRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which leaf to open, and its columns: none for a salted leaf, `*` for a whole record."""

    index: LeafIndexField
    columns: Annotated[list[str], msgspec.Meta(max_length=MAX_COLUMNS)] = []


class RedactionRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    What to erase: leaves by their *indexes*, or every version of the row of *source_table*
    with *key*. *reason* is sealed, and must name nobody.
    """

    indexes: list[LeafIndexField] | None = None
    source_table: str | None = None
    key: list[str] | None = None
    reason: str
    legal_basis: str


class DisclosureBody(LogBody, frozen=True, kw_only=True):
    """The disclosure as `tally verify --disclosure` reads it."""

    disclosure: dict[str, Any]


class RedactionBody(LogBody, frozen=True, kw_only=True):
    """
    What was erased now, with the leaves that repeated it, and what had been before. *standing*
    rows are still in their table, whose next change records them; *elsewhere* are other logs
    that keep records of these rows; *is_in_log* says whether a `redact` leaf follows.
    """

    redacted: list[int]
    redacted_before: list[int]
    quarantined: int
    standing: int
    elsewhere: list[str]
    is_in_log: bool


@post("/logs/{log:str}/disclose", status_code=200, sync_to_thread=True)
def post_disclose(
    services: Served, log: LogName, data: JSONBody[DisclosureRequest]
) -> Response[DisclosureBody]:
    """Open private or large columns of a leaf, or a salted leaf as a whole; 410 once erased."""
    with services.database.transaction(read_only=True) as tx:
        file = format_disclosure_file(disclose(tx, log, data.index, data.columns))
    body = DisclosureBody(log_name=log, disclosure=msgspec.json.decode(file))
    return Response(body, headers={"Cache-Control": "no-store"})


@post("/logs/{log:str}/redact", status_code=200, sync_to_thread=True)
def post_redact(
    writing: Write, principal: Caller, log: LogName, data: JSONBody[RedactionRequest]
) -> Response[RedactionBody]:
    """Erase for ever what leaves hide; leaves, proofs and roots stay valid."""
    if principal is None:
        raise UnauthenticatedError
    by_row = data.source_table is not None and data.key is not None
    if (data.indexes is not None) == by_row or (data.source_table is None) != (data.key is None):
        raise InvalidRequestError("name leaves by indexes, or a row by source_table and key")
    words = {"actor": principal.name, "reason": data.reason, "legal_basis": data.legal_basis}

    def redact(tx: Transaction) -> RedactionBody:
        if data.source_table is not None and data.key is not None:
            return redaction_body(redact_row(tx, log, data.source_table, data.key, **words))
        return redaction_body(redact_leaves(tx, log, data.indexes or [], **words))

    return writing.run(redact)


def redaction_body(done: Redaction) -> RedactionBody:
    """Return *done* as it is answered."""
    return RedactionBody(
        log_name=done.log_name,
        redacted=list(done.redacted),
        redacted_before=list(done.redacted_before),
        quarantined=done.quarantined,
        standing=done.standing,
        elsewhere=list(done.elsewhere),
        is_in_log=done.is_in_log,
    )


ROUTES = [post_disclose, post_redact]
