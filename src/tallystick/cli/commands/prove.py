"""`tally prove`: a proof that anybody can check offline, as files (log.md, section 6.4)."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

from cyclopts import Parameter

from tallystick.cli.commands.logs import LogArgument
from tallystick.cli.errors import UsageError
from tallystick.cli.output import print_json, print_lines
from tallystick.cli.place import HERE, Place
from tallystick.cli.reading import LOOK_SECONDS, choose_table, open_log, wait_for_head
from tallystick.db import Database
from tallystick.publish import PublishedHead, Publisher, RowKey, history_file
from tallystick.publish.errors import HeadNotTakenError
from tallystick.publish.headlog import prove_through_heads
from tallystick.seal.logs import list_keys
from tallystick.tlog import LeafIndex
from tallystick.verify import HEADS_LOG

SUFFIX: Final = ".tlog-proof"
CHAIN_SUFFIX: Final = ".tlog-chain"
HISTORY_SUFFIX: Final = ".history"
WAIT_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Written:
    """A proof that was written, and what it proves."""

    log: str
    index: int
    tree_size: int
    proof: Path
    leaf: Path
    policy: Path | None


@dataclass(frozen=True, slots=True)
class WrittenHistory:
    """A history that was written, under the checkpoint of *tree_size*."""

    log: str
    tree_size: int
    history: Path
    policy: Path | None


def prove(
    log: LogArgument,
    /,
    *,
    key: Annotated[
        tuple[str, ...], Parameter(negative="", help="The row's key; once for each key column.")
    ] = (),
    table: Annotated[str | None, Parameter(help="Its table; default: the log's only one.")] = None,
    version: Annotated[str, Parameter(help="Of the row: last, first, or a leaf index.")] = "last",
    index: Annotated[int | None, Parameter(help="A leaf index, in place of a row.")] = None,
    history: Annotated[
        tuple[str, ...],
        Parameter(negative="", help="A row's key: prove all its versions, or that it never was."),
    ] = (),
    through_heads: Annotated[
        bool, Parameter(negative="", help="Prove it through the log of logs and its witnesses.")
    ] = False,
    until: Annotated[
        Literal["sealed"] | None, Parameter(help="Wait until what is committed now is sealed.")
    ] = None,
    timeout: Annotated[float, Parameter(help="Seconds to wait.")] = WAIT_SECONDS,
    output: Annotated[
        Path | None, Parameter(name=["--output", "-o"], help="Where; the leaf goes beside it.")
    ] = None,
    policy_out: Annotated[
        Path | None, Parameter(help="Also write a policy that trusts this log's keys.")
    ] = None,
    place: Place = HERE,
) -> None:
    """
    Write the proof that a row's version, or a leaf, stands in a log, and its leaf beside it.

    The policy of --policy-out trusts this log and asks for no witness: who checks a proof
    should have his policy from somebody whom he believes, not with the proof.
    """
    if sum((bool(key), index is not None, bool(history))) != 1:
        raise UsageError("name a row by --key or --history, or a leaf by --index")
    with place.database() as database:
        if until is not None:
            wait_for_head(database, log, timeout_seconds=timeout)
        publisher, head = open_log(database, log)
        if history:
            row = RowKey.of(choose_table(database, log, table), history)
            if policy_out is not None:
                write_file(policy_out, policy_of(database, log))
            show_history(write_history(publisher, head, row, output, policy_out), place)
            return
        if index is None:
            row = RowKey.of(choose_table(database, log, table), key)
            wanted = parse_version(version)
            # The last word on a row may stand in a log that this one continues.
            head = publisher.log_of_row(head, row, wanted)
            log = head.log_name
            [proof] = publisher.prove_row(head, row, wanted)
            found = proof.index
        else:
            found = LeafIndex(index)
        target = output or Path(f"{log}-{found}{CHAIN_SUFFIX if through_heads else SUFFIX}")
        if through_heads:
            patience = timeout if until is not None else 0.0
            written = write_chain(database, publisher, head, found, target, patience)
        else:
            written = write_proof(publisher, head, found, target)
        if policy_out is not None:
            trusted = (log, HEADS_LOG) if through_heads else (log,)
            write_file(policy_out, policy_of(database, *trusted))
    show_written(Written(log, found, head.size, *written, policy_out), head.origin, place)


def show_written(written: Written, origin: str, place: Place) -> None:
    """Print where a proof was written, and of which leaf it is."""
    if place.json:
        print_json(written)
        return
    paths = (written.proof, written.leaf, written.policy)
    print_lines(
        f"leaf {written.index} of {origin}, in the tree of {written.tree_size} leaves",
        *(f"wrote {path}" for path in paths if path is not None),
    )


def write_history(
    publisher: Publisher,
    head: PublishedHead,
    row: RowKey,
    output: Path | None,
    policy: Path | None,
) -> WrittenHistory:
    """Write the history of a row to *output*, by default under the log's name."""
    target = output or Path(f"{head.log_name}{HISTORY_SUFFIX}")
    write_file(target, history_file(publisher, head, row))
    return WrittenHistory(head.log_name, head.size, target, policy)


