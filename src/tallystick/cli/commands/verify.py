"""
`tally verify`: the offline verdict on a proof (log.md, sections 4.3 and 6.4).

No network, no database, no settings: three files in, the steps that passed and the verdict
out. Nothing is loaded here that a third party would not have to trust.
"""

from __future__ import annotations

import dataclasses
import datetime
from pathlib import Path
from typing import Annotated, Any, Final

from cyclopts import Parameter

from tallystick.cli.commands.chains import heads_json, heads_line, is_chain_file, verify_chain
from tallystick.cli.commands.chains import passed as passed_chain
from tallystick.cli.commands.histories import is_history_file, verify_history
from tallystick.cli.errors import UsageError
from tallystick.cli.output import print_json, print_lines
from tallystick.clock import format_time
from tallystick.verify import VerificationError, VerifiedChain, VerifiedLeaf, check_leaf

STEPS: Final = (
    ("policy", "the policy can judge"),
    ("format", "proof and checkpoint are of their format"),
    ("log", "a log that the policy trusts signed the checkpoint"),
    ("witnesses", "every known cosignature is right and the quorum holds"),
    ("tree", "the path leads from the leaf to the signed root"),
    ("record", "the leaf names this log, if it is a record"),
    ("disclosure", "what is disclosed opens its commitments"),
)
"""The steps of `check_leaf`, by their numbers."""
MAX_FILE_BYTES: Final = 4_000_000
"""Twice what the greatest policy and proof take; what is longer is none."""
MAX_SHOWN: Final = 200
"""Characters of a disclosed value that are shown; --json has all of it."""
MAX_DISCLOSURE_BYTES: Final = 1_000_000_000
"""A disclosed value may be as long as PostgreSQL's longest."""


def verify(
    proof: Annotated[Path, Parameter(help="The .tlog-proof file, a .history or a .tlog-chain.")],
    /,
    *,
    leaf: Annotated[
        Path | None, Parameter(help="The leaf's bytes; default: beside the proof, as .leaf.")
    ] = None,
    policy: Annotated[Path, Parameter(help="Whom you trust: a tlog-policy file.")],
    at: Annotated[
        datetime.datetime | None, Parameter(help="The quorum must have cosigned by this time.")
    ] = None,
    disclosure: Annotated[
        Path | None, Parameter(help="Also check this file, which opens what the leaf hides.")
    ] = None,
    json: Annotated[bool, Parameter(negative="", help="Print JSON.")] = False,
) -> None:
    """
    Check a proof offline, step by step.

    Exit code 0: established. 1: something is false or malformed. 6: evidence is missing.
    """
    moment = at.replace(tzinfo=at.tzinfo or datetime.UTC) if at else None
    if is_history_file(proof):
        verify_history(proof, policy=read(policy), at=moment, json=json)
        return
    leaf_bytes = read(leaf or leaf_beside(proof))
    opened = read(disclosure, MAX_DISCLOSURE_BYTES) if disclosure else None
    if is_chain_file(proof):
        chain = verify_chain(
            read(proof),
            leaf=leaf_bytes,
            policy=read(policy),
            at=moment,
            disclosure=opened,
            json=json,
        )
        show_chain(chain, as_json=json)
        return
    try:
        verified = check_leaf(
            read(proof), leaf=leaf_bytes, policy=read(policy), at=moment, disclosure=opened
        )
    except VerificationError as error:
        if json:
            print_json(refusal(error))
        else:
            print_lines(*passed(error.step), f"FAIL {error.step_name}: {STEPS[error.step][1]}")
        raise
    if json:
        print_json(verdict(verified))
    else:
        print_lines(*passed(len(STEPS)), *summary(verified))


def show_chain(chain: VerifiedChain, *, as_json: bool) -> None:
    """Print what a chain through the log of logs established; its witnesses are the heads'."""
    verified = dataclasses.replace(chain.leaf, cosignatures=chain.heads.cosignatures)
    if as_json:
        print_json(verdict(verified) | heads_json(chain))
    else:
        print_lines(*passed_chain(), *summary(verified), heads_line(chain))


def read(path: Path, at_most: int = MAX_FILE_BYTES) -> bytes:
    """
    Return the bytes of a file of sensible length.

    Raises:
        UsageError: It is longer.
    """
    with path.open("rb") as file:
        data = file.read(at_most + 1)
    if len(data) > at_most:
        raise UsageError(f"{path} has over {at_most} bytes: it is not what it should be")
    return data


def leaf_beside(proof: Path) -> Path:
    """Return where `tally prove` put the leaf of *proof*."""
    return proof.with_suffix(".leaf")


def passed(steps: int) -> list[str]:
    """Return a line for each of the first *steps* steps."""
    return [f"ok   {name}: {words}" for name, words in STEPS[:steps]]


def summary(verified: VerifiedLeaf) -> list[str]:
    """Return what was established, for a person."""
    checkpoint = verified.checkpoint
    lines = [
        "",
        f"leaf {verified.index} of {checkpoint.origin}, in the tree of {checkpoint.size} leaves",
        f"root {checkpoint.root.hex()}",
    ]
    lines += [f"cosigned by {c.name} at {cosigned_at(c)}" for c in verified.cosignatures]
    record = verified.record
    if record is None:
        lines.append(f"{len(verified.leaf)} bytes, which are no record")
    else:
        lines.append(f"{record.op} of {record.table} {list(record.key)} at {record.at}")
    lines += [f"disclosed {column}: {told(value)}" for column, value in verified.disclosed.items()]
    lines.append("ESTABLISHED: this is in the log. Not shown: that no later version exists.")
    return lines


def told(value: str | None) -> str:
    """Return a disclosed value in one line that a terminal may be shown."""
    if value is None:
        return "NULL"
    shown = ascii(value[:MAX_SHOWN]) if not value.isprintable() else value[:MAX_SHOWN]
    return shown + (f" ... ({len(value)} characters)" if len(value) > MAX_SHOWN else "")


def verdict(verified: VerifiedLeaf) -> dict[str, Any]:
    """Return what was established, for a program."""
    checkpoint, record = verified.checkpoint, verified.record
    return {
        "verdict": "established",
        "steps": [name for name, _ in STEPS],
        "origin": checkpoint.origin,
        "log": verified.log_name,
        "index": verified.index,
        "tree_size": checkpoint.size,
        "root": checkpoint.root,
        "cosignatures": [
            {"name": cosignature.name, "at": cosigned_at(cosignature)}
            for cosignature in verified.cosignatures
        ],
        "record": None
        if record is None
        else {"table": record.table, "op": record.op, "key": list(record.key), "at": record.at},
        "disclosed": dict(verified.disclosed),
    }


def refusal(error: VerificationError) -> dict[str, Any]:
    """Return why the proof was refused, for a program."""
    return {
        "verdict": "not_established" if error.kind.value == "not_established" else "false",
        "steps": [name for name, _ in STEPS[: error.step]],
        "failed": error.step_name,
        "code": error.code(),
        "detail": error.message,
    }


def cosigned_at(cosignature: Any) -> str:
    """Return the time that a witness states."""
    moment = datetime.datetime.fromtimestamp(cosignature.time_seconds, tz=datetime.UTC)
    return format_time(moment)
