"""
The tally of acceptance: which tests show which number of a page's section "Acceptance".

A test whose docstring begins with `log 12: ` shows number 12 of the page `log`; it may name
several, `log 12, 13: `. `--acceptance log` runs those tests alone, prints the table of numbers,
tests and results, and fails when a number of the page has no test.
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CLAIM = re.compile(r"\s*([a-z]+) (\d+(?:, \d+)*): ")
NUMBER = re.compile(r"(\d+)\. ")
ACCEPTANCE = re.compile(r"## (?:\d+\. )?Acceptance")

RANK = ("failed", "error", "skipped", "passed")
"""Of several results of one test, the worst stands."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--acceptance` and `--spec`."""
    parser.addoption("--acceptance", action="append", default=[], metavar="PAGE")
    parser.addoption("--spec", default="../shared/spec", metavar="DIR")


def pytest_configure(config: pytest.Config) -> None:
    """Keep the tally when pages are asked for."""
    pages = config.getoption("--acceptance")
    if pages and not hasattr(config, "workerinput"):
        spec = config.rootpath / config.getoption("--spec")
        config.pluginmanager.register(Tally(pages, spec), "acceptance-tally")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests that show no number of the pages asked for."""
    pages = config.getoption("--acceptance")
    shown = {item: claims(item) for item in items}
    for item, numbers in shown.items():
        item.user_properties.extend(("acceptance", claim) for claim in numbers)
    if not pages:
        return
    kept = [item for item in items if any(page in pages for page, _ in shown[item])]
    config.hook.pytest_deselected(items=[item for item in items if item not in set(kept)])
    items[:] = kept


def claims(item: pytest.Item) -> list[tuple[str, int]]:
    """Return the (page, number) pairs that the test's docstring begins with."""
    found = CLAIM.match(getattr(getattr(item, "obj", None), "__doc__", None) or "")
    if found is None:
        return []
    return [(found[1], int(number)) for number in found[2].split(", ")]


def promised_numbers(page: Path) -> list[int]:
    """Return the numbers of the page's section "Acceptance"; none when there is no such page."""
    if not page.is_file():
        return []
    return list(_numbers_of(page.read_text(encoding="utf-8").splitlines()))


def _numbers_of(lines: list[str]) -> Iterator[int]:
    inside = False
    for line in lines:
        if line.startswith("## "):
            inside = ACCEPTANCE.match(line) is not None
        elif inside and (found := NUMBER.match(line)):
            yield int(found[1])


class Tally:
    """Results by number, gathered where the reports of all workers arrive."""

    def __init__(self, pages: list[str], spec: Path) -> None:
        self._pages = pages
        self._spec = spec
        self._results: dict[tuple[str, int], dict[str, str]] = defaultdict(dict)
        self._missing: list[tuple[str, int]] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note the result under each number that the test shows."""
        outcome = report.outcome if report.when == "call" or report.failed else ""
        if report.when == "setup" and report.skipped:
            outcome = "skipped"
        for name, claim in report.user_properties:
            if name == "acceptance" and outcome:
                page, number = claim  # a list after its way from a worker
                results = self._results[page, int(number)]
                worst = min(results.get(report.nodeid, "passed"), outcome, key=RANK.index)
                results[report.nodeid] = worst

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail the run when a promised number has no test."""
        for page in self._pages:
            promised = promised_numbers(self._spec / f"{page}.md")
            self._missing += [(page, n) for n in promised if (page, n) not in self._results]
        if self._missing and session.exitstatus in (
            pytest.ExitCode.OK,
            pytest.ExitCode.NO_TESTS_COLLECTED,
        ):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the table: number, tests, result."""
        terminalreporter.section("acceptance")
        rows = {**self._results, **{claim: {} for claim in self._missing}}
        for page, number in sorted(rows):
            results = rows[page, number]
            verdict = min(results.values(), key=RANK.index) if results else "missing"
            terminalreporter.line(f"{page} {number:>3}  {verdict}")
            for nodeid, outcome in sorted(results.items()):
                terminalreporter.line(f"           {nodeid}  {outcome}")
        terminalreporter.line(f"{len(rows) - len(self._missing)} of {len(rows)} numbers have tests")
