"""
How a figure is measured and shown (log.md, section 8 and Acceptance 33).

The sides of a figure take turns, round by round, in an order that alternates: whatever else the
machine does meets all of them alike. A ratio is the median of the ratios of the rounds, so that
a slow minute weighs on both of its sides. Figures without an alternative stand alone.

A target says what log.md asks for. The table shows whether it holds; nothing here fails because
it does not, because a time is a fact about a machine. What a nightly run holds against is the
recorded ratios of an earlier one (`fallen_ratios`).
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from rich.console import Console
from rich.table import Table

MOST_FALL: Final = 0.2
"""A ratio may be worse than the recorded one by so much; runs of one machine differ by half."""

Better = Literal["more", "less"]


@dataclass(frozen=True, slots=True)
class Samples:
    """The values of one side, a round each, in the order in which they were measured."""

    values: tuple[float, ...]

    def __post_init__(self) -> None:
        assert self.values, "a figure has at least one round"

    @property
    def median(self) -> float:
        """The middle value."""
        return statistics.median(self.values)

    @property
    def least(self) -> float:
        """The smallest value."""
        return min(self.values)

    @property
    def most(self) -> float:
        """The largest value."""
        return max(self.values)

    @property
    def spread(self) -> float:
        """How far the values lie apart, as a share of the median; 0 where that is 0."""
        return (self.most - self.least) / abs(self.median) if self.median else 0.0

    def map(self, change: Callable[[float], float]) -> Samples:
        """Return these samples with *change* made to each value."""
        return Samples(tuple(change(value) for value in self.values))

    def paired(self, other: Samples, change: Callable[[float, float], float]) -> Samples:
        """Return `change(own, other)` of each round; both sides have the same rounds."""
        assert len(self.values) == len(other.values), "both sides have the same rounds"
        return Samples(tuple(map(change, self.values, other.values)))


@dataclass(frozen=True, slots=True)
class Bound:
    """What a value must keep: at least, or at most, a number."""

    least: float | None = None
    most: float | None = None

    def holds(self, value: float) -> bool:
        """Return whether *value* keeps the bound."""
        above = self.least is None or value >= self.least
        below = self.most is None or value <= self.most
        return above and below

    def __str__(self) -> str:
        parts = [
            f"{sign} {plain(limit)}"
            for sign, limit in (("≥", self.least), ("≤", self.most))
            if limit is not None
        ]
        return " and ".join(parts)


@dataclass(frozen=True, slots=True)
class Figure:
    """
    One line of the table: what was measured, and against what.

    *better* says which way a value is good; a ratio is value over alternative and is good in
    the same way. *target* and *ratio_target* are what log.md asks for.
    """

    name: str
    value: Samples
    unit: str
    better: Better
    alternative: str | None = None
    against: Samples | None = None
    target: Bound | None = None
    ratio_target: Bound | None = None
    note: str = ""

    def __post_init__(self) -> None:
        assert (self.alternative is None) == (self.against is None)
        assert self.ratio_target is None or self.against is not None

    @property
    def ratio(self) -> Samples | None:
        """Value over alternative, round by round; None without an alternative, or where it is 0."""
        if self.against is None or 0 in self.against.values:
            return None
        if len(self.against.values) == len(self.value.values):
            return self.value.paired(self.against, lambda own, other: own / other)
        return Samples((self.value.median / self.against.median,))

    @property
    def holds(self) -> bool | None:
        """Whether every target holds; None where there is none."""
        kept = []
        if self.target is not None:
            kept.append(self.target.holds(self.value.median))
        if self.ratio_target is not None and self.ratio is not None:
            kept.append(self.ratio_target.holds(self.ratio.median))
        return all(kept) if kept else None


@dataclass(frozen=True, slots=True)
class Report:
    """A run: its machine, its figures, and what could not be measured, with the reason."""

    machine: str
    figures: Sequence[Figure]
    seconds: float
    is_quick: bool = False
    left_out: Mapping[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {
            "machine": self.machine,
            "quick": self.is_quick,
            "seconds": round(self.seconds, 1),
            "figures": [figure_json(figure) for figure in self.figures],
            "left_out": dict(self.left_out),
        }


def measure(sides: Mapping[str, Callable[[], float]], *, rounds: int) -> dict[str, Samples]:
    """
    Call each side once a round, in an order that turns round each time, and return its values.

    A side measures itself: what it prepares and clears away is not in its value.
    """
    assert rounds > 0
    values: dict[str, list[float]] = {name: [] for name in sides}
    order = list(sides)
    for _ in range(rounds):
        for name in order:
            values[name].append(sides[name]())
        order.reverse()
    return {name: Samples(tuple(measured)) for name, measured in values.items()}


def fallen_ratios(
    recorded: Mapping[str, Any], measured: Mapping[str, Any], *, most_fall: float = MOST_FALL
) -> list[str]:
    """
    Return a sentence for each ratio of *measured* that fell by over *most_fall* of *recorded*.

    Both are `Report.as_json()`. Figures that only one of them has are passed over: a figure is
    renamed by recording it anew.
    """
    before = {figure["name"]: figure for figure in recorded["figures"]}
    fallen = []
    for figure in measured["figures"]:
        old, new = before.get(figure["name"], {}).get("ratio"), figure["ratio"]
        if not old or not new:
            continue
        worse = old / new if figure["better"] == "more" else new / old
        # A fall of a fifth leaves four fifths of the old ratio, or makes a cost a quarter larger.
        if worse > 1 / (1 - most_fall):
            fallen.append(f"{figure['name']}: the ratio was {plain(old)} and is {plain(new)}")
    return fallen


def figure_json(figure: Figure) -> dict[str, Any]:
    """Return *figure* as JSON values."""
    ratio = figure.ratio
    return {
        "name": figure.name,
        "unit": figure.unit,
        "better": figure.better,
        "median": figure.value.median,
        "values": list(figure.value.values),
        "alternative": figure.alternative,
        "alternative_median": figure.against.median if figure.against else None,
        "ratio": ratio.median if ratio else None,
        "ratios": list(ratio.values) if ratio else [],
        "target": str(figure.target) if figure.target else None,
        "ratio_target": str(figure.ratio_target) if figure.ratio_target else None,
        "holds": figure.holds,
        "note": figure.note,
    }


def print_report(report: Report, console: Console) -> None:
    """Print the table, the machine, and what was left out."""
    table = Table(box=None, pad_edge=False, header_style="bold", collapse_padding=True)
    table.add_column("figure", ratio=3, overflow="fold")
    for column in ("median", "least .. most", "target"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("against, in this run", ratio=2, overflow="fold")
    for column in ("its median", "ratio", "target", ""):
        table.add_column(column, justify="right", no_wrap=True)
    for figure in report.figures:
        table.add_row(*cells(figure))
    console.print(table)
    for figure in report.figures:
        if figure.note:
            console.print(f"{figure.name}: {figure.note}", highlight=False)
    for name, reason in report.left_out.items():
        console.print(f"{name} was left out: {reason}", highlight=False)
    scale = "a quick run, whose figures say nothing; " if report.is_quick else ""
    console.print(f"{scale}{report.machine}; {report.seconds:.0f} s", highlight=False)


def cells(figure: Figure) -> Iterable[str]:
    """Return the cells of a figure's row."""
    ratio = figure.ratio
    yield figure.name
    yield f"{plain(figure.value.median)} {figure.unit}"
    yield f"{plain(figure.value.least)} .. {plain(figure.value.most)}"
    yield str(figure.target or "")
    yield figure.alternative or ""
    yield plain(figure.against.median) if figure.against else ""
    yield f"{plain(ratio.median)} ({plain(ratio.least)} .. {plain(ratio.most)})" if ratio else ""
    yield str(figure.ratio_target or "")
    yield {True: "holds", False: "MISSED", None: ""}[figure.holds]


def plain(value: float) -> str:
    """Return *value* with three figures and thousands set apart."""
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
