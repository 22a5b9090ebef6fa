"""The benchmarks' harness: what is compared with what (log.md, 8). No test asserts a time."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from benchmarks.__main__ import SUITES, chosen_modules, main
from benchmarks.harness import (
    Bound,
    Figure,
    Report,
    Samples,
    fallen_ratios,
    measure,
    plain,
    print_report,
)
from benchmarks.log.capture_clients import percentile
from benchmarks.log.latency import Heads, windows
from benchmarks.log.serving import content_length

finite = st.floats(min_value=0.001, max_value=1e9)


def figure(**changes: object) -> Figure:
    """A figure of 40 beside an alternative of 20, both in two rounds."""
    fields = {
        "name": "sealing",
        "value": Samples((30.0, 50.0)),
        "unit": "rows/s",
        "better": "more",
        "alternative": "copy loop",
        "against": Samples((10.0, 30.0)),
        **changes,
    }
    return Figure(**fields)


def report(ratio: float, better: str = "more") -> dict:
    """The JSON of a run whose one figure has *ratio*."""
    one = figure(value=Samples((ratio,)), against=Samples((1.0,)), better=better)
    return Report("a machine", [one], 1.0).as_json()


def test_sides_take_turns_in_an_order_that_turns_round():
    """Each side is called once a round, and who was last in one round is first in the next."""
    calls: list[str] = []

    def side(name: str):
        def call() -> float:
            calls.append(name)
            return float(len(calls))

        return call

    measured = measure({"a": side("a"), "b": side("b"), "c": side("c")}, rounds=3)
    assert list("abccbaabc") == calls
    assert Samples((1.0, 6.0, 7.0)) == measured["a"]


@given(st.lists(finite, min_size=1, max_size=9))
def test_median_lies_between_least_and_most(values):
    """The median is one of the middle, and the spread is 0 exactly where all values are equal."""
    samples = Samples(tuple(values))
    assert samples.least <= samples.median <= samples.most
    assert (samples.spread == 0) == (len(set(values)) == 1)


def test_a_ratio_is_the_median_of_the_ratios_of_the_rounds():
    """log 33: a slow round weighs on both of its sides, so that their ratio stands."""
    shown = figure(value=Samples((100.0, 10.0, 90.0)), against=Samples((50.0, 5.0, 45.0)))
    assert Samples((2.0, 2.0, 2.0)) == shown.ratio


def test_a_ratio_of_unequal_rounds_is_that_of_the_medians():
    """Sides that were measured a different number of times are compared by their medians."""
    shown = figure(value=Samples((4.0,)), against=Samples((1.0, 2.0, 9.0)))
    assert Samples((2.0,)) == shown.ratio


def test_there_is_no_ratio_to_nothing():
    """Without an alternative, or where it is 0, there is no ratio and no verdict on it."""
    assert figure(alternative=None, against=None).ratio is None
    nothing = figure(against=Samples((0.0, 1.0)), ratio_target=Bound(least=1))
    assert nothing.ratio is None
    assert nothing.holds is None


@pytest.mark.parametrize(
    ("target", "ratio_target", "expected"),
    [
        (None, None, None),
        (Bound(least=40), None, True),
        (Bound(least=41), None, False),
        (Bound(most=40), Bound(least=2), True),
        (Bound(most=40), Bound(most=2), False),
        (Bound(most=39), Bound(least=2), False),
    ],
)
def test_a_figure_holds_when_every_target_does(target, ratio_target, expected):
    """The verdict is on the medians: of the value, and of the rounds' ratios (3 and 1.67)."""
    assert expected is figure(target=target, ratio_target=ratio_target).holds


@pytest.mark.parametrize(
    ("better", "old", "new", "falls"),
    [
        ("more", 1.0, 0.81, False),
        ("more", 1.0, 0.79, True),
        ("more", 1.0, 5.0, False),
        ("less", 1.0, 1.24, False),
        ("less", 1.0, 1.26, True),
        ("less", 1.0, 0.1, False),
    ],
)
def test_a_fall_is_over_a_fifth_of_the_recorded_ratio(better, old, new, falls):
    """log 33: a ratio that is over 20 % worse than the recorded one is named; others are not."""
    fallen = fallen_ratios(report(old, better), report(new, better))
    assert falls == bool(fallen)
    assert all("sealing" in sentence for sentence in fallen)


