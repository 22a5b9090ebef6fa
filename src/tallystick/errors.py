"""
The root of every error that Tallystick raises on purpose.

    Error
    ├── tlog.errors      malformed or false trees, notes, checkpoints, proofs
    ├── record.errors    records, keys, commitments
    ├── verify.errors    the step at which a proof was refused
    ├── db.errors        transactions, migrations, state machines
    ├── outbox.errors    sinks and events
    ├── identity.errors  users, API keys, limits, human proofs
    ├── seal.errors      logs, sources, sequencing
    ├── publish.errors   heads, tiles, proofs
    └── runtime.errors   the embedded server and the supervisor

Each slice draws its own tree at the top of its `errors.py`. A class's docstring is one
sentence and is its default message; evidence travels as attributes. `Kind` says what an
error means to whoever asked, once: `http/problems.py` reads the status from it, `cli` the
exit code.
"""

from __future__ import annotations

import enum
import inspect
import re
from typing import ClassVar


class Kind(enum.Enum):
    """What an error means to the one who asked."""

    MALFORMED = "malformed"
    """The input is not of its format: nothing was checked yet."""
    FALSE = "false"
    """The input is well-formed, and what it claims is not true."""
    INVALID = "invalid"
    """The request itself is wrong: a parameter, an option, a setting."""
    NOT_FOUND = "not_found"
    """What was asked for does not exist."""
    GONE = "gone"
    """What was asked for existed and was removed on purpose."""
    CONFLICT = "conflict"
    """The state of things forbids the operation."""
    UNPROCESSABLE = "unprocessable"
    """The request is understood and cannot be carried out as it is."""
    UNAUTHENTICATED = "unauthenticated"
    """Nobody has said who asks, or what was said is not true."""
    FORBIDDEN = "forbidden"
    """The caller may not do this."""
    TOO_LARGE = "too_large"
    """The input is longer than its limit."""
    TOO_MANY = "too_many"
    """The caller asked more often than he may; the same request is right later."""
    UNAVAILABLE = "unavailable"
    """A part that is needed does not answer, or not in time."""
    DAMAGED = "damaged"
    """Stored evidence contradicts itself; nothing more is signed."""
    NOT_ESTABLISHED = "not_established"
    """Evidence is missing; nothing that was checked is false."""


class Error(Exception):
    """Tallystick refused to go on."""

    kind: ClassVar[Kind] = Kind.CONFLICT

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or inspect.cleandoc(type(self).__doc__ or ""))

    @property
    def message(self) -> str:
        """What went wrong, in words for a person."""
        return str(self.args[0])

    @classmethod
    def code(cls) -> str:
        """The class's name in snake_case without `_error`: one code for HTTP, CLI and Python."""
        words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", cls.__name__)
        return words.lower().removesuffix("_error")

    @classmethod
    def slice(cls) -> str:
        """The slice that raises it: `seal` for `tallystick.seal.errors`."""
        room = cls.__module__.removeprefix("tallystick.").rpartition(".")[0].partition(".")[0]
        return room or "tallystick"

    @classmethod
    def problem_type(cls) -> str:
        """The RFC 9457 type, relative to the server: `/problems/<slice>/<code>`."""
        return f"/problems/{cls.slice()}/{cls.code()}"


def all_errors(root: type[Error] = Error) -> list[type[Error]]:
    """Every imported subclass of *root*, root first, each once, in definition order."""
    found = {root: None}
    for child in root.__subclasses__():
        found.update(dict.fromkeys(all_errors(child)))
    return list(found)
