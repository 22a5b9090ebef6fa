"""A log's growth as a line."""

from __future__ import annotations

import datetime

from hypothesis import given
from hypothesis import strategies as st

from tallystick.web.growth import HEIGHT, WIDTH, draw_growth

START = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)


def at(seconds: float) -> datetime.datetime:
    """Return the moment so long after the start."""
    return START + datetime.timedelta(seconds=seconds)


def test_line_has_two_ends():
    """A log with one checkpoint has no line."""
    assert draw_growth([(START, 0)]) is None


def test_growth_is_drawn_in_steps():
    """The line runs level to each checkpoint and rises there."""
    growth = draw_growth([(at(0), 0), (at(5), 50), (at(10), 100)])
    assert growth is not None
    points = ["0.0,160.0", "0.0,160.0", "320.0,160.0", "320.0,80.0", "640.0,80.0", "640.0,0.0"]
    assert growth.points.split() == points
    assert (growth.greatest_size, growth.first_at[:10]) == (100, "2026-01-02")


@given(st.lists(st.tuples(st.integers(-1000, 1000), st.integers(0, 2**53)), min_size=2, max_size=9))
def test_line_stays_inside(checkpoints: list[tuple[int, int]]):
    """Whatever clocks do, every point lies in the picture."""
    growth = draw_growth([(at(seconds), size) for seconds, size in checkpoints])
    assert growth is not None
    for point in growth.points.split():
        x, y = map(float, point.split(","))
        assert 0 <= x <= WIDTH
        assert 0 <= y <= HEIGHT
