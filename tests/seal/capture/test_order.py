"""The order of a key's leaves, and statements inside statements (log.md, section 5.4)."""

from __future__ import annotations

import psycopg
import pytest

from tests.seal.capture.rig import Rig
from tests.seal.capture.workload import (
    KEYS,
    Leaf,
    check_chains,
    leaves_of_queue,
    make_tables,
    run_writers,
)

COUNTER = "CREATE TABLE counter (id int PRIMARY KEY, value int NOT NULL DEFAULT 0)"


@pytest.fixture
def counter(rig: Rig) -> Rig:
    """A rig with the captured table `counter` and one row, whose leaf is taken."""
    rig.sql(COUNTER)
    rig.seal("counter")
    rig.sql("INSERT INTO counter VALUES (1, 10)")
    rig.take()
    return rig


def row_trigger(rig: Rig, event: str, body: str, timing: str = "AFTER") -> None:
    """Make a row trigger on `counter` that does *body*, unless it runs inside itself."""
    rig.sql(
        "CREATE FUNCTION react() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        f" IF pg_trigger_depth() < 2 THEN {body} END IF; RETURN NEW; END $$;"
        f" CREATE TRIGGER a_react {timing} {event} ON counter FOR EACH ROW"
        " EXECUTE FUNCTION react()"
    )


def short(rig: Rig) -> list[str]:
    """The queue in short, with the values, emptied."""
    found = [f"{queued.op} {queued.row['id']}={queued.row['value']}" for queued in rig.queue()]
    rig.sql("DELETE FROM tally.capture")
    return found


@pytest.mark.parametrize(
    ("event", "body", "statement", "expected"),
    [
        (
            "UPDATE",
            "UPDATE counter SET value = value + 100 WHERE id = NEW.id;",
            "UPDATE counter SET value = 11",
            ["U 1=111"],
        ),
        (
            "INSERT",
            "UPDATE counter SET value = value + 100 WHERE id = NEW.id;",
            "INSERT INTO counter VALUES (2, 20)",
            ["I 2=120"],
        ),
        (
            "INSERT",
            "DELETE FROM counter WHERE id = NEW.id;",
            "INSERT INTO counter VALUES (2, 20)",
            [],
        ),
        (
            "UPDATE",
            "DELETE FROM counter WHERE id = NEW.id;",
            "UPDATE counter SET value = 11",
            ["D 1=11"],
        ),
        (
            "DELETE",
            "INSERT INTO counter VALUES (OLD.id, 77);",
            "DELETE FROM counter",
            ["U 1=77"],
        ),
        (
            "UPDATE",
            "UPDATE counter SET id = id + 1 WHERE id = NEW.id;",
            "UPDATE counter SET value = 11",
            ["D 1=11", "I 2=11"],
        ),
        (
            "UPDATE",
            "UPDATE counter SET value = value + 100 WHERE id = NEW.id;",
            "UPDATE counter SET id = 5",
            ["D 1=10", "I 5=110"],
        ),
        (
            "UPDATE",
            "DELETE FROM counter WHERE id = NEW.id; INSERT INTO counter VALUES (NEW.id, 5);",
            "UPDATE counter SET value = 11",
            ["U 1=5"],
        ),
        (
            "INSERT",
            "INSERT INTO counter VALUES (NEW.id + 1, 0);",
            "INSERT INTO counter VALUES (2, 20)",
            ["I 3=0", "I 2=20"],
        ),
    ],
)
def test_row_trigger(counter: Rig, event: str, body: str, statement: str, expected: list[str]):
    """What a statement and its row triggers do to one key is one leaf with the present row."""
    row_trigger(counter, event, body)
    counter.sql(statement)
    assert sorted(expected) == sorted(short(counter))


def test_before_trigger_changes_other_rows(counter: Rig):
    """What BEFORE triggers queue for other keys stands as it is."""
    row_trigger(counter, "UPDATE", "INSERT INTO counter VALUES (OLD.id + 1, 1);", timing="BEFORE")
    counter.sql("UPDATE counter SET value = 11 WHERE id = 1")
    assert ["I 2=1", "U 1=11"] == short(counter)


def test_function_frees_the_key_of_its_statement(counter: Rig):
    """A statement that inserts what its own function has deleted leaves one update."""
    counter.sql(
        "CREATE FUNCTION free(n int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN"
        " DELETE FROM counter WHERE id = n; INSERT INTO counter VALUES (n + 1, 0); RETURN n; END $$"
    )
    counter.sql("INSERT INTO counter SELECT free(1), 50")
    assert ["I 2=0", "U 1=50"] == sorted(short(counter))


