"""
Which columns of a new source stand in clear for ever, and which of them look personal.

What a leaf holds in clear cannot be erased (log.md, section 5.3), so whoever adds a source is
told before anything is sealed. A name or type only *looks* personal: the list errs towards
asking once too often, and what it does not know is still named among the clear columns.
"""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tallystick.seal.sources.source import Source
    from tallystick.seal.sources.table import Column, Table

PERSONAL_WORDS: Final = frozenset(
    re.findall(
        r"\w+",
        # Who somebody is, and how he is reached.
        "name firstname lastname surname forename fullname nickname username login email mail"
        " phone mobile telephone tel fax address addr street postcode postal zip zipcode contact"
        # What is his alone.
        " birth birthday birthdate dob born ssn passport licence license tax taxid vat iban bic"
        " account card pan cvv signature photo fingerprint face biometric dna"
        # Where he is, and with what.
        " ip ipaddress latitude longitude lat lng lon geo location useragent device cookie"
        # What the law protects more than the rest.
        " gender sex religion ethnicity race nationality citizenship political union health"
        " medical patient diagnosis disease medication salary income password passwd secret token",
    )
)
"""Words of column names (`first_name`, `homeAddress2`) and of types that hold personal data."""
PERSONAL_TYPES: Final = frozenset(["inet", "cidr", "macaddr", "macaddr8"])
"""Addresses of networks and devices lead to persons."""

_WORD: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")


def looks_personal(column: Column) -> bool:
    """Return whether the name or the type of *column* is one that personal data have."""
    type_name = re.sub(r"\(.*|\[.*", "", column.type).rpartition(".")[2].strip('" ')
    return type_name in PERSONAL_TYPES or any(
        word in PERSONAL_WORDS
        for text in (column.name, type_name)
        # The whole, too: `e_mail` and `user_agent` are words only together.
        for word in (*words_of(text), text.replace("_", "").lower())
    )


def words_of(name: str) -> list[str]:
    """Return the words in *name*, in lower case: parted by case, digits and signs."""
    return [word.lower() for word in _WORD.findall(name)]


def clear_columns(source: Source, table: Table) -> list[Column]:
    """
    Return the columns whose values stand in clear in the leaves of *source*, or, as its keys,
    beside them: all recorded ones but the private; of digests the key alone.
    """
    keys = source.key_columns or []
    return [
        column
        for column in table.columns
        if column.name in keys
        or (
            source.leaf_form == "record"
            and column.name not in source.private_columns
            and not column.is_virtual
            and (source.include_columns is None or column.name in source.include_columns)
            and (source.exclude_columns is None or column.name not in source.exclude_columns)
        )
    ]


def with_warning(source: Source, table: Table) -> Source:
    """Return *source* with what the one who adds it should know: clear and personal columns."""
    clear = clear_columns(source, table)
    personal = [column.name for column in clear if looks_personal(column)]
    return dataclasses.replace(
        source,
        note=warning(source, names(clear), personal),
        clear_columns=names(clear),
        personal_columns=personal,
    )


def warning(source: Source, clear: list[str], personal: list[str]) -> str | None:
    """Return the warning in words; None where nothing that matters stands in clear."""
    parts = []
    if source.leaf_form == "record":
        parts.append(
            f"{', '.join(clear)}: what stands in clear cannot be erased from the log;"
            " name columns that hold personal data as private, or leave them out"
        )
    elif source.is_keyed_by_full_row:
        parts.append("the hash of each row is its key, and stands beside the digest for ever")
    if personal:
        keys = source.key_columns or []
        parts.append(f"PERSONAL DATA? {', '.join(personal)} look like it")
        hidden = [name for name in personal if name not in keys]
        if hidden:
            parts.append(f"consider --private {','.join(hidden)}, or --salted for the whole row")
        if len(hidden) < len(personal):
            parts.append("a key stands in clear in every form: consider another key")
    return "; ".join(parts) or None


def names(columns: Iterable[Column]) -> list[str]:
    """Return the names of *columns*."""
    return [column.name for column in columns]
