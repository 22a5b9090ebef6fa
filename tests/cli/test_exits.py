"""Every error has its words and its exit code (common.md; log.md, section 3.3)."""

from __future__ import annotations

import importlib
import pkgutil

import psycopg
import pytest

import tallystick
from tallystick.cli.exits import EXIT_CODES, exit_code, words
from tallystick.db.errors import AppendOnlyError, MigrationChecksumError
from tallystick.errors import Error, Kind, all_errors
from tallystick.outbox.errors import OutboxError
from tallystick.publish.errors import LeafNotFoundError, PrunedError, SizeTooLargeError
from tallystick.seal import errors as seal
from tallystick.tlog.errors import InclusionError
from tallystick.verify import ProofFormatError, QuorumMissingError


def every_error() -> list[type[Error]]:
    """Every error of the program, every module of it imported."""
    for module in pkgutil.walk_packages(tallystick.__path__, "tallystick."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    return [error for error in all_errors() if error.__module__.startswith("tallystick.")]


def bare(error: type[Error]) -> Error:
    """Return an instance that says what its class says, whatever its constructor wants."""
    made = error.__new__(error)
    Error.__init__(made)
    return made


def test_every_kind_has_an_exit_code() -> None:
    """Each kind of error has one exit code, and no code means two things to a script."""
    assert set(Kind) == EXIT_CODES.keys()
    assert {1, 2, 3, 4, 5, 6} == set(EXIT_CODES.values())


def test_every_error_has_words_and_an_exit_code() -> None:
    """log 32: Every error is told as one line of its code and words, and has its exit code."""
    errors = every_error()
    assert len(errors) > 100
    for error in errors:
        line = words(bare(error))
        assert line is not None
        assert line.startswith(f"tally: {error.code()}: ")
        assert len(line) > len(f"tally: {error.code()}: "), f"{error.__name__} says nothing"
        assert "\n" not in line, f"{error.__name__} is told in one sentence"
        assert EXIT_CODES[error.kind] == exit_code(bare(error))


def test_codes_are_told_apart() -> None:
    """log 32: No two errors of one slice share a code, so that a code is one problem."""
    named = [(error.slice(), error.code()) for error in every_error()]
    assert len(named) == len(set(named))


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (AppendOnlyError, 4),
        (MigrationChecksumError, 5),
        (seal.SourceRefusesChangeError, 4),
        (seal.NoKeyError, 4),
        (seal.LogFrozenError, 4),
        (seal.UnknownColumnError, 4),
        (seal.LogNotFoundError, 3),
        (seal.SourceNotFoundError, 3),
        (seal.LogBusyError, 5),
        (seal.EdgeMismatchError, 1),
        (seal.RollbackError, 1),
        (LeafNotFoundError, 3),
        (SizeTooLargeError, 4),
        (PrunedError, 3),
        (InclusionError, 1),
        (ProofFormatError, 1),
        (QuorumMissingError, 6),
        (OutboxError, 4),
    ],
)
def test_exit_codes_of_the_page(error: type[Error], expected: int) -> None:
    """log 32: The errors that section 3.3 lists end in the exit codes that it lists."""
    assert expected == exit_code(bare(error))


def test_file_errors_are_told_with_their_path() -> None:
    """A missing file is 3, one that may not be read 4, and both name the file."""
    missing = FileNotFoundError(2, "No such file or directory", "p.tlog-proof")
    assert words(missing) == "tally: file: p.tlog-proof: No such file or directory"
    assert exit_code(missing) == 3
    assert exit_code(PermissionError(13, "Permission denied", "p")) == 4


def test_driver_errors_show_no_row() -> None:
    """Of an error that the server's driver raises only the first line is told."""
    raised = psycopg.errors.CheckViolation("violates check\nDETAIL: row (1, secret)")
    assert words(raised) == "tally: database: violates check"
    assert exit_code(raised) == 4


def test_bugs_keep_their_traceback() -> None:
    """What is nobody's fault but ours is not dressed up as an answer."""
    assert words(ZeroDivisionError()) is None
