"""
Named queries: SQL lives in `.sql` files, Python names it.

A file is a row of blocks, each opened by `-- name: append_leaves` and one sentence that
says what the query does. A store declares the names it uses as a frozen dataclass; the
loader compares both sides at import, so that neither a missing query nor an unused one
survives the first test.
"""

from __future__ import annotations

import dataclasses
import importlib.resources
import re
from typing import NewType, TypeVar

from tallystick.db.errors import QueryFileError

Query = NewType("Query", bytes)
"""The text of one statement, with `%(name)s` parameters, as the driver takes it."""

NAME_LINE = re.compile(r"^-- name: ([a-z][a-z0-9_]*)$", re.MULTILINE)

Queries = TypeVar("Queries")


def load_queries(declared: type[Queries], package: str | None) -> Queries:
    """
    Return an instance of *declared* filled from `queries.sql` of *package*.

    Raises:
        QueryFileError: A name stands twice or without its sentence, or the names of the
            file and the fields of *declared* are not the same set.
    """
    assert package is not None, "a store lives in a package"
    text = importlib.resources.files(package).joinpath("queries.sql").read_text("utf-8")
    blocks = parse_blocks(text, where=package)
    assert dataclasses.is_dataclass(declared), "queries are declared as a dataclass"
    fields = {field.name for field in dataclasses.fields(declared)}
    if fields != blocks.keys():
        missing, unused = sorted(fields - blocks.keys()), sorted(blocks.keys() - fields)
        raise QueryFileError(f"{package}: queries.sql lacks {missing}, the store lacks {unused}")
    return declared(**blocks)


def parse_blocks(text: str, *, where: str) -> dict[str, Query]:
    """
    Return the statements of *text* by name; *where* is named in errors.

    Raises:
        QueryFileError: A name stands twice, or a block lacks its sentence or its SQL.
    """
    parts = NAME_LINE.split(text)
    blocks: dict[str, Query] = {}
    for name, body in zip(parts[1::2], parts[2::2], strict=True):
        first, _, statement = body.strip().partition("\n")
        if name in blocks:
            raise QueryFileError(f"{where}: {name} stands twice")
        if not first.startswith("-- ") or not statement.strip():
            raise QueryFileError(f"{where}: {name} needs one sentence and a statement")
        blocks[name] = Query(statement.strip().encode())
    return blocks