def show_history(written: WrittenHistory, place: Place) -> None:
    """Print where a history was written."""
    if place.json:
        print_json(written)
        return
    paths = [path for path in (written.history, written.policy) if path is not None]
    print_lines(*(f"wrote {path}" for path in paths))


def parse_version(text: str) -> str | LeafIndex:
    """
    Return which version *text* means.

    Raises:
        UsageError: None.
    """
    if text in {"last", "first"}:
        return text
    if text.isascii() and text.isdecimal():
        return LeafIndex(int(text))
    raise UsageError("--version is last, first or a leaf index")


def write_proof(
    publisher: Publisher, head: PublishedHead, index: LeafIndex, target: Path
) -> tuple[Path, Path]:
    """Write the proof to *target* and the leaf beside it; return both paths."""
    beside = target.with_suffix(".leaf")
    if beside == target:
        raise UsageError("a proof's file cannot end in .leaf: that is where its leaf goes")
    proof = publisher.proof_file(head, index)
    leaf = publisher.entry(head, index).leaf
    # The proof comes last: where it is, its leaf is.
    write_file(beside, leaf)
    write_file(target, proof)
    return target, beside


def write_chain(
    database: Database,
    publisher: Publisher,
    head: PublishedHead,
    index: LeafIndex,
    target: Path,
    patience_seconds: float,
) -> tuple[Path, Path]:
    """
    Write the chain through the log of logs to *target* and the leaf beside it; wait for the
    log's head to be taken, where it is not yet.

    Raises:
        HeadNotTakenError: It was not in time.
    """
    beside = target.with_suffix(".leaf")
    if beside == target:
        raise UsageError("a chain's file cannot end in .leaf: that is where its leaf goes")
    leaf = publisher.entry(head, index).leaf
    deadline = time.monotonic() + patience_seconds
    while True:
        try:
            chain = prove_through_heads(database, publisher, head, index)
            break
        except HeadNotTakenError:
            if time.monotonic() >= deadline:
                raise
        time.sleep(LOOK_SECONDS)
        publisher.refresh()
        head = publisher.published_head(head.log_name)
    write_file(beside, leaf)
    write_file(target, chain)
    return target, beside


def policy_of(database: Database, *logs: str) -> bytes:
    """Return a policy that trusts every key that ever signed the logs, and asks for no witness."""
    with database.transaction(read_only=True) as tx:
        keys = [key for log in logs for key in list_keys(tx, log) if key.status != "pending"]
    return "".join([*(f"log {key.vkey}\n" for key in keys), "quorum none\n"]).encode()


def write_file(path: Path, data: bytes) -> None:
    """Write *data* to *path* as a whole: a reader never finds half of it."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        fresh.write_bytes(data)
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
