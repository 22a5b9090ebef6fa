"""Shards by period: a family whose logs follow one another (log.md, section 3.1)."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.publish import Publisher, RowKey
from tallystick.seal.errors import DamagedLogError, InvalidLogError, LogExistsError
from tallystick.seal.logs import create_log, fail_log, get_log
from tallystick.seal.succession import (
    list_families,
    parse_period,
    shard_log,
    shard_name,
    turn_after,
    turn_shards,
)
from tallystick.seal.succession.period import PERIODS, begin_of
from tests.seal.laws.stage import Writers, sql, wait_until, worker_process
from tests.support.logs import ORIGIN_PREFIX

if TYPE_CHECKING:
    from tallystick.seal.succession import Family, Turned
    from tests.seal.succession.conftest import Line

MOMENTS = st.datetimes(
    min_value=datetime.datetime(1971, 1, 1),  # noqa: DTZ001 (the strategy adds the zone)
    max_value=datetime.datetime(2100, 1, 1),  # noqa: DTZ001
    timezones=st.just(datetime.UTC),
)


def start(line: Line, log: str = "one", family: str = "all", period: str = "month") -> Family:
    """Make a log the first shard of a family."""
    with line.bench.database.transaction() as tx:
        return shard_log(tx, log, family, period=period)


def turn(line: Line) -> list[Turned]:
    """Turn the families that are due."""
    return turn_shards(line.bench.database, line.bench.keys, origin_prefix=ORIGIN_PREFIX)


def set_clock(line: Line, moment: str) -> None:
    """Let the database's clock stand at a time."""
    line.run(f"SELECT tally.set_test_clock('{moment}', true)")


def families(line: Line) -> list[Family]:
    """Every family."""
    with line.bench.database.transaction() as tx:
        return list_families(tx)


def utc(*fields: int) -> datetime.datetime:
    """A time in UTC."""
    return datetime.datetime(*fields, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    ("period", "begin", "following", "name"),
    [
        ("year", utc(2026, 1, 1), utc(2027, 1, 1), "f_2026"),
        ("month", utc(2026, 12, 1), utc(2027, 1, 1), "f_2026_12"),
        ("week", utc(2026, 12, 28), utc(2027, 1, 4), "f_2026_w53"),
        ("day", utc(2026, 12, 31), utc(2027, 1, 1), "f_2026_12_31"),
        ("hour", utc(2026, 12, 31, 23), utc(2027, 1, 1), "f_2026_12_31_23"),
        ("90s", utc(2026, 12, 31, 23, 58, 30), utc(2027, 1, 1), "f_2026_12_31_235830"),
    ],
)
def test_periods_begin_and_follow_in_utc(period, begin, following, name):
    """A period's begin, the one behind it, and the name of its shard, over the end of a year."""
    moment = utc(2026, 12, 31, 23, 59, 59, 999_999)
    assert begin_of(period, moment) == begin
    assert turn_after(period, moment) == following
    assert shard_name("f", period, moment) == name


@given(st.sampled_from([*PERIODS, "1s", "86399s"]), MOMENTS)
def test_the_next_turn_is_later_and_begins_a_period(period, moment):
    """The next turn is later than the moment, begins its own period, and none lies between."""
    following = turn_after(period, moment)
    assert begin_of(period, moment) <= moment < following
    assert begin_of(period, following) == following
    before = following - datetime.timedelta(microseconds=1)
    assert begin_of(period, before) == begin_of(period, moment)


@pytest.mark.parametrize("period", ["", "decade", "0s", "s", "-1s", "1.5s", "1000000000s", "12"])
def test_what_is_no_period_is_refused(period):
    """Anything but the known words and whole seconds is refused by name."""
    with pytest.raises(InvalidLogError):
        parse_period(period)


def test_a_family_turns_when_its_time_has_come(line):
    """The current log is continued at the turn, once; the row's history spans the family."""
    set_clock(line, "2026-11-30T23:59:00Z")
    line.run("INSERT INTO payment VALUES (1, 'a')")
    assert start(line).next_at == utc(2026, 12, 1)
    assert turn(line) == []
    set_clock(line, "2026-12-01T00:00:01Z")
    [turned] = turn(line)
    assert (turned.log_name, turned.successor) == ("one", "all_2026_12")
    assert turned.next_at == utc(2027, 1, 1)
    assert turn(line) == []
    line.run("UPDATE payment SET note = 'b'")
    # Two months in which nobody worked have no shard of their own.
    set_clock(line, "2027-02-03T00:00:00Z")
    assert [one.successor for one in turn(line)] == ["all_2027_02"]
    line.run("DELETE FROM payment")
    names = ["one", "all_2026_12", "all_2027_02"]
    line.seal(*names)
    line.audit(*names)
    assert [line.status(name) for name in names] == ["frozen", "frozen", "active"]
    publisher = Publisher(line.bench.database)
    publisher.refresh()
    head = publisher.published_head("all")
    assert head.log_name == "all_2027_02"
    history = publisher.row_history(head, RowKey.of("payment", "1"), limit=10)
    assert [(one.log_name, one.op) for one in history] == list(zip(names, "IUD", strict=True))


