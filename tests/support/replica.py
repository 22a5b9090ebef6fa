"""A real streaming replica of the tests' server, made from a base backup of its files."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict

from tallystick.runtime.postgres import EmbeddedPostgres
from tests.support.server import PREFIX, SETTINGS

CATCH_UP_SECONDS = 60.0


@contextlib.contextmanager
def streaming_replica(
    primary: EmbeddedPostgres, bin_dir: Path | None
) -> Iterator[EmbeddedPostgres]:
    """Yield a running hot standby that streams from *primary*; deleted at the end."""
    place = Path(tempfile.mkdtemp(prefix=PREFIX))
    # The replica's server walks to the socket by its path, as the account that both run as.
    primary.data_dir.chmod(0o711)
    back_up(primary, place)
    standby = EmbeddedPostgres(
        place,
        bin_dir=bin_dir,
        durable=False,
        settings={**SETTINGS, "primary_conninfo": connection_words(primary)},
    )
    try:
        standby.start()
        yield standby
    finally:
        standby.remove()


def back_up(primary: EmbeddedPostgres, place: Path) -> None:
    """Copy the files of a running server to *place*, as `pg_basebackup` does."""
    cluster = primary.data_dir / "cluster"
    with psycopg.connect(primary.url(), autocommit=True) as connection:
        connection.execute("SELECT pg_backup_start('replica', true)")
        copy_tree(cluster, place / "cluster")
        row = connection.execute("SELECT labelfile FROM pg_backup_stop(false)").fetchone()
    assert row is not None
    (place / "cluster" / "backup_label").write_text(row[0], encoding="utf-8")
    (place / "cluster" / "standby.signal").touch()
    shutil.copy2(primary.data_dir / "password", place / "password")
    owner = cluster.stat()
    for directory, _, files in os.walk(place / "cluster"):
        for name in ("", *files):
            os.chown(Path(directory) / name, owner.st_uid, owner.st_gid)
    keeper = primary.data_dir.stat()
    os.chown(place / "password", keeper.st_uid, keeper.st_gid)


def copy_tree(source: Path, target: Path) -> None:
    """Copy a directory of a server that goes on writing: a file may be gone by its turn."""
    target.mkdir(mode=0o700)
    for entry in os.scandir(source):
        if entry.name in {"postmaster.pid", "postmaster.opts", "pg_replslot"}:
            continue
        with contextlib.suppress(FileNotFoundError):
            if entry.is_dir(follow_symlinks=False):
                copy_tree(Path(entry.path), target / entry.name)
            else:
                shutil.copy2(entry.path, target / entry.name, follow_symlinks=False)
    if (source / "pg_replslot").is_dir():
        (target / "pg_replslot").mkdir(mode=0o700)


def connection_words(primary: EmbeddedPostgres) -> str:
    """Return the `primary_conninfo` that leads to *primary*."""
    words = conninfo_to_dict(primary.url())
    return " ".join(f"{name}={words[name]}" for name in ("host", "user", "password"))


def wait_until_replayed(primary_url: str, replica_url: str) -> None:
    """Return once the replica has replayed what the primary had written when this was called."""
    with psycopg.connect(primary_url, autocommit=True) as connection:
        row = connection.execute("SELECT pg_current_wal_insert_lsn()").fetchone()
    assert row is not None
    deadline = time.monotonic() + CATCH_UP_SECONDS
    with psycopg.connect(replica_url, autocommit=True) as connection:
        query = "SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn"
        while connection.execute(query, row).fetchone() != (True,):
            assert time.monotonic() < deadline, "the replica streams"
            time.sleep(0.05)
