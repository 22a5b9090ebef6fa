"""
A log's growth as a line: sizes of checkpoints over time, scaled into a picture.

Pure arithmetic; the template writes the SVG. A log grows in steps, at its checkpoints, so
the line is drawn in steps too and never promises leaves between two of them.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass

from tallystick.clock import format_time

WIDTH = 640
HEIGHT = 160
"""Units of the picture; it scales to whatever width the page has."""


@dataclass(frozen=True, slots=True)
class Growth:
    """The picture: points of a polyline, and what stands at its ends."""

    points: str
    first_at: str
    last_at: str
    greatest_size: int
    width: int = WIDTH
    height: int = HEIGHT


def draw_growth(
    checkpoints: Sequence[tuple[datetime.datetime, int]], *, top: int | None = None
) -> Growth | None:
    """
    Return the line of (time, size), oldest first; None where one point is no line.

    *top* is the size at the upper edge, where it is not the greatest.

    Times may stand still or step back, as clocks do: the picture then shows it.
    """
    if len(checkpoints) < 2:  # noqa: PLR2004 (a line has two ends)
        return None
    times = [at.timestamp() for at, _ in checkpoints]
    sizes = [size for _, size in checkpoints]
    start, span = min(times), (max(times) - min(times)) or 1.0
    top = top or max(sizes) or 1
    points: list[str] = []
    last_y = float(HEIGHT)
    for at, size in zip(times, sizes, strict=True):
        x = round((at - start) / span * WIDTH, 1)
        y = round(HEIGHT - size / top * HEIGHT, 1)
        points += [f"{x},{last_y}", f"{x},{y}"]
        last_y = y
    first_at, last_at = (format_time(at) for at, _ in (checkpoints[0], checkpoints[-1]))
    return Growth(" ".join(points), first_at, last_at, max(sizes))
