"""
The verdict on a chain through the log of logs, in words and as JSON (log.md, section 9.2).

Part of `tally verify`: nothing is loaded here that a third party would not have to trust.
"""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any, Final

from tallystick.cli.output import print_json, print_lines
from tallystick.verify import CHAIN_HEADER, VerificationError, VerifiedChain, check_chain

CHAIN_STEPS: Final = (
    ("policy", "the policy can judge"),
    ("format", "both proofs and checkpoints are of their format"),
    ("log", "a log of logs that the policy trusts signed its checkpoint"),
    ("witnesses", "every known cosignature on it is right and the quorum holds"),
    ("heads", "the log's own checkpoint is a leaf of the log of logs"),
    ("inner", "a log that the policy trusts signed that checkpoint"),
    ("tree", "the path leads from the leaf to the root of its log"),
    ("record", "the leaf names this log, if it is a record"),
    ("disclosure", "what is disclosed opens its commitments"),
)
"""The steps of `check_chain`, in their order."""


def is_chain_file(path: Path) -> bool:
    """Return whether the file begins as a chain does."""
    with path.open("rb") as file:
        return file.read(len(CHAIN_HEADER)) == CHAIN_HEADER


def verify_chain(
    chain: bytes,
    *,
    leaf: bytes,
    policy: bytes,
    at: datetime.datetime | None,
    disclosure: bytes | None,
    json: bool,
) -> VerifiedChain:
    """
    Check a chain and return what it established; where it is refused, print the steps.

    Raises:
        VerificationError: It was refused.
    """
    try:
        return check_chain(chain, leaf=leaf, policy=policy, at=at, disclosure=disclosure)
    except VerificationError as error:
        names = [name for name, _ in CHAIN_STEPS]
        failed = names.index(error.step_name)
        if json:
            print_json(
                {
                    "verdict": "not_established"
                    if error.kind.value == "not_established"
                    else "false",
                    "steps": names[:failed],
                    "failed": error.step_name,
                    "code": error.code(),
                    "detail": error.message,
                }
            )
        else:
            name, words = CHAIN_STEPS[failed]
            print_lines(*passed(failed), f"FAIL {name}: {words}")
        raise


def passed(steps: int = len(CHAIN_STEPS)) -> list[str]:
    """Return a line for each of the first *steps* steps."""
    return [f"ok   {name}: {words}" for name, words in CHAIN_STEPS[:steps]]


def heads_json(verified: VerifiedChain) -> dict[str, Any]:
    """Return what is added to the verdict on a leaf, for a program."""
    checkpoint = verified.heads.checkpoint
    return {
        "steps": [name for name, _ in CHAIN_STEPS],
        "heads": {
            "origin": checkpoint.origin,
            "index": verified.head_index,
            "tree_size": checkpoint.size,
            "root": checkpoint.root,
        },
    }


def heads_line(verified: VerifiedChain) -> str:
    """Return where the log's checkpoint stands, for a person."""
    checkpoint = verified.heads.checkpoint
    return (
        f"its checkpoint is leaf {verified.head_index} of {checkpoint.origin},"
        f" in the tree of {checkpoint.size} leaves"
    )
