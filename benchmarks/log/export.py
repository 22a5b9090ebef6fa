"""Exports: how fast a log is written as files, and how fast two processes check them."""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path

import psycopg

from benchmarks.ground import Ground
from benchmarks.harness import Bound, Figure, measure
from benchmarks.log.payments import LargeLog, new_large_log
from tallystick.publish.export import check_export, export_log, open_destination
from tallystick.tlog import hash_leaf, parse_entry_bundle

PROCESSES = 2
DUMPED = "COPY of the same leaves to a file"
BARE = "one process that reads the bundles and hashes their entries, no more"


def run(ground: Ground) -> list[Figure]:
    """Return the leaves exported and checked a second, in a directory."""
    with new_large_log(ground) as large, tempfile.TemporaryDirectory() as folder:
        large.grow_to(ground.scale.pick(1_000_000, 30_000))
        ground.checkpoint()
        place = Path(folder)
        written = measure(
            {
                "export": lambda: exported(large, place / "export"),
                "copy": lambda: dumped(large, place / "leaves"),
            },
            rounds=ground.scale.pick(3, 1),
        )
        read = measure(
            {
                "check": lambda: checked(large, place / "export"),
                "bare": lambda: rehashed(large, place / "export"),
            },
            rounds=ground.scale.pick(5, 1),
        )
    return [
        Figure(
            f"export of {large.rows:,} leaves to a directory, synced",
            written["export"],
            "leaves/s",
            "more",
            DUMPED,
            written["copy"],
            note="3 rounds, because one is long",
        ),
        Figure(
            f"check of an export of {large.rows:,} leaves, {PROCESSES} processes",
            read["check"],
            "leaves/s",
            "more",
            BARE,
            read["bare"],
            Bound(least=200_000),
        ),
    ]


def exported(large: LargeLog, place: Path) -> float:
    """Export the whole log to an empty directory, and return leaves a second."""
    shutil.rmtree(place, ignore_errors=True)
    report = export_log(large.log.database, large.log.log.log_name, open_destination(str(place)))
    return report.size / report.seconds


def dumped(large: LargeLog, place: Path) -> float:
    """Copy the leaves out as they are, and return leaves a second."""
    began = time.monotonic()
    with (
        psycopg.connect(large.log.url) as connection,
        connection.cursor() as cursor,
        place.open("wb") as file,
        cursor.copy("COPY (SELECT leaf FROM tally.merkle_log) TO STDOUT (FORMAT binary)") as copy,
    ):
        for block in copy:
            file.write(block)
    return large.rows / (time.monotonic() - began)


def checked(large: LargeLog, place: Path) -> float:
    """Check the export, and return leaves a second."""
    with psycopg.connect(large.log.url) as connection:
        vkeys = connection.execute(
            "SELECT vkey FROM tally.log_keys WHERE log_id = %s", (large.log.log.log_id,)
        ).fetchall()
    policy = "".join(f"log {vkey}\n" for (vkey,) in vkeys) + "quorum none\n"
    began = time.monotonic()
    verified = check_export(str(place), policy.encode(), processes=PROCESSES)
    return verified.entries / (time.monotonic() - began)


def rehashed(large: LargeLog, place: Path) -> float:
    """Read each bundle and hash its entries, and return leaves a second."""
    began, leaves = time.monotonic(), 0
    for path in (place / "tile" / "entries").rglob("*"):
        if path.is_file():
            leaves += len([hash_leaf(entry) for entry in parse_entry_bundle(path.read_bytes())])
    assert leaves >= large.rows
    return leaves / (time.monotonic() - began)