def test_a_familys_name_follows_its_current_log(line):
    """Who reads by the family's name gets the current log's head, as soon as it is known."""
    publisher = Publisher(line.bench.database)
    publisher.refresh()
    start(line, period="1s")
    publisher.refresh()
    assert publisher.published_head("all").log_name == "one"
    line.run("UPDATE tally.log_shards SET next_at = tally.clock()")
    [turned] = turn(line)
    publisher.refresh()
    assert publisher.published_head("all").log_name == turned.successor
    assert publisher.published_head("one").log_name == "one"


def test_names_of_logs_and_families_are_kept_apart(line):
    """No log has a family's name, and no family a log's; a log is of one family."""
    with pytest.raises(LogExistsError):
        start(line, family="one")
    start(line)
    with pytest.raises(LogExistsError), line.bench.database.transaction() as tx:
        create_log(tx, "all", keys=line.bench.keys, origin_prefix=ORIGIN_PREFIX)
    with pytest.raises(LogExistsError):
        start(line, family="more")
    with line.bench.database.transaction() as tx:
        create_log(tx, "else", keys=line.bench.keys, origin_prefix=ORIGIN_PREFIX)
    with pytest.raises(LogExistsError):
        start(line, log="else")
    with pytest.raises(InvalidLogError):
        start(line, family="a" * 33)


def test_a_log_continued_by_hand_stays_in_its_family(line):
    """An operator's own succession moves the family on, and its next turn comes as it would."""
    begun = start(line)
    line.succeed("one", "by_hand")
    [family] = families(line)
    assert (family.log_name, family.next_at) == ("by_hand", begun.next_at)
    with line.bench.database.transaction() as tx:
        shard_log(tx, "by_hand", "all", period="month", enabled=False)
    line.run("UPDATE tally.log_shards SET next_at = tally.clock()")
    assert turn(line) == []


def test_a_taken_name_gets_a_number(line):
    """Where a log has the next shard's name already, the shard is called by the next number."""
    set_clock(line, "2026-12-01T00:00:01Z")
    start(line)
    with line.bench.database.transaction() as tx:
        create_log(tx, "all_2027_01", keys=line.bench.keys, origin_prefix=ORIGIN_PREFIX)
    set_clock(line, "2027-01-01T00:00:00Z")
    assert [one.successor for one in turn(line)] == ["all_2027_01_2"]


def test_what_stops_one_family_stops_no_other(line):
    """A failed shard waits for its operator, a locked table for its writer; others turn."""
    for name in ("failed", "fine"):
        with line.bench.database.transaction() as tx:
            create_log(tx, name, keys=line.bench.keys, origin_prefix=ORIGIN_PREFIX)
    for name in ("one", "failed", "fine"):
        start(line, log=name, family=f"of_{name}")
    with line.bench.database.transaction() as tx:
        log_id = get_log(tx, "failed").log_id
        fail_log(tx, log_id, DamagedLogError("seen", expected="a", actual="b"))
    line.run("UPDATE tally.log_shards SET next_at = tally.clock()")
    with psycopg.connect(line.bench.url) as holder, pytest.MonkeyPatch.context() as patch:
        patch.setattr("tallystick.seal.succession.shards.TURN_PATIENCE_SECONDS", 0.2)
        holder.execute("INSERT INTO payment VALUES (1, 'held')")
        assert [one.family for one in turn(line)] == ["of_fine"]
    assert [one.family for one in turn(line)] == ["of_one"]
    assert turn(line) == []


def insert(connection: psycopg.Connection, number: int, turn: int) -> int:
    """Insert a row and change it."""
    key = number * 10_000_000 + turn
    connection.execute("INSERT INTO payment VALUES (%s, 'x')", (key,))
    connection.execute("UPDATE payment SET note = 'y' WHERE id = %s", (key,))
    return 2


def test_a_family_turns_under_load(line):
    """log 27: shards turn each second under load: every change is in one shard, all are clean."""
    start(line, period="1s")
    writers = Writers(line.bench.url, insert)
    names = ["one"]
    with worker_process(line.bench):
        with writers.running(6):
            for shards in range(2, 6):
                wait_until(lambda: line.of(names[-1]).size() > 50, "leaves")

                def has_turned(shards: int = shards) -> bool:
                    names.extend(turned.successor for turned in turn(line))
                    return len(names) >= shards

                wait_until(has_turned, "a turn")
        wait_until(
            lambda: sql(line.bench.url, "SELECT count(*) FROM tally.capture") == [(0,)], "an end"
        )
    changes = line.changes(*names)
    assert len(names) == 5
    assert len({change[1:] for change in changes}) == len(changes) == writers.committed
    line.audit(*names)
