"""Operations on sinks, and the states that they go through."""

from __future__ import annotations

import datetime

import psycopg
import pytest

from tallystick.db.errors import IllegalTransitionError
from tallystick.outbox import (
    add_sink,
    list_sinks,
    pause_sink,
    read_events,
    resume_sink,
    skip_event,
    store,
)
from tallystick.outbox.errors import (
    InvalidSinkError,
    NotNextEventError,
    SinkExistsError,
    SinkNotFoundError,
    SinkNotInstalledError,
    TargetRefusedError,
    UnknownTopicError,
)
from tests.outbox.support import OTHER_TOPIC, TOPIC, emit_many, emit_one, number_all

START = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


def add(database, sink="s", kind="sse", config=None, **fields):
    """Add a sink."""
    with database.transaction() as tx:
        add_sink(tx, sink, kind, config=config or {}, **fields)


def state(database, sink="s"):
    """The state of one sink."""
    with database.transaction() as tx:
        return next(found for found in list_sinks(tx) if found.sink == sink)


def result(database, before, after, error=None):
    """Record a result, as the worker does."""
    with database.transaction() as tx:
        return store.record_result(tx, "s", before=before, after=after, error=error)


def set_clock(database_url, at):
    """Stop the database's clock at *at*."""
    with psycopg.connect(database_url) as connection:
        connection.execute("SELECT tally.set_test_clock(%s)", [at])


def test_a_sink_begins_at_the_newest_position_or_where_it_is_told(database):
    """A new sink gets what is numbered from now on, or from an earlier position that it names."""
    emit_many(database, 3)
    number_all(database)
    add(database, "now")
    add(database, "first", after=0)
    add(database, "future", after=99)
    assert [state(database, sink).position for sink in ("first", "future", "now")] == [0, 3, 3]


def test_to_add_the_same_sink_again_changes_nothing(database):
    """The same fields are the same sink, other fields under its name are refused."""
    add(database, topics=[TOPIC, OTHER_TOPIC])
    before = state(database)
    add(database, topics=[OTHER_TOPIC, TOPIC, TOPIC])
    assert before.created_at == state(database).created_at
    for change in ({"topics": [TOPIC]}, {"kind": "notify", "topics": [TOPIC, OTHER_TOPIC]}):
        with pytest.raises(SinkExistsError):
            add(database, **change)


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"sink": "Upper"}, InvalidSinkError),
        ({"sink": "a" * 64}, InvalidSinkError),
        ({"kind": "fax"}, InvalidSinkError),
        ({"config": {"x": 1}}, InvalidSinkError),
        ({"kind": "notify", "config": {"x": 1}}, InvalidSinkError),
        ({"kind": "file"}, InvalidSinkError),
        ({"kind": "webhook"}, InvalidSinkError),
        ({"kind": "webhook", "config": {"url": "https://a.example/"}}, TargetRefusedError),
        ({"kind": "firestore"}, SinkNotInstalledError),
        ({"topics": ["no.such"]}, UnknownTopicError),
    ],
)
def test_what_could_never_deliver_is_not_added(database, fields, error):
    """A name, kind, configuration or topic that is wrong is refused when the sink is added."""
    with pytest.raises(error):
        add(database, **fields)
    with database.transaction() as tx:
        assert list_sinks(tx) == []


def test_a_listed_webhook_is_added(database):
    """A webhook to a listed host is added."""
    url = {"url": "https://a.example/x"}
    add(database, kind="webhook", config=url, webhook_hosts=("a.example",))
    assert url == state(database).config


def test_back_off_doubles_from_one_second_to_ten_minutes(database, database_url):
    """After n failures the next try is min(600, 2^(n-1)) seconds away, and never given up."""
    set_clock(database_url, START)
    add(database)
    waits = []
    for _ in range(40):
        assert result(database, 0, 0, "refused")
        waits.append((state(database).next_try_at - START).total_seconds())
    assert [min(600, 2**n) for n in range(40)] == waits
    assert (
        state(database).status,
        state(database).attempts,
        state(database).last_error,
    ) == ("failing", 40, "refused")


def test_success_ends_the_back_off(database):
    """A delivery makes a failing sink active, and a failure after progress counts from one."""
    emit_many(database, 3)
    number_all(database)
    add(database, after=0)
    result(database, 0, 0, "refused")
    result(database, 0, 0, "refused")
    result(database, 0, 2, "refused")
    assert (
        state(database).status,
        state(database).attempts,
        state(database).position,
    ) == ("failing", 1, 2)
    result(database, 2, 3)
    assert (
        state(database).status,
        state(database).attempts,
        state(database).last_error,
    ) == ("active", 0, None)


