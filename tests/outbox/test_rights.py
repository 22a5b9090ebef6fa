"""Rights: the server's role does all of the outbox's work and changes nothing else of it."""

from __future__ import annotations

import psycopg
import pytest

from tallystick.db.errors import PermissionDeniedError
from tallystick.outbox import (
    add_sink,
    emit,
    list_sinks,
    pause_sink,
    read_events,
    resume_sink,
    skip_event,
    store,
)
from tests.outbox.support import TOPIC


def as_app(tx):
    """Let the transaction have the rights of tally_app alone."""
    tx.connection.execute("SET LOCAL ROLE tally_app")


def run_as_app(database, statement):
    """Run a statement with the rights of tally_app alone."""
    with database.transaction() as tx:
        as_app(tx)
        tx.connection.execute(statement)


def test_the_servers_role_can_do_everything_that_the_worker_does(database):
    """tally_app emits, numbers, reads, delivers, pauses, skips, lists and deletes."""
    with database.transaction() as tx:
        as_app(tx)
        first, _ = (emit(tx, TOPIC, key="k", payload={}) for _ in range(2))
        assert store.take_lock(tx)
        assert store.number_events(tx, limit=10) == 2
        assert len(read_events(tx).events) == 2
        add_sink(tx, "s", "sse", config={}, after=0)
        pause_sink(tx, "s")
        resume_sink(tx, "s")
        assert store.due_sinks(tx) == ["s"]
        skip_event(tx, "s", first, actor="user:a", reason="r")
        assert store.record_result(tx, "s", before=1, after=2, error=None)
        assert [sink.position for sink in list_sinks(tx)] == [2]
        assert store.delete_events(tx, retention_days=1, limit=10) == 0


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE tally.outbox_cursors SET status = 'active'",
        "UPDATE tally.outbox_events SET payload = '{}'",
        "DELETE FROM tally.outbox_cursors",
        "TRUNCATE tally.outbox_events",
    ],
)
def test_the_servers_role_changes_no_status_and_no_payload(database, statement):
    """tally_app can neither write a status nor change what an event says."""
    with pytest.raises(PermissionDeniedError):
        run_as_app(database, statement)


@pytest.mark.parametrize("role", ["tally_reader", "tally_auditor"])
def test_other_roles_move_no_sink(database_url, role):
    """Neither readers nor auditors may call what changes a sink."""
    with psycopg.connect(database_url) as connection:
        connection.execute(f"SET ROLE {role}")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT tally.pause_sink_v1('s', true)")
