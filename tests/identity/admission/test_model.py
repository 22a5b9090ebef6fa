"""The exact limit against a model of ten lines (identity.md, section 4.3)."""

from __future__ import annotations

import datetime
import math
import random
from collections import deque
from typing import TYPE_CHECKING

import pytest

from tallystick.identity import Admission, admit
from tallystick.identity.errors import RateLimitedError
from tests.identity.people import at_once, kinds, make_key, make_user, set_clock, set_limits

if TYPE_CHECKING:
    from tallystick.db import Database

BEGIN = datetime.datetime(2026, 3, 1, 23, 59, 30, tzinfo=datetime.UTC)
"""Half a minute before midnight: the walk crosses the turn of a minute and of a day."""
CLIENTS = 8
MINUTE = 60_000_000


class Model:
    """GCRA in whole microseconds, as the page says it."""

    def __init__(self, rate: int) -> None:
        self.burst = max(1, rate // 10)
        self.interval = math.ceil(MINUTE / (rate - self.burst + 1))
        self.tat = 0

    def admits(self, now: int) -> bool:
        """Whether a request at *now* passes; if so it is charged."""
        if self.tat > now + (self.burst - 1) * self.interval:
            return False
        self.tat = max(self.tat, now) + self.interval
        return True


@pytest.mark.parametrize("rate", [1, 2, 9, 10, 11, 100, 10_000])
def test_gcra_is_its_model(database: Database, rate: int) -> None:
    """identity 10: Under virtual time eight connections are admitted as often as the model says."""
    set_clock(database, BEGIN)
    set_limits(database, "free", rate, None)
    user = make_user(database)
    # Half the keys are as wide as the owner's bucket, so that this alone decides.
    texts = [make_key(database, user, rate_limit=10_000_000).secret for _ in range(CLIENTS)]
    model = Model(rate)
    chance = random.Random(rate)
    now = 0
    passed: deque[int] = deque()

    for _ in range(12):
        # Steps around the interval, exact hits and one microsecond less among them.
        step = chance.choice([0, 1, model.interval - 1, model.interval, model.interval * 3 + 7])
        now += min(step, 2 * MINUTE)
        set_clock(database, BEGIN + datetime.timedelta(microseconds=now))
        per_client = min(25, model.burst // CLIENTS + 3)

        def ask(number: int, times: int = per_client) -> int:
            admitted = 0
            for _ in range(times):
                try:
                    assert isinstance(admit(database, texts[number]), Admission)
                    admitted += 1
                except RateLimitedError:
                    pass
            return admitted

        counts = at_once(CLIENTS, ask)
        assert kinds(counts) == {"int": CLIENTS}, counts
        admitted = sum(count for count in counts if isinstance(count, int))
        expected = sum(model.admits(now) for _ in range(CLIENTS * per_client))
        assert expected == admitted, (now, step)
        passed.extend([now] * admitted)
        while passed and passed[0] <= now - MINUTE:
            passed.popleft()
        assert len(passed) <= rate, "a window of 60 s admits at most the rate"


@pytest.mark.parametrize("rate", [1, 2, 9, 10, 11, 100, 10_000])
def test_no_window_admits_more_than_the_rate(rate: int) -> None:
    """Law 2: Whoever asks without pause gets at most the rate in any half-open window of 60 s."""
    model = Model(rate)
    passed = []
    for now in range(0, 3 * MINUTE, max(1, model.interval // 7)):
        while model.admits(now):
            passed.append(now)
    first = 0
    for last, now in enumerate(passed):
        while passed[first] <= now - MINUTE:
            first += 1
        assert last - first + 1 <= rate


def test_the_widest_rate_admits(database: Database) -> None:
    """A key, and a tier, of the largest number that a rate can be work as any other."""
    widest = 2**31 - 1
    set_limits(database, "free", widest, None)
    _, text = make_key(database, make_user(database), rate_limit=widest)
    admitted = admit(database, text)
    assert (admitted.limit, admitted.remaining) == (widest, widest // 10 - 1)


def test_the_stricter_bucket_decides(database: Database) -> None:
    """A key's own rate and its owner's both hold; a refused request costs neither anything."""
    set_clock(database, BEGIN)
    set_limits(database, "free", 1000, None)
    user = make_user(database)
    narrow = make_key(database, user, rate_limit=20).secret
    wide = make_key(database, user, rate_limit=10_000).secret
    assert [admit(database, narrow).remaining for _ in range(2)] == [1, 0]
    for _ in range(50):
        with pytest.raises(RateLimitedError):
            admit(database, narrow)
    # The owner's burst is 100; 2 were spent, and not one of the refused.
    assert [admit(database, wide).remaining for _ in range(98)] == list(range(97, -1, -1))
    with pytest.raises(RateLimitedError) as raised:
        admit(database, wide)
    assert raised.value.retry_after_seconds == 1
    assert raised.value.evidence["limit"] == 1000


def test_first_requests_at_once(database: Database) -> None:
    """Requests that find no bucket, and make it together, are all admitted where there is room."""
    set_clock(database, BEGIN)
    for number in range(15):
        user = make_user(database, number)
        texts = [make_key(database, user).secret for _ in range(2)]
        found = kinds(at_once(8, lambda n, texts=texts: admit(database, texts[n % 2])))
        assert found == {"Admission": 8}


def test_remaining_and_reset_are_true(database: Database) -> None:
    """As many as were said to remain are admitted at once, and after the reset it is all again."""
    set_clock(database, BEGIN)
    _, text = make_key(database, make_user(database))
    said = admit(database, text)
    assert [admit(database, text).remaining for _ in range(said.remaining)][-1] == 0
    with pytest.raises(RateLimitedError) as raised:
        admit(database, text)
    after = datetime.timedelta(seconds=raised.value.evidence["reset_seconds"])
    set_clock(database, BEGIN + after)
    again = admit(database, text)
    assert (said.remaining, said.limit) == (again.remaining, again.limit) == (9, 100)
    assert said.reset_seconds == again.reset_seconds
