"""
The verdict on a history file, in words and as JSON (docs/adr/0015).

Part of `tally verify`: nothing is loaded here that a third party would not have to trust.
"""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any, Final

from tallystick.cli.errors import UsageError
from tallystick.cli.output import print_json, print_lines
from tallystick.record.history import MAX_HISTORY_BYTES, is_history
from tallystick.record.tags import HISTORY_TAG
from tallystick.verify import (
    VerificationError,
    VerifiedHistory,
    Version,
    check_history,
)

HISTORY_STEPS: Final = (
    ("policy", "the policy can judge"),
    ("format", "file and checkpoint are of their format"),
    ("log", "a log that the policy trusts signed the checkpoint"),
    ("witnesses", "every known cosignature is right and the quorum holds"),
    ("tree", "every leaf that is shown stands below the signed root"),
    ("record", "every one of them is a record of this log"),
    ("map", "the log sealed the root of a map of its keys"),
    ("bucket", "the key's bucket leads to that root"),
    ("entry", "the leaves are exactly those that the map lists"),
    ("versions", "each of them is of this key, or of its whole table"),
)
"""The steps of `check_history`, by their numbers."""
SHOWN_VERSIONS: Final = 50
"""Lines for a person; JSON has all of them."""


def is_history_file(path: Path) -> bool:
    """Return whether the file begins as a history file does."""
    with path.open("rb") as file:
        return is_history(file.read(len(HISTORY_TAG)))


def verify_history(path: Path, *, policy: bytes, at: datetime.datetime | None, json: bool) -> None:
    """
    Check a history file, and print the steps that passed and the verdict.

    Raises:
        UsageError: The file is longer than any history.
        VerificationError: It was refused; the steps are printed.
    """
    with path.open("rb") as file:
        data = file.read(MAX_HISTORY_BYTES + 1)
    if len(data) > MAX_HISTORY_BYTES:
        raise UsageError(f"{path} has over {MAX_HISTORY_BYTES} bytes: it is no history")
    try:
        verified = check_history(data, policy=policy, at=at)
    except VerificationError as error:
        if json:
            print_json(history_refusal(error))
        else:
            print_lines(
                *passed(error.step), f"FAIL {error.step_name}: {HISTORY_STEPS[error.step][1]}"
            )
        raise
    if json:
        print_json(history_verdict(verified))
    else:
        print_lines(*passed(len(HISTORY_STEPS)), *history_summary(verified))


def passed(steps: int) -> list[str]:
    """Return a line for each of the first *steps* steps."""
    return [f"ok   {name}: {words}" for name, words in HISTORY_STEPS[:steps]]


def history_summary(verified: VerifiedHistory) -> list[str]:
    """Return what was established, for a person."""
    checkpoint = verified.checkpoint
    what = f"{list(verified.key)} of {verified.table}"
    count = len(verified.versions)
    lines = [
        "",
        f"map of the first {verified.map_size} leaves of {checkpoint.origin}",
        f"sealed as leaf {verified.map_index}, in the tree of {checkpoint.size} leaves",
        *(version_line(one) for one in verified.versions[-SHOWN_VERSIONS:]),
        *(version_line(one) for one in verified.table_leaves[-SHOWN_VERSIONS:]),
    ]
    if count:
        state = "there" if verified.is_present else "gone"
        lines.append(f"ESTABLISHED: these are all {count} versions of {what}; it is {state}.")
    else:
        lines.append(f"ESTABLISHED: the log has no record of {what}.")
        lines.append(
            "Names and values are as PostgreSQL writes them: any other spelling is absent."
        )
    lines.append(f"Not shown: leaves from {verified.map_size} on; that the map is the leaves' own,")
    lines.append("which whoever audits the whole log recomputes.")
    if verified.predecessor is None:
        lines.append("Not shown: whether the log continues another, which had to be asked too.")
    elif verified.predecessor["origin"] is not None:
        lines.append(f"The log continues {verified.predecessor['origin']}: ask that one too.")
    return lines


def version_line(version: Version) -> str:
    """Return one leaf as a line."""
    record = version.record
    return f"leaf {version.index}: {record.op} of {record.table} {list(record.key)} at {record.at}"


def history_verdict(verified: VerifiedHistory) -> dict[str, Any]:
    """Return what was established, for a program."""
    checkpoint = verified.checkpoint
    return {
        "verdict": "established",
        "steps": [name for name, _ in HISTORY_STEPS],
        "origin": checkpoint.origin,
        "log": verified.log_name,
        "tree_size": checkpoint.size,
        "root": checkpoint.root,
        "table": verified.table,
        "key": list(verified.key),
        "map_size": verified.map_size,
        "map_root": verified.map_root,
        "map_index": verified.map_index,
        "map_at": verified.map_at,
        "present": verified.is_present,
        "versions": [version_json(one) for one in verified.versions],
        "table_leaves": [version_json(one) for one in verified.table_leaves],
        "predecessor": verified.predecessor,
        "witnesses": [cosignature.name for cosignature in verified.cosignatures],
    }


def version_json(version: Version) -> dict[str, Any]:
    """Return one leaf, for a program."""
    record = version.record
    return {
        "index": version.index,
        "op": record.op,
        "via": record.via,
        "at": record.at,
        "row": None if record.row is None else dict(record.row),
    }


def history_refusal(error: VerificationError) -> dict[str, Any]:
    """Return why the file was refused, for a program."""
    return {
        "verdict": "not_established" if error.kind.value == "not_established" else "false",
        "steps": [name for name, _ in HISTORY_STEPS[: error.step]],
        "failed": error.step_name,
        "code": error.code(),
        "detail": error.message,
    }
