"""
The one translation from SQLSTATE to error (common.md, "Errors and states").

Reserved classes: `TS0xx` shared, `TS1xx` log, `TSPxx` proof, `TSGxx` gate, `TSSxx` settle,
`TSCxx` chain, `TSIxx` identity, `TSTxx` threat. A slice's error names its SQLSTATE as a
class attribute; this map is read off those classes, so a state cannot be known twice.
The database sends the evidence as a JSON object in DETAIL.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import psycopg

from tallystick.db.errors import (
    DatabaseRuleError,
    DatabaseUnavailableError,
    PermissionDeniedError,
)
from tallystick.errors import Error, all_errors

INSUFFICIENT_PRIVILEGE = "42501"
QUOTES_VALUES = ("22", "23", "P0", "38", "39", "HV", "XX")
"""Classes whose messages may quote what a row holds: data, constraints, functions, foreign data."""


def rule_errors() -> dict[str, type[DatabaseRuleError]]:
    """Return every reserved SQLSTATE with the error that stands for it."""
    known: dict[str, type[DatabaseRuleError]] = {}
    for error in all_errors(DatabaseRuleError):
        assert issubclass(error, DatabaseRuleError)
        # What a subclass inherits is its parent's claim: the evidence tells the two apart.
        if vars(error).get("sqlstate"):
            assert error.sqlstate not in known, f"{error.sqlstate} is claimed twice"
            known[error.sqlstate] = error
    return known


def translate(raised: psycopg.Error) -> Error | None:
    """Return the error that *raised* stands for; None where it is a bug or to be tried again."""
    state = raised.sqlstate
    if state is not None and state.startswith("TS"):
        known = rule_errors().get(state)
        if known is None:
            return None
        evidence = parse_evidence(raised.diag.message_detail)
        return known.for_evidence(evidence)(raised.diag.message_primary, evidence=evidence)
    if state == INSUFFICIENT_PRIVILEGE:
        return PermissionDeniedError(raised.diag.message_primary)
    if isinstance(raised, psycopg.OperationalError) and (
        state is None or state.startswith(("08", "57P"))
    ):
        return DatabaseUnavailableError(f"the database does not answer: {first_line(raised)}")
    return None


def without_values(raised: psycopg.Error) -> str:
    """Return what the server refused in one line, its own words only where they quote no row."""
    said, state = raised.diag.message_primary, raised.sqlstate or ""
    if said is None or state.startswith(QUOTES_VALUES):
        return f"{type(raised).__name__} (SQLSTATE {state})" if state else type(raised).__name__
    return said


def parse_evidence(detail: str | None) -> Mapping[str, object]:
    """Return the evidence in a DETAIL field; empty where it is not one of ours."""
    try:
        evidence = json.loads(detail or "{}")
    except ValueError:
        return {}
    return evidence if isinstance(evidence, dict) else {}


def first_line(raised: BaseException) -> str:
    """Return the first line of what *raised* says; drivers append hints and positions."""
    return str(raised).strip().partition("\n")[0]
