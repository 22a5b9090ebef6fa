"""Periods of shards: when the next one begins and what it is called; all of it in UTC."""

from __future__ import annotations

import datetime
import re
from typing import Final

from tallystick.seal.errors import InvalidLogError

PERIODS: Final = ("year", "month", "week", "day", "hour")
SECONDS_FORM: Final = re.compile(r"([1-9][0-9]{0,8})s")
NAMES: Final = {"year": "%Y", "month": "%Y_%m", "week": "%G_w%V", "day": "%Y_%m_%d"}
HOUR_NAME: Final = "%Y_%m_%d_%H"
SECOND_NAME: Final = "%Y_%m_%d_%H%M%S"
FAMILY_FORM: Final = re.compile(r"[a-z][a-z0-9_]{0,31}")
EPOCH: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


def parse_period(text: str) -> str:
    """
    Return *text* if it is a period: year, month, week, day, hour, or seconds as `3600s`.

    Raises:
        InvalidLogError: It is none.
    """
    if text not in PERIODS and not SECONDS_FORM.fullmatch(text):
        raise InvalidLogError(f"a period is {', '.join(PERIODS)} or seconds, as 3600s")
    return text


def begin_of(period: str, moment: datetime.datetime) -> datetime.datetime:
    """Return when the period that *moment* lies in began."""
    at = moment.astimezone(datetime.UTC)
    seconds = SECONDS_FORM.fullmatch(period)
    if seconds is not None:
        length = datetime.timedelta(seconds=int(seconds[1]))
        return EPOCH + (at - EPOCH) // length * length
    day = at.replace(hour=0, minute=0, second=0, microsecond=0)
    match period:
        case "hour":
            return day.replace(hour=at.hour)
        case "day":
            return day
        case "week":
            return day - datetime.timedelta(days=day.weekday())
        case "month":
            return day.replace(day=1)
        case _:
            return day.replace(month=1, day=1)


def turn_after(period: str, moment: datetime.datetime) -> datetime.datetime:
    """Return when the period behind that of *moment* begins: always later than *moment*."""
    begin = begin_of(period, moment)
    seconds = SECONDS_FORM.fullmatch(period)
    if seconds is not None:
        return begin + datetime.timedelta(seconds=int(seconds[1]))
    # Longer than any such period and shorter than two of them.
    beyond = {"hour": 1.5 / 24, "day": 1.5, "week": 10, "month": 45, "year": 500}[period]
    return begin_of(period, begin + datetime.timedelta(days=beyond))


def shard_name(family: str, period: str, moment: datetime.datetime) -> str:
    """Return what the shard of the period that *moment* lies in is called."""
    begin = begin_of(period, moment)
    form = NAMES.get(period, HOUR_NAME if period == "hour" else SECOND_NAME)
    return f"{family}_{begin.strftime(form).lower()}"


def check_family(family: str) -> None:
    """
    Check that *family* can name a family and leaves its shards room for their suffix.

    Raises:
        InvalidLogError: It cannot.
    """
    if not FAMILY_FORM.fullmatch(family):
        raise InvalidLogError(
            f"{family!r} is no family: a-z, 0-9 and _, at most 32, a letter first"
        )
