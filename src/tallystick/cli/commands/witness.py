"""`tally witness`: who cosigns our logs, and our own witness (log.md, sections 5.8 and 6.4)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

from cyclopts import Parameter

from tallystick.cli.commands.logs import LogArgument
from tallystick.cli.commands.prove import write_file
from tallystick.cli.output import print_json, print_lines, show, show_list
from tallystick.cli.place import HERE, Place
from tallystick.cli.principal import operator_name
from tallystick.publish.witness import create_witness_key, list_watched, origin_hash, watch_log
from tallystick.publish.witnesses import (
    add_witness,
    clear_witness,
    list_witnesses,
    log_policy,
    remove_witness,
)

COLUMNS: Final = ("name", "status", "enabled", "last_size", "last_seen_at", "last_error", "url")

NameArgument = Annotated[str, Parameter(help="Key name of the witness.")]


@dataclass(frozen=True, slots=True)
class Watched:
    """A log that our witness watches."""

    origin: str
    origin_hash: str
    tree_size: int
    cosigned_at: object
    enabled: bool
    contact: str | None
    vkeys: list[str]


@dataclass(frozen=True, slots=True)
class Exported:
    """A policy that was written."""

    log: str
    policy: Path


def add(
    log: LogArgument,
    vkey: Annotated[str, Parameter(help="Verifier key of the witness, type 4.")],
    url: Annotated[str, Parameter(help="Its submission prefix.")],
    /,
    *,
    allow_private_http: Annotated[
        bool,
        Parameter(negative="", help="Allow plain http to localhost and private addresses."),
    ] = False,
    place: Place = HERE,
) -> None:
    """Let a log ask a witness, from its next checkpoint on; the same again gives it a new URL."""
    with place.transaction() as tx:
        added = add_witness(tx, log, vkey=vkey, url=url, allow_private_http=allow_private_http)
    show(added, as_json=place.json)


def list_all(log: LogArgument, /, *, place: Place = HERE) -> None:
    """List the witnesses of a log, how far each has come, and what it said last."""
    with place.transaction(read_only=True) as tx:
        witnesses = list_witnesses(tx, log)
    show_list(witnesses, COLUMNS, as_json=place.json)


def remove(log: LogArgument, name: NameArgument, /, *, place: Place = HERE) -> None:
    """Ask a witness no more; what it cosigned stays, but counts no more."""
    with place.transaction() as tx:
        remove_witness(tx, log, name)
        left = list_witnesses(tx, log)
    show_list(left, COLUMNS, as_json=place.json)


def clear(
    log: LogArgument,
    name: NameArgument,
    /,
    *,
    reason: Annotated[str, Parameter(help="Why; it stands in the event.")],
    place: Place = HERE,
) -> None:
    """End a witness's conflict; an audit of the log, begun since, must be clean."""
    with place.transaction() as tx:
        cleared = clear_witness(tx, log, name, actor=operator_name(), reason=reason)
    show(cleared, as_json=place.json)


def key(*, place: Place = HERE) -> None:
    """Print the verifier key of our own witness, WITNESS_NAME; make it where there is none."""
    name = place.settings().witness_name
    with place.transaction() as tx:
        made = create_witness_key(tx, place.keys(), name)
    if place.json:
        print_json(made)
    else:
        print_lines(made.vkey)


def watch(
    *vkey: Annotated[str, Parameter(help="Verifier keys of the log, type 1, all of one name.")],
    contact: Annotated[str | None, Parameter(help="Whom to ask about the log.")] = None,
    stop: Annotated[
        bool, Parameter(negative="", help="Cosign it no more; what was cosigned stays.")
    ] = False,
    place: Place = HERE,
) -> None:
    """Let our own witness watch a log, or change its keys; without a key, list what it watches."""
    with place.transaction() as tx:
        found = (
            [watch_log(tx, list(vkey), contact=contact, enabled=not stop)]
            if vkey
            else list_watched(tx)
        )
    shown = [
        Watched(
            origin=one.origin,
            origin_hash=origin_hash(one.origin),
            tree_size=one.size,
            cosigned_at=one.cosigned_at,
            enabled=one.enabled,
            contact=one.contact,
            vkeys=list(one.vkeys),
        )
        for one in found
    ]
    columns = ("origin", "tree_size", "cosigned_at", "enabled", "contact")
    show_list(shown, columns, as_json=place.json)


def policy(
    log: LogArgument,
    /,
    *,
    quorum: Annotated[
        int | None, Parameter(help="Witnesses that must have cosigned; default: as published.")
    ] = None,
    output: Annotated[
        Path | None, Parameter(name=["--output", "-o"], help="Where; default: LOG.policy.")
    ] = None,
    place: Place = HERE,
) -> None:
    """
    Write a tlog-policy that trusts a log's keys and asks for its witnesses, for `tally verify`.

    Give it to others by a way that they trust: whoever sends both proof and policy proves nothing.
    """
    target = output or Path(f"{log}.policy")
    with place.transaction(read_only=True) as tx:
        data = log_policy(tx, log, quorum=quorum)
    write_file(target, data)
    if place.json:
        print_json(Exported(log, target))
    else:
        print_lines(f"wrote {target}")
