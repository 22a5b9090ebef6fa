"""
The errors of demonstrations (log.md, section 6.4).

    Error
    └── DemoError    something is not as the story expects it
"""

from __future__ import annotations

from typing import ClassVar

from tallystick.errors import Error, Kind


class DemoError(Error):
    """Something is not as the story expects it."""

    kind: ClassVar[Kind] = Kind.FALSE


def expect(condition: bool, otherwise: str) -> None:  # noqa: FBT001 (reads as a sentence)
    """
    Go on if *condition* holds.

    Raises:
        DemoError: It does not; *otherwise* says what was found.
    """
    if not condition:
        raise DemoError(otherwise)
