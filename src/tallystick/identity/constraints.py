"""
What PostgreSQL itself refuses, under identity's names (identity.md, section 3).

The schema's constraints are claims; a row that breaks one is refused by the claim's name. No
message quotes a value: rows hold wallets, names and reasons.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator
from typing import TypeVar

import psycopg
from psycopg import errors

from tallystick.db.database import raise_translated
from tallystick.identity.errors import DuplicateError, InvalidValueError, NotFoundError

Repository = TypeVar("Repository")


@contextlib.contextmanager
def named_errors() -> Iterator[None]:
    """
    Translate what the block's statements are refused with.

    Raises:
        DuplicateError: There is a row with this key already; the constraint is named.
        NotFoundError: A row that is referred to does not exist.
        InvalidValueError: A value breaks a claim or its type; the field or claim is named.
    """
    try:
        yield
    except errors.UniqueViolation as raised:
        name = raised.diag.constraint_name or ""
        message = f"there is one already: {in_words(name)}"
        raise DuplicateError(message, evidence={"constraint": name}) from raised
    except errors.ForeignKeyViolation as raised:
        name = raised.diag.constraint_name or ""
        message = f"what is referred to does not exist: {in_words(name)}"
        raise NotFoundError(message, evidence={"constraint": name}) from raised
    except (errors.CheckViolation, errors.NotNullViolation) as raised:
        name = raised.diag.constraint_name or raised.diag.column_name or ""
        raise InvalidValueError(in_words(name), evidence={"field": name}) from raised
    except psycopg.DataError as raised:
        # Text with NUL, a number out of range, an encoding: the driver or the server says so.
        name = raised.diag.column_name or ""
        message = "a value is outside of what its type holds"
        raise InvalidValueError(message, evidence={"field": name}) from raised
    except UnicodeEncodeError as raised:
        raise InvalidValueError("a text holds half a character") from raised
    except psycopg.Error as raised:
        # Our own states leave by name at once, so that a caller inside the transaction can tell.
        raise_translated(raised)


def names_errors(repository: type[Repository]) -> type[Repository]:
    """Let every public method of *repository* raise as `named_errors` does."""
    for name, member in list(vars(repository).items()):
        if inspect.isfunction(member) and not name.startswith("_"):
            setattr(repository, name, named_errors()(member))
    return repository


def in_words(name: str) -> str:
    """Return the claim that a constraint's name makes, in words."""
    return name.replace("_", " ")
