"""What a log is: its row as a value, and what may be said of a new one (log.md, section 2.1)."""

from __future__ import annotations

import dataclasses
import datetime
import re
from dataclasses import dataclass
from typing import Any, Literal, NewType, get_args

from tallystick.record.tags import RESERVED_PREFIX
from tallystick.seal.errors import InvalidLogError
from tallystick.tlog import is_key_name

LogId = NewType("LogId", int)
LogName = NewType("LogName", str)

Mode = Literal["full", "digest"]
Visibility = Literal["private", "hashes", "public"]

NAME_FORM = re.compile(r"[a-z][a-z0-9_]{0,47}")
MAX_ORIGIN_BYTES = 200
"""A checkpoint's first line stays readable, and key names fit every witness."""
HOUSE_LOGS = ("tally", "gate", "settle", "threat", "proof")
"""Logs of our own tables; `tally` seals the configuration, the others belong to their slices."""


@dataclass(frozen=True, slots=True)
class LogSettings:
    """What a log is made with; the fields that a second `create_log` compares."""

    description: str | None = None
    mode: Mode = "full"
    visibility: Visibility = "private"
    batch_size: int = 65536
    batch_interval_ms: int = 500
    witness_quorum: int = 0
    witness_patience_seconds: int | None = None
    accepts_entries: bool = False
    control_leaves: bool | None = None
    predecessor_log_id: int | None = None
    retain_until: datetime.datetime | None = None


@dataclass(frozen=True, slots=True)
class Log:
    """One row of `verification_logs`."""

    log_id: LogId
    log_name: LogName
    origin: str | None
    created_at: datetime.datetime
    description: str | None
    enabled: bool
    status: Literal["active", "frozen", "failed"]
    failure: dict[str, Any] | None
    mode: Mode
    visibility: Visibility
    batch_size: int
    batch_interval_ms: int
    witness_quorum: int
    witness_patience_seconds: int | None
    accepts_entries: bool
    control_leaves: bool
    predecessor_log_id: int | None
    freeze_requested_at: datetime.datetime | None
    minimum_index: int
    retain_until: datetime.datetime | None

    def differences(self, settings: LogSettings) -> list[str]:
        """Return the fields in which this log differs from *settings*, by name."""
        wanted = dataclasses.asdict(settings)
        if wanted["control_leaves"] is None:
            wanted["control_leaves"] = settings.mode == "full"
        return sorted(name for name, value in wanted.items() if getattr(self, name) != value)


@dataclass(frozen=True, slots=True)
class LogKey:
    """One row of `log_keys`: a public key and the sizes that it signs."""

    purpose: str
    name: str
    key_id: bytes
    algorithm: int
    public_key: bytes
    vkey: str
    status: Literal["pending", "active", "retired"]
    from_size: int | None
    to_size: int | None
    created_at: datetime.datetime


def check_log(log_name: str, origin: str, settings: LogSettings) -> None:
    """
    Check what the database would refuse, so that the caller hears it in words.

    Raises:
        InvalidLogError: The name, the origin or a setting is out of its range.
    """
    if not NAME_FORM.fullmatch(log_name):
        raise InvalidLogError(
            f"{log_name!r} is no log name: a-z, 0-9 and _, at most 48, a letter first"
        )
    if not is_key_name(origin) or len(origin.encode()) > MAX_ORIGIN_BYTES:
        raise InvalidLogError(f"{origin!r} is no origin: no white space, no +, at most 200 bytes")
    if origin.startswith(RESERVED_PREFIX.decode()):
        # A note begins with it, and as a leaf of the log of logs must not pass for a record.
        raise InvalidLogError(f"an origin does not begin with {RESERVED_PREFIX.decode()}")
    if settings.mode not in get_args(Mode) or settings.visibility not in get_args(Visibility):
        raise InvalidLogError(
            f"mode is one of {get_args(Mode)}, visibility of {get_args(Visibility)}"
        )
    ranges = {
        "batch_size": (1, 1_000_000),
        "batch_interval_ms": (20, 3_600_000),
        "witness_quorum": (0, 2**31 - 1),
    }
    for name, (least, most) in ranges.items():
        if not least <= getattr(settings, name) <= most:
            raise InvalidLogError(f"{name} must be {least} to {most}")
