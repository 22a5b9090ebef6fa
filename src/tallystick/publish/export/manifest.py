"""
`log.json`: what an export says of its log beside the tree (log.md, section 4.8).

It is information: the tree's checkpoint is what is signed. A check compares both, and what it
found the manifest's bytes to be is recorded, so that pruning can name the export.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec

from tallystick.publish.export.objects import MANIFEST
from tallystick.record import canonical
from tallystick.verify import ExportObjectError

FORMAT: Final = "tallystick/export/v1"


@dataclass(frozen=True, slots=True)
class ExportKey:
    """A key of the log, and the sizes of the checkpoints that it signs, both ends included."""

    vkey: str
    from_size: int
    to_size: int | None

    def covers(self, size: int) -> bool:
        """Return whether a checkpoint of *size* falls into the key's period."""
        return self.from_size <= size and (self.to_size is None or size <= self.to_size)


@dataclass(frozen=True, slots=True)
class Predecessor:
    """The log that this one continues."""

    log: str
    origin: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What `log.json` says; the export holds every entry from *minimum_index* on."""

    format: Literal["tallystick/export/v1"]
    log: str
    origin: str
    mode: Literal["full", "digest"]
    minimum_index: int
    keys: tuple[ExportKey, ...]
    predecessor: Predecessor | None


_decode = msgspec.json.Decoder(Manifest).decode


def format_manifest(manifest: Manifest) -> bytes:
    """Return the bytes of `log.json`: canonical JSON and a newline."""
    fields: dict[str, Any] = dataclasses.asdict(manifest)
    fields["keys"] = list(fields["keys"])
    return canonical(fields) + b"\n"


def parse_manifest(data: bytes) -> Manifest:
    """
    Return what *data* says.

    Raises:
        ExportObjectError: It is no manifest of this format.
    """
    try:
        manifest = _decode(data)
    # Bytes that are no UTF-8 are a ValueError of their own; deep nesting is a RecursionError.
    except (msgspec.MsgspecError, ValueError, RecursionError) as cause:
        raise ExportObjectError(f"{MANIFEST} is not of the format {FORMAT}", path=MANIFEST) from (
            cause
        )
    if manifest.minimum_index < 0:
        raise contradicts("its minimum index is negative")
    return manifest


def contradicts(reason: str) -> ExportObjectError:
    """Return the error that `log.json` is not true."""
    return ExportObjectError(f"{MANIFEST} is not true: {reason}", path=MANIFEST)
