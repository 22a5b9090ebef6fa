"""What is published while witnesses answer, or do not (log.md, sections 2.6, 2.7, 10)."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import psycopg
import pytest

from tallystick.http.routes.operations import HEALTH_SECONDS
from tallystick.publish.errors import QuorumOutOfReachError
from tallystick.publish.witnesses import add_witness, ask_witnesses, log_policy, remove_witness
from tallystick.runtime.house import add_house_sources
from tallystick.runtime.witnessing import run_witnesses
from tallystick.seal.audit import audit_log
from tallystick.seal.logs import create_house_logs
from tallystick.tlog import parse_policy
from tests.http.conftest import builder_of_server, server, settings
from tests.publish.witnesses.scripted import ScriptedWitness, cosigning, serving

if TYPE_CHECKING:
    from collections.abc import Callable

    from tallystick.publish import Publisher
    from tests.http.conftest import Running
    from tests.support.log_builder import LogBuilder

__all__ = ["builder_of_server", "server", "settings"]

NAME = "w.example/one"


def leaves(count: int, first: int = 0) -> list[bytes]:
    """Return so many different leaves."""
    return [b"leaf %d" % number for number in range(first, first + count)]


def becomes(expected: object, look: Callable[[], object], *, within_seconds: float = 30) -> None:
    """Wait until *look* gives what is expected, and fail where it does not in time."""
    deadline = time.monotonic() + within_seconds
    while look() != expected and time.monotonic() < deadline:
        time.sleep(0.05)
    assert expected == look()


def attach(builder: LogBuilder, log: str, witness: ScriptedWitness) -> None:
    """Let *log* ask *witness*."""
    with builder.database.transaction() as tx:
        add_witness(tx, log, vkey=witness.vkey, url=witness.url, allow_private_http=True)


def test_with_its_witness_down_the_checkpoint_stays(server: Running) -> None:
    """log 20: Quorum 1, witness down: /checkpoint stays, health says why; patience 5: it moves."""
    builder = server.builder
    with serving(ScriptedWitness(NAME, cosigning)) as witness:
        builder.filled("shop", leaves(3), visibility="public", witness_quorum=1)
        attach(builder, "shop", witness)
        ask_witnesses(builder.database, "shop")
        server.services.publisher.refresh()
        before = server.anonymous.get("/logs/shop/checkpoint").content
        assert before.count("— w.example/one ".encode()) == 1
    builder.append("shop", leaves(2, 3))
    server.seal("shop")
    ask_witnesses(builder.database, "shop")
    server.services.publisher.refresh()
    assert server.anonymous.get("/logs/shop/checkpoint").content == before
    time.sleep(HEALTH_SECONDS)
    health = server.anonymous.get("/api/v1/health")
    assert (health.status_code, health.json()["status"]) == (200, "degraded")
    assert health.json()["waiting_for"] == [
        {
            "log_name": "shop",
            "tree_size": 5,
            "published_size": 3,
            "witness": NAME,
            "status": "active",
            "last_size": 3,
            "last_error": "it cannot be reached: ConnectError",
        }
    ]
    [listed] = server.anonymous.get("/logs/shop/witnesses").json()["items"]
    assert (listed["status"], listed["last_size"]) == ("active", 3)
    assert listed["last_error"] == "it cannot be reached: ConnectError"
    metrics = server.operator.get("/metrics").text
    assert 'tally_witness_behind{log="shop"} 1.0' in metrics
    server.operator.patch("/logs/shop", json={"witness_patience_seconds": 5})
    # The patience is the database's clock's: here it moves when the test says so.
    signed = "(SELECT max(signed_at) FROM tally.checkpoints)"
    builder.execute(f"SELECT tally.set_test_clock({signed} + interval '4.9 s')")
    server.services.publisher.refresh()
    assert server.anonymous.get("/logs/shop/size").json()["size"] == 3
    builder.execute(f"SELECT tally.set_test_clock({signed} + interval '5 s')")
    server.services.publisher.refresh()
    assert server.anonymous.get("/logs/shop/size").json()["size"] == 5


def test_health_names_no_private_log_to_strangers(server: Running) -> None:
    """What a private log waits for is told to keys with log:read alone."""
    builder = server.builder
    builder.filled("secret", leaves(3), witness_quorum=1)
    attach(builder, "secret", ScriptedWitness(NAME, cosigning, port=1))
    server.services.publisher.refresh()
    assert server.anonymous.get("/api/v1/health").json()["waiting_for"] == []
    assert server.anonymous.get("/api/v1/health/ready").json()["waiting_for"] is None
    [told] = server.operator.get("/api/v1/health").json()["waiting_for"]
    assert (told["log_name"], told["witness"]) == ("secret", NAME)


def test_the_worker_asks_when_a_head_is_new(builder: LogBuilder, publisher: Publisher) -> None:
    """The duty asks by itself, goes on over a lost session, and one process at a time does it."""
    builder.create("shop", witness_quorum=1)
    stop = threading.Event()
    threads = [
        threading.Thread(target=run_witnesses, args=(builder.database, stop)) for _ in range(2)
    ]
    with serving(ScriptedWitness(NAME, cosigning)) as witness:
        attach(builder, "shop", witness)
        for thread in threads:
            thread.start()
        try:
            for size in (1, 2):
                builder.append("shop", leaves(1, size))
                builder.seal("shop")
                becomes(
                    size, lambda: (publisher.refresh(), publisher.published_head("shop").size)[1]
                )
                held = builder.execute(
                    "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
                    " AND classid = 1952541817 AND objid = 4294967294 AND granted"
                )
                assert held == [(1,)]
                # The session of the lock is cut: the duty begins again, here or in the other.
                builder.execute(
                    "SELECT count(pg_terminate_backend(pid)) FROM pg_locks WHERE"
                    " locktype = 'advisory' AND classid = 1952541817 AND objid = 4294967294"
                )
        finally:
            stop.set()
            for thread in threads:
                thread.join(30)
        assert not any(thread.is_alive() for thread in threads)
        assert witness.asked[-1].note.text.splitlines()[1] == "2"


def test_only_enabled_witnesses_count(builder: LogBuilder, publisher: Publisher) -> None:
    """A quorum is of witnesses that exist and are enabled; a removed one counts no more."""
    builder.filled("shop", leaves(3), witness_quorum=1)
    builder.cosign("shop", 3, witness="w.example/a")
    publisher.refresh()
    assert publisher.published_head("shop").size == 3
    builder.append("shop", leaves(1, 3))
    builder.seal("shop")
    with builder.database.transaction() as tx:
        remove_witness(tx, "shop", "w.example/a")
    builder.cosign("shop", 4, witness="w.example/a")
    publisher.refresh()
    assert publisher.published_head("shop").size == 3
    with pytest.raises(psycopg.errors.ForeignKeyViolation), builder.database.session() as session:
        session.execute(
            "INSERT INTO tally.cosignatures (log_id, tree_size, witness_name, line,"
            " signed_at_seconds) SELECT log_id, 4, 'w.example/nobody', 'x', 1"
            " FROM tally.verification_logs"
        )


@pytest.mark.parametrize("quorum", [1, 2, 3])
def test_the_quorum_is_the_greatest_common_size(builder: LogBuilder, quorum: int) -> None:
    """The published size is the greatest that so many witnesses cosigned, whatever lies between."""
    builder.create("shop", batch_size=1, witness_quorum=quorum)
    builder.append("shop", leaves(12))
    builder.seal("shop")
    cosigned = {
        "w.example/a": {1, 2, 4, 6, 8, 10, 12},
        "w.example/b": {1, 2, 3, 5, 7, 9, 11},
        "w.example/c": {1, 4, 5, 7, 8},
    }
    for witness, sizes in cosigned.items():
        for size in sizes:
            builder.cosign("shop", size, witness=witness)
    expected = max(
        size for size in range(13) if sum(size in sizes for sizes in cosigned.values()) >= quorum
    )
    assert builder.execute("SELECT tree_size FROM tally.published_checkpoints") == [(expected,)]


def test_a_missed_quorum_costs_a_few_probes(builder: LogBuilder) -> None:
    """With a witness away for long, a look reads a few rows and not every checkpoint since."""
    builder.filled("shop", leaves(3), witness_quorum=2)
    builder.cosign("shop", 3, witness="w.example/a")
    builder.cosign("shop", 3, witness="w.example/b")
    builder.execute(
        "INSERT INTO tally.checkpoints (log_id, tree_size, root_hash, note, batch_rows, seal_ms)"
        " SELECT log_id, n, sha256(n::text::bytea), 'n', 1, 1"
        " FROM tally.verification_logs, generate_series(4, 20000) AS n"
    )
    builder.execute(
        "INSERT INTO tally.cosignatures (log_id, tree_size, witness_name, line, signed_at_seconds)"
        " SELECT log_id, n, 'w.example/a', 'x', 1"
        " FROM tally.verification_logs, generate_series(4, 20000) AS n"
    )
    builder.execute("ANALYZE tally.checkpoints")
    builder.execute("ANALYZE tally.cosignatures")
    with builder.database.session() as session:
        look = "SELECT tree_size FROM tally.published_checkpoints"
        [(size,)] = session.execute(look).fetchall()
        plan = session.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {look}").fetchall()[0][0][
            0
        ]["Plan"]
    assert size == 3
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 200


def test_the_audit_misses_no_witness(builder: LogBuilder) -> None:
    """log 14: A cosignature of a witness that does not exist is a finding."""
    builder.filled("shop", leaves(3))
    builder.cosign("shop", 3, witness="w.example/a")
    assert audit_log(builder.database, "shop").findings == ()
    builder.execute("SET session_replication_role = replica; DELETE FROM tally.witnesses")
    found = audit_log(builder.database, "shop").findings
    assert [(one.kind, one.detail) for one in found] == [
        ("bad_signature", "size 3: w.example/a: the log has no such witness")
    ]


def test_the_house_log_does_not_feed_itself(builder: LogBuilder) -> None:
    """A witness of the house log is a leaf of it; that it cosigned is none."""
    with builder.database.transaction() as tx:
        for log in create_house_logs(tx, keys=builder.keys, origin_prefix="log.example"):
            builder.logs[log.log_name] = log
    add_house_sources(builder.database)
    with serving(ScriptedWitness(NAME, cosigning)) as witness:
        attach(builder, "tally", witness)
        size = builder.seal("tally")
        for _ in range(3):
            ask_witnesses(builder.database, "tally")
            assert builder.seal("tally") == size
    assert witness.asked[0].note.text.splitlines()[1] == str(size)
    ops = builder.execute(
        "SELECT op::text FROM tally.merkle_log WHERE source_table = 'tally.witnesses'"
    )
    assert ops == [("I",)]


def test_a_policy_names_keys_and_witnesses(builder: LogBuilder) -> None:
    """A policy trusts the log's keys and asks for the quorum that it publishes by, or another."""
    builder.create("shop")
    with builder.database.transaction() as tx:
        assert parse_policy(log_policy(tx, "shop")).quorum is None
        for name in ("w.example/a", "w.example/b"):
            vkey = ScriptedWitness(name, cosigning).vkey
            add_witness(tx, "shop", vkey=vkey, url="https://w.example")
        policy = parse_policy(log_policy(tx, "shop", quorum=1))
        assert [log.key.name for log in policy.logs] == ["log.example/shop"]
        assert [one.key.name for one in policy.witnesses] == ["w.example/a", "w.example/b"]
        assert (policy.groups[0].threshold, policy.quorum) == (1, policy.groups[0].name)
        for wrong in (3, -1):
            with pytest.raises(QuorumOutOfReachError):
                log_policy(tx, "shop", quorum=wrong)