def test_fellow_statements_in_one_with(counter: Rig):
    """Fellow statements in one WITH leave one leaf per key."""
    counter.sql("INSERT INTO counter VALUES (2, 20)")
    counter.take()
    counter.sql(
        "WITH gone AS (DELETE FROM counter WHERE id = 1 RETURNING id),"
        " made AS (INSERT INTO counter VALUES (3, 30) RETURNING id),"
        " more AS (INSERT INTO counter VALUES (4, 40))"
        " UPDATE counter SET value = 21 WHERE id = 2"
    )
    assert ["D 1=10", "I 3=30", "I 4=40", "U 2=21"] == sorted(short(counter))


def test_with_moves_a_key(counter: Rig):
    """A key that one statement of a WITH frees and another takes is one leaf."""
    counter.sql(
        "ALTER TABLE counter DROP CONSTRAINT counter_pkey;"
        "ALTER TABLE counter ADD PRIMARY KEY (id) DEFERRABLE INITIALLY IMMEDIATE"
    )
    counter.sql(
        "WITH gone AS (DELETE FROM counter WHERE id = 1) INSERT INTO counter VALUES (1, 99)"
    )
    assert ["U 1=99"] == short(counter)


def test_three_levels(counter: Rig):
    """Three statements inside each other that change one row leave one leaf."""
    counter.sql(
        "CREATE FUNCTION react() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF pg_trigger_depth() < 4 THEN UPDATE counter SET value = value + 1 WHERE id = NEW.id;"
        " END IF; RETURN NEW; END $$;"
        " CREATE TRIGGER a_react AFTER UPDATE ON counter FOR EACH ROW EXECUTE FUNCTION react()"
    )
    counter.sql("UPDATE counter SET value = 0")
    assert ["U 1=3"] == short(counter)


def test_statements_in_a_row_stay_apart(counter: Rig):
    """Statements one after the other, also in one function, leave a leaf each."""
    counter.sql(
        "DO $$ BEGIN UPDATE counter SET value = 1; UPDATE counter SET value = 2;"
        " DELETE FROM counter; INSERT INTO counter VALUES (1, 3); END $$"
    )
    assert ["U 1=1", "U 1=2", "D 1=2", "I 1=3"] == short(counter)


def test_exception_blocks(counter: Rig):
    """What failed inside a trigger's exception block is neither queued nor remembered."""
    row_trigger(
        counter,
        "UPDATE",
        "BEGIN UPDATE counter SET value = 500 WHERE id = NEW.id; RAISE division_by_zero;"
        " EXCEPTION WHEN division_by_zero THEN NULL; END;",
    )
    counter.sql("UPDATE counter SET value = 11")
    counter.sql("UPDATE counter SET value = 12")
    assert ["U 1=11", "U 1=12"] == short(counter)
    assert not counter.value("SELECT current_setting('tally.nest_1', true)")


def test_failed_statement_leaves_no_trace_on_the_stack(counter: Rig):
    """A statement that fails after it began is off the stack once its savepoint is rolled back."""
    with counter.connection.transaction():
        counter.sql("UPDATE counter SET value = 11")
        with pytest.raises(psycopg.errors.NotNullViolation), counter.connection.transaction():
            counter.sql("UPDATE counter SET value = NULL")
        assert "" == counter.value("SELECT current_setting('tally.nest_1', true)")
        counter.sql("UPDATE counter SET value = 12")
    assert ["U 1=11", "U 1=12"] == short(counter)


def test_statement_in_a_cascade(rig: Rig):
    """A cascade's statement begins inside another and ends after it; each leaf stands."""
    rig.sql(
        "CREATE TABLE a (id int PRIMARY KEY, value int DEFAULT 0);"
        "CREATE TABLE b (id int PRIMARY KEY,"
        " a int REFERENCES a ON DELETE CASCADE ON UPDATE CASCADE)"
    )
    rig.seal("a")
    rig.seal("b")
    rig.sql(
        "CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " UPDATE a SET value = value + 1 WHERE id = NEW.a; RETURN NULL; END $$;"
        "CREATE TRIGGER touch AFTER UPDATE ON b FOR EACH ROW EXECUTE FUNCTION touch()"
    )
    rig.sql("INSERT INTO a VALUES (1); INSERT INTO b VALUES (10, 1)")
    rig.take()
    rig.sql("UPDATE a SET id = 2")
    found = rig.queue()
    leaves = [Leaf("a", '["1"]', "I", {"id": "1", "value": "0"})] + [
        Leaf(queued.change["table"].removeprefix("public."), queued.key, queued.op, queued.row)
        for queued in found
    ]
    (row,) = rig.sql("SELECT id, value FROM a")
    assert (2, 1) == row
    lives = [leaf for leaf in leaves if leaf.table == "a" and leaf.key == '["2"]']
    assert "I" == lives[0].op
    assert {"id": "2", "value": "1"} == lives[-1].row


