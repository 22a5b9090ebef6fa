"""Whom to ask next: rounds, and pauses after failures."""

from __future__ import annotations

from tallystick.publish.witnesses.rounds import LONGEST_PAUSE_SECONDS, Rounds
from tallystick.publish.witnesses.values import Ask, Offer
from tallystick.seal.logs import LogId, LogName
from tallystick.tlog import EMPTY_ROOT, Note, TreeSize


def due(size: int, name: str, *, last: int | None = None, quorum: int = 0, log: int = 1) -> Ask:
    """Return a witness that is due for the newest checkpoint of a log."""
    offer = Offer(
        LogId(log), LogName("one"), "one", quorum, TreeSize(size), EMPTY_ROOT, Note("", ())
    )
    return Ask(offer, name, "", "", None if last is None else TreeSize(last))


def asked(rounds: Rounds, *asks: Ask, now: float = 0.0) -> list[tuple[str, int]]:
    """Plan, and return who is asked for which size."""
    return [(ask.name, ask.offer.size) for ask in rounds.plan(list(asks), now=now)]


def test_nobody_is_asked_twice_at_once() -> None:
    """While a witness is asked it is not asked again, also for a newer checkpoint."""
    rounds = Rounds()
    assert asked(rounds, due(5, "a"), due(5, "b")) == [("a", 5), ("b", 5)]
    assert asked(rounds, due(6, "a"), due(6, "b")) == []


def test_a_slow_witness_holds_up_nobody_without_a_quorum() -> None:
    """Where no quorum is wanted, each is offered the newest checkpoint as soon as it is free."""
    rounds = Rounds()
    rounds.plan([due(5, "fast"), due(5, "slow")], now=0)
    rounds.ended(due(5, "fast"), cosigned=True, failed=False, now=0)
    assert asked(rounds, due(6, "fast", last=5), due(6, "slow")) == [("fast", 6)]
    rounds.ended(due(5, "slow"), cosigned=True, failed=False, now=0)
    assert asked(rounds, due(7, "slow", last=5)) == [("slow", 7)]


def test_a_quorum_is_reached_at_one_size() -> None:
    """A round stays at its checkpoint until its quorum is reached or nobody is left to answer."""
    rounds = Rounds()
    rounds.plan([due(5, "fast", quorum=2), due(5, "slow", quorum=2)], now=0)
    rounds.ended(due(5, "fast"), cosigned=True, failed=False, now=0)
    newer = due(6, "fast", last=5, quorum=2), due(6, "slow", quorum=2)
    assert asked(rounds, *newer) == []
    rounds.ended(due(5, "slow"), cosigned=True, failed=False, now=0)
    newest = due(7, "fast", last=5, quorum=2), due(7, "slow", last=5, quorum=2)
    assert asked(rounds, *newest) == [("fast", 7), ("slow", 7)]


def test_who_is_beyond_the_quorum_is_not_waited_for() -> None:
    """With two of three, a third that hangs delays no round."""
    rounds = Rounds()
    rounds.plan([due(5, name, quorum=2) for name in ("a", "b", "hung")], now=0)
    for name in ("a", "b"):
        rounds.ended(due(5, name), cosigned=True, failed=False, now=0)
    newer = [due(6, name, last=5, quorum=2) for name in ("a", "b")]
    assert asked(rounds, *newer, due(6, "hung", quorum=2)) == [("a", 6), ("b", 6)]


def test_a_failing_witness_is_left_in_peace() -> None:
    """After a failure a witness rests, twice as long each time up to a minute; success ends it."""
    rounds = Rounds()
    now = 0.0
    for expected in (1, 2, 4, 8, 16, 32, LONGEST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS):
        assert asked(rounds, due(5, "a"), now=now) == [("a", 5)]
        rounds.ended(due(5, "a"), cosigned=False, failed=True, now=now)
        assert asked(rounds, due(5, "a"), now=now + expected - 0.1) == []
        now += expected
    rounds.plan([], now=now)
    assert asked(rounds, due(5, "a"), now=now - 1) == [("a", 5)]


def test_logs_do_not_wait_for_each_other() -> None:
    """A round that is open in one log keeps no other log back."""
    rounds = Rounds()
    rounds.plan([due(5, "a", quorum=1)], now=0)
    assert asked(rounds, due(9, "a", log=2), due(6, "a", quorum=1)) == [("a", 9)]


def test_an_hourly_question_is_asked() -> None:
    """A witness that is due for what it cosigned is asked: an hour has gone."""
    rounds = Rounds()
    assert asked(rounds, due(5, "a", last=5, quorum=1)) == [("a", 5)]