def test_figures_without_a_recorded_ratio_are_passed_over():
    """A new or renamed figure has nothing that it could have fallen from."""
    recorded = report(1.0)
    recorded["figures"][0]["name"] = "another"
    assert fallen_ratios(recorded, report(0.1)) == []


def test_the_table_names_all_that_a_figure_needs():
    """log 33: figure, spread, alternative, ratio, targets, verdict, machine: none is left out."""
    output = io.StringIO()
    shown = figure(target=Bound(least=50), ratio_target=Bound(least=1.3), note="why")
    done = Report("a machine with 2 cores", [shown], 7.0, left_out={"log.serving": "no server"})
    print_report(done, Console(file=output, width=200))
    text = " ".join(output.getvalue().split())
    for part in (
        "sealing 40 rows/s 30 .. 50 ≥ 50 copy loop 20 2.33 (1.67 .. 3) ≥ 1.3 MISSED",
        "sealing: why",
        "log.serving was left out: no server",
        "a machine with 2 cores; 7 s",
    ):
        assert part in text


def test_a_quick_run_says_that_its_figures_say_nothing():
    """Nobody takes a smoke test's numbers for a measurement."""
    output = io.StringIO()
    print_report(Report("m", [figure()], 1.0, is_quick=True), Console(file=output, width=200))
    assert "quick run" in output.getvalue()


def test_json_holds_every_round():
    """The JSON survives a round trip and has what the table has, and every round."""
    twin = json.loads(json.dumps(Report("m", [figure()], 1.0).as_json()))
    [one] = twin["figures"]
    assert one["values"] == [30.0, 50.0]
    assert one["ratios"] == [3.0, 50 / 30]


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, "0"), (1234567, "1,234,567"), (99.96, "100"), (3.14159, "3.14"), (-0.5, "-0.5")],
)
def test_numbers_have_three_figures(value, expected):
    """Figures are shown with three digits; thousands are set apart."""
    assert expected == plain(value)


def test_a_name_means_a_suite_or_one_of_its_figures():
    """Names are run in the order of their suite, each once; nothing named means everything."""
    everything = chosen_modules([])
    assert everything == chosen_modules(list(SUITES))
    assert chosen_modules(["log.sealing", "log.kernel"]) == ["log.kernel", "log.sealing"]
    assert everything == chosen_modules([*reversed(SUITES), "log.kernel"])


def test_an_unknown_name_is_refused_before_anything_runs(capsys):
    """A misspelt name ends in the list of names and exit code 2."""
    assert main(["lag"]) == 2
    assert "log.sealing" in capsys.readouterr().out


def test_latency_ends_with_the_first_head_that_holds_the_rows():
    """A commit's latency is the time to the first checkpoint whose size reaches its last row."""
    heads = Heads([(10, 1.0), (30, 2.5)])
    assert heads.latencies([0.5, 1.0, 2.0]) == [0.5, 1.5, 0.5]


def test_windows_cut_a_run_into_equal_parts():
    """Percentiles are taken of five equal parts, in milliseconds."""
    assert Samples((1.0, 2.0, 3.0, 4.0, 5.0)) == windows(
        [part / 1000 for part in (1, 2, 3, 4, 5) for _ in range(4)], 50
    )


@given(st.lists(st.integers(0, 10**6), min_size=2, max_size=300))
def test_a_percentile_has_that_share_below_it(values):
    """The 99th percentile lies within the values, above at least nine tenths of them."""
    found = percentile(values, 99)
    assert min(values) <= found <= max(values)
    assert sum(value <= found for value in values) >= 0.9 * len(values) - 1


def test_content_length_is_found_whatever_its_case():
    """The client of the HTTP figure knows where an answer ends."""
    assert content_length(b"HTTP/1.1 200 OK\r\nContent-Length: 42\r\nETag: x") == 42
    assert content_length(b"HTTP/1.1 304 Not Modified") == 0
