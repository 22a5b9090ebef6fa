"""
The journal: all that the dev chain must remember to be the same after a restart (chain.md, 4.5).

A file of JSON lines. The first holds the genesis: its time and who owns what. Each other line
is a block, with its time and raw transactions, or a transaction that was taken and waits. A
line is on the disk before anybody hears of what it says; so a crash can only tear the last
line, of which nobody has heard, and it is cut.

    {"genesis":{"chain_id":131277322940537,"time":1763742000,"accounts":{"0x…":"1000"}}}
    {"block":1,"time":1763742001,"transactions":["0x02f8…"],"hash":"0x…"}
    {"waiting":"0x02f8…"}
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tallystick.runtime.devchain.errors import (
    DevChainBusyError,
    JournalDamagedError,
    OtherNetworkError,
)

JOURNAL_FILE: Final = "journal.jsonl"


@dataclass(frozen=True, slots=True)
class Genesis:
    """Block 0: when it was, and the balances that everything else is paid from."""

    chain_id: int
    time: int
    """Seconds since 1970."""
    accounts: Mapping[str, int]
    """Wei by address."""


@dataclass(frozen=True, slots=True)
class BlockEntry:
    """A block as it is mined again."""

    number: int
    time: int
    transactions: Sequence[bytes]
    block_hash: str
    """What mining it again must lead to."""


@dataclass(frozen=True, slots=True)
class WaitingEntry:
    """A transaction that was taken and could not be mined at once."""

    transaction: bytes


Entry = BlockEntry | WaitingEntry


class Journal:
    """The open journal of one dev chain; nobody else can open it meanwhile."""

    def __init__(self, handle: int, genesis: Genesis, entries: Sequence[Entry], torn: int) -> None:
        self._handle = handle
        self.genesis = genesis
        self.entries = entries
        """What was there when it was opened."""
        self.torn = torn
        """Number of the last line, which a crash had torn and which was cut; 0: none."""

    def append(self, entry: Entry) -> None:
        """
        Write *entry*; once this returns it survives any crash.

        Raises:
            OSError: The disk refuses. The process must end, and its successor cuts what it left.
        """
        write_line(self._handle, format_entry(entry))

    def close(self) -> None:
        """Let others open it."""
        os.close(self._handle)


def open_journal(directory: Path, *, chain_id: int, genesis: Callable[[], Genesis]) -> Journal:
    """
    Open the journal in *directory*, which begins with *genesis* where there was none.

    Raises:
        DevChainBusyError: Another process has it open, or puts it aside.
        OtherNetworkError: It is another chain's.
        JournalDamagedError: A line is not one that we wrote, and not the last.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = directory / JOURNAL_FILE
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        lock(handle, path)
        check_in_place(handle, path)
        lines, torn = read_lines(handle, path)
        if not lines:
            lines = [format_genesis(genesis())]
            write_line(handle, lines[0])
            sync_directory(directory)
        known = parse_genesis(lines[0], path)
        check_chain(known, chain_id, path)
        entries = [parse_entry(line, path, number) for number, line in enumerate(lines[1:], 2)]
        return Journal(handle, known, entries, torn)
    except BaseException:
        os.close(handle)
        raise


def check_chain(genesis: Genesis, chain_id: int, path: Path) -> None:
    """
    Check that the journal is of the chain *chain_id*.

    Raises:
        OtherNetworkError: It is another's.
    """
    if genesis.chain_id != chain_id:
        raise OtherNetworkError(
            f"{path} is the journal of chain {genesis.chain_id}",
            expected=chain_id,
            actual=genesis.chain_id,
        )


def set_aside(directory: Path) -> Path | None:
    """
    Put the journal of *directory* aside, so that the chain starts anew; return where it is now.

    Raises:
        DevChainBusyError: A process has it open.
    """
    path = directory / JOURNAL_FILE
    if not path.exists():
        return None
    handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        lock(handle, path)
        number = 1
        while (aside := directory / f"journal.{number}.jsonl").exists():
            number += 1
        path.rename(aside)
        sync_directory(directory)
        return aside
    finally:
        os.close(handle)


def lock(handle: int, path: Path) -> None:
    """
    Lock the journal until its handle is closed.

    Raises:
        DevChainBusyError: Another process has.
    """
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise DevChainBusyError(f"{path} is kept by another process") from error


def check_in_place(handle: int, path: Path) -> None:
    """
    Check that the file of *handle*, which was opened before it was locked, still has its name.

    Raises:
        DevChainBusyError: Another process put it aside in between, and may have begun anew.
    """
    if not path.exists() or not os.path.samestat(path.stat(), os.fstat(handle)):
        raise DevChainBusyError(f"{path} was put aside by another process")


def read_lines(handle: int, path: Path) -> tuple[list[str], int]:
    """
    Return the whole lines of the journal, and the number of the torn one, which is cut.

    A line is torn where it does not end: nobody had heard of what it says.
    """
    data = path.read_bytes()
    whole, _, rest = data.rpartition(b"\n")
    lines = whole.decode("utf-8", "replace").split("\n") if whole else []
    if not rest:
        return lines, 0
    os.ftruncate(handle, len(data) - len(rest))
    os.fsync(handle)
    return lines, len(lines) + 1


def write_line(handle: int, line: str) -> None:
    """Append *line* and wait for the disk."""
    rest = memoryview(line.encode() + b"\n")
    while rest:
        rest = rest[os.write(handle, rest) :]
    os.fdatasync(handle)


def sync_directory(directory: Path) -> None:
    """Wait until the directory's names are on the disk."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def format_genesis(genesis: Genesis) -> str:
    """Return the first line."""
    accounts = {address: str(balance) for address, balance in genesis.accounts.items()}
    fields = {"chain_id": genesis.chain_id, "time": genesis.time, "accounts": accounts}
    return json.dumps({"genesis": fields}, separators=(",", ":"))


def parse_genesis(line: str, path: Path) -> Genesis:
    """
    Return what the first line says.

    Raises:
        JournalDamagedError: It is not one that `format_genesis` wrote.
    """
    try:
        fields = json.loads(line)["genesis"]
        accounts = {address: int(balance) for address, balance in fields["accounts"].items()}
        return Genesis(int(fields["chain_id"]), int(fields["time"]), accounts)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise JournalDamagedError(path, line=1) from error


def format_entry(entry: Entry) -> str:
    """Return the line of *entry*."""
    fields: dict[str, Any]
    if isinstance(entry, WaitingEntry):
        fields = {"waiting": "0x" + entry.transaction.hex()}
    else:
        fields = {
            "block": entry.number,
            "time": entry.time,
            "transactions": ["0x" + raw.hex() for raw in entry.transactions],
            "hash": entry.block_hash,
        }
    return json.dumps(fields, separators=(",", ":"))


def parse_entry(line: str, path: Path, number: int) -> Entry:
    """
    Return what the line *number* says.

    Raises:
        JournalDamagedError: It is not one that `format_entry` wrote.
    """
    try:
        fields = json.loads(line)
        if "waiting" in fields:
            return WaitingEntry(bytes.fromhex(fields["waiting"].removeprefix("0x")))
        raw = [bytes.fromhex(text.removeprefix("0x")) for text in fields["transactions"]]
        return BlockEntry(int(fields["block"]), int(fields["time"]), raw, str(fields["hash"]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise JournalDamagedError(path, line=number) from error