def test_a_cursor_never_goes_back(database):
    """A result that starts elsewhere than the cursor stands, or goes back, is not recorded."""
    emit_many(database, 3)
    number_all(database)
    add(database, after=0)
    assert result(database, 0, 2)
    assert not result(database, 0, 1)
    assert not result(database, 2, 1)
    assert state(database).position == 2


def test_a_paused_sink_stays_paused_whatever_is_delivered(database):
    """A delivery under way while its sink is paused is recorded, and the sink stays paused."""
    emit_many(database, 3)
    number_all(database)
    add(database, after=0)
    with database.transaction() as tx:
        pause_sink(tx, "s")
        pause_sink(tx, "s")
    result(database, 0, 1)
    assert (state(database).status, state(database).position) == ("paused", 1)
    result(database, 1, 1, "refused")
    with database.transaction() as tx:
        assert store.due_sinks(tx) == []
        resume_sink(tx, "s")
        assert store.due_sinks(tx) == ["s"]
    assert state(database).status == "failing"


def test_resuming_a_sink_that_never_failed_makes_it_active(database):
    """A paused sink without failures is active again, and to resume an active one is harmless."""
    add(database)
    with database.transaction() as tx:
        pause_sink(tx, "s")
        resume_sink(tx, "s")
        resume_sink(tx, "s")
    assert state(database).status == "active"


def test_every_other_change_of_the_status_is_refused(database):
    """The table refuses a status change that status_transitions does not have."""
    add(database)
    with pytest.raises(IllegalTransitionError), database.transaction() as tx:
        tx.connection.execute(
            "INSERT INTO tally.outbox_cursors (sink, kind, status) VALUES ('x', 'sse', 'paused')"
        )


@pytest.mark.parametrize(
    "operation",
    [
        lambda tx: pause_sink(tx, "none"),
        lambda tx: resume_sink(tx, "none"),
        lambda tx: skip_event(tx, "none", 1, actor="user:a", reason="r"),
    ],
)
def test_an_unknown_sink_is_not_found(database, operation):
    """Every operation on a sink that is not there says so."""
    with pytest.raises(SinkNotFoundError), database.transaction() as tx:
        operation(tx)


def test_the_next_event_can_be_skipped_and_that_is_an_event(database):
    """Skipping passes over the next wanted event, at once, and says who did it and why."""
    emit_one(database, topic=OTHER_TOPIC)
    skipped = emit_one(database)
    number_all(database)
    add(database, after=0, topics=[TOPIC])
    result(database, 0, 0, "refused")
    with database.transaction() as tx:
        said = skip_event(tx, "s", skipped, actor="user:a", reason="poison")
    number_all(database)
    assert (state(database).position, state(database).attempts) == (2, 0)
    with database.transaction() as tx:
        [event] = read_events(tx, topics=["outbox.skipped"]).events
        assert store.due_sinks(tx) == ["s"]
    assert (said, "s") == (event.event_id, event.key)
    assert event.payload == {
        "sink": "s",
        "event_id": skipped,
        "position": 2,
        "topic": TOPIC,
        "actor": "user:a",
        "reason": "poison",
    }


def test_no_other_event_can_be_skipped(database):
    """Naming an event that is not next changes nothing and says which is."""
    first, second = emit_many(database, 2)
    number_all(database)
    add(database, after=0)
    with pytest.raises(NotNextEventError) as raised, database.transaction() as tx:
        skip_event(tx, "s", second, actor="user:a", reason="r")
    assert (first, second) == (raised.value.expected, raised.value.actual)
    assert state(database).position == 0
    result(database, 0, 2)
    with pytest.raises(NotNextEventError) as raised, database.transaction() as tx:
        skip_event(tx, "s", second, actor="user:a", reason="r")
    assert raised.value.expected is None


def test_lag_is_what_a_sink_still_has_to_get(database, database_url):
    """Lag counts positions behind the newest and the age of the oldest event still wanted."""
    set_clock(database_url, START)
    wanted = emit_one(database)
    emit_one(database, topic=OTHER_TOPIC)
    number_all(database)
    add(database, "all", after=0)
    add(database, "done")
    add(database, "other", after=0, topics=[OTHER_TOPIC])
    set_clock(database_url, START + datetime.timedelta(seconds=90))
    seen = {
        sink: (s.lag_events, s.lag_seconds, s.next_event_id)
        for sink in ("all", "done", "other")
        for s in [state(database, sink)]
    }
    assert seen == {
        "all": (2, 90.0, wanted),
        "done": (0, 0.0, None),
        "other": (2, 90.0, wanted + 1),
    }


def test_lag_grows_while_nobody_numbers(database, database_url):
    """An event that waits for its position counts as lag: a dead worker is seen."""
    set_clock(database_url, START)
    add(database)
    emit_one(database)
    set_clock(database_url, START + datetime.timedelta(seconds=5))
    assert state(database).lag_seconds == 5.0
