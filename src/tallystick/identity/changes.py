"""Updates that change the named fields only: None is a value, so what is unchanged has its own."""

from __future__ import annotations

import enum
from typing import Final


class Unchanged(enum.Enum):
    """The type of `UNCHANGED`."""

    UNCHANGED = "unchanged"


UNCHANGED: Final = Unchanged.UNCHANGED
"""A field that an update leaves as it is."""


def named_changes(**fields: object) -> dict[str, object]:
    """Return those of *fields* that were named."""
    return {name: value for name, value in fields.items() if value is not UNCHANGED}
