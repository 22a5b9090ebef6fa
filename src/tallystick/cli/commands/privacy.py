"""`tally disclose` and `tally redact`: what leaves hide, opened or erased (log.md, 5.3, 6.4)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from tallystick.cli.commands.logs import LogArgument
from tallystick.cli.commands.prove import write_file
from tallystick.cli.commands.sources import columns as column_names
from tallystick.cli.errors import UsageError
from tallystick.cli.output import print_json, print_lines
from tallystick.cli.place import HERE, Place
from tallystick.cli.principal import operator_name
from tallystick.cli.reading import choose_table
from tallystick.publish.disclosures import disclose as disclose_leaf
from tallystick.record import format_disclosure_file
from tallystick.seal.redaction import Redaction, redact_leaves, redact_row


@dataclass(frozen=True, slots=True)
class Disclosed:
    """A disclosure that was written; *columns* is empty where a whole record is opened."""

    log: str
    index: int
    columns: tuple[str, ...]
    file: Path


def disclose(
    log: LogArgument,
    /,
    *,
    index: Annotated[int, Parameter(help="The leaf.")],
    column: Annotated[
        str | None, Parameter(help="Columns to open, a,b; * for a whole record.")
    ] = None,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"], help="Where.")] = None,
    place: Place = HERE,
) -> None:
    """
    Write what opens private or large columns of a leaf, or a salted leaf as a whole.

    Give the file to whom the values are for, with the leaf and its proof: `tally verify
    --disclosure` checks it offline. It tells nothing of columns that it does not name.
    """
    wanted = column_names(column) or ()
    with place.transaction(read_only=True) as tx:
        file = format_disclosure_file(disclose_leaf(tx, log, index, wanted))
    target = output or Path(f"{log}-{index}.disclosure.json")
    write_file(target, file)
    if place.json:
        print_json(Disclosed(log, index, wanted, target))
    else:
        opened = ", ".join(wanted) if wanted else "the whole record"
        print_lines(f"opens {opened} of leaf {index} of log {log}", f"wrote {target}")


def redact(
    log: LogArgument,
    /,
    *,
    index: Annotated[str | None, Parameter(help="Leaves to redact, 4,17,23.")] = None,
    key: Annotated[
        tuple[str, ...],
        Parameter(negative="", help="All versions of a row; once for each key column."),
    ] = (),
    table: Annotated[str | None, Parameter(help="Its table; default: the log's only one.")] = None,
    reason: Annotated[str, Parameter(help="Why. It is sealed: it must name nobody.")],
    legal_basis: Annotated[str, Parameter(help="On what legal basis.")],
    place: Place = HERE,
) -> None:
    """
    Erase for ever what leaves hide: private columns, large values, salted records.

    Leaves, proofs and roots stay valid. To erase a person's row, delete it in its table first:
    a row that still stands is recorded with its values when it changes next.
    """
    if bool(key) == (index is not None):
        raise UsageError("name leaves by --index, or a row by --key")
    actor = operator_name()
    with place.database() as database:
        found = choose_table(database, log, table) if key else ""
        with database.transaction() as tx:
            if index is None:
                done = redact_row(
                    tx, log, found, key, actor=actor, reason=reason, legal_basis=legal_basis
                )
            else:
                leaves = parse_indexes(index)
                done = redact_leaves(
                    tx, log, leaves, actor=actor, reason=reason, legal_basis=legal_basis
                )
    if place.json:
        print_json(done)
    else:
        print_lines(*sentences(done))


def parse_indexes(text: str) -> list[int]:
    """
    Return the leaf indexes in *text*, which commas separate.

    Raises:
        UsageError: One is no number.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdecimal() for part in parts):
        raise UsageError("--index is leaf indexes, separated by commas")
    return [int(part) for part in parts]


def sentences(done: Redaction) -> list[str]:
    """Return what was erased, and what was not, for a person."""
    lines = [f"redacted {len(done.redacted)} leaves of log {done.log_name}: {listed(done)}"]
    if done.redacted_before:
        lines.append(f"{len(done.redacted_before)} had been redacted before")
    if done.quarantined:
        lines.append(f"{done.quarantined} rows in quarantine lost their bytes")
    if done.standing:
        lines.append(
            f"{done.standing} of these rows still stand in their table: their next change is"
            " recorded with its values"
        )
    if done.elsewhere:
        lines.append(f"records of these rows are kept by other logs: {', '.join(done.elsewhere)}")
    if done.redacted and not done.is_in_log:
        lines.append("the log takes no redact leaf: the house log alone tells of this")
    return lines


def listed(done: Redaction) -> str:
    """Return the redacted leaves in a line that stays short."""
    shown = ", ".join(map(str, done.redacted[:20])) or "none"
    return shown + (", ..." if len(done.redacted) > 20 else "")  # noqa: PLR2004 (a line's length)