def test_nested_in_two_logs(counter: Rig):
    """Two sources on one table keep their stacks apart, and each merges what is its own."""
    counter.make_log("second")
    second = counter.seal("counter", log="second")
    row_trigger(counter, "UPDATE", "UPDATE counter SET value = value + 100 WHERE id = NEW.id;")
    counter.sql("UPDATE counter SET value = 11")
    assert [("U", "111")] == [(q.op, q.row["value"]) for q in counter.queue(second)]
    assert ["U 1=111"] * 2 == short(counter)


def test_salted_and_full_row_sources_merge(rig: Rig):
    """Salted sources merge like others; those keyed by full row keep a leaf per row."""
    rig.make_log("hashes", "digest")
    rig.sql(COUNTER)
    salted = rig.seal("counter", log="hashes", leaf_form="salted")
    full = rig.seal("counter", key=[])
    row_trigger(rig, "UPDATE", "UPDATE counter SET value = value + 100 WHERE id = NEW.id;")
    rig.sql("INSERT INTO counter VALUES (1, 10)")
    rig.sql("UPDATE counter SET value = 11")
    assert ["I 1=10", "U 1=111"] == [
        f"{q.op} {q.row['id']}={q.row['value']}" for q in rig.queue(salted)
    ]
    count = {"10": 0, "11": 0, "111": 0}
    for queued in rig.queue(full):
        count[str(queued.row["value"])] += 1 if queued.op == "I" else -1
    assert {"10": 0, "11": 0, "111": 1} == count


def test_tampered_setting(counter: Rig):
    """Whoever tampers with the setting is captured all the same."""
    for text in ("", "nonsense", " 1.2=3", " 0.UPDATE=0"):
        with counter.connection.transaction():
            counter.sql("SELECT set_config('tally.nest_1', %s, true)", (text,))
            counter.sql("UPDATE counter SET value = value + 1")
    assert 4 == len(short(counter))


def test_transition_tables_keep_their_order(rig: Rig):
    """Transition tables yield old and new rows in the order of the changes on this server."""
    rig.sql(
        "CREATE TABLE t (id int, value int);"
        "CREATE TABLE seen (side text, place bigint, value int);"
        "CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " INSERT INTO seen SELECT 'old', row_number() OVER (), value FROM o;"
        " INSERT INTO seen SELECT 'new', row_number() OVER (), value FROM n; RETURN NULL; END $$;"
        "CREATE TRIGGER look AFTER UPDATE ON t REFERENCING OLD TABLE AS o NEW TABLE AS n"
        " FOR EACH STATEMENT EXECUTE FUNCTION look();"
        "INSERT INTO t SELECT i, i FROM generate_series(1, 20000) AS i ORDER BY random()"
    )
    rig.sql("UPDATE t SET value = value + 1000000")
    assert [(20000,)] == rig.sql(
        "SELECT count(*) FROM seen AS o JOIN seen AS n"
        " ON o.side = 'old' AND n.side = 'new' AND o.place = n.place"
        " AND n.value = o.value + 1000000"
    )


def test_plan_for_one_row_serves_many(rig: Rig):
    """A plan that was made for one row is not a nested loop over many."""
    rig.sql("CREATE TABLE t (id int PRIMARY KEY, value int)")
    rig.seal("t")
    rig.sql("INSERT INTO t SELECT i, 0 FROM generate_series(1, 20000) AS i")
    for _ in range(8):
        rig.sql("UPDATE t SET value = value + 1 WHERE id = 1")
    rig.sql("SET statement_timeout = '20s'")
    rig.sql("UPDATE t SET value = value + 1")
    assert [(40008,)] == rig.sql("SELECT count(*) FROM tally.capture")


def test_chain_of_a_crowd(database_url: str):
    """log 4: under 8 writers with all shapes of law 3 each leaf continues its predecessor."""
    rig = Rig(database_url)
    make_tables(rig.connection)
    for table, key in KEYS.items():
        rig.seal(table, key=key, on_truncate="expand")
    done = run_writers(database_url, seconds=3, seed=1)
    assert done > 50
    check_chains(rig.connection, leaves_of_queue(rig.connection))
    rig.close()


@pytest.mark.slow
def test_chain_of_a_crowd_for_a_minute(database_url: str):
    """log 4: so it is for 60 seconds."""
    rig = Rig(database_url)
    make_tables(rig.connection)
    for table, key in KEYS.items():
        rig.seal(table, key=key, on_truncate="expand")
    run_writers(database_url, seconds=60, seed=2)
    check_chains(rig.connection, leaves_of_queue(rig.connection))
    rig.close()
